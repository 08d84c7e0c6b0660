import csv
import gzip
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from support.commandline import kill_after, run
from support.loopback_openai import LoopbackOpenAI, running
from support.moved_heads import moved, scan_of
from support.shared_folders import shared_copy, shared_folder

from ictmri import load_dataset
from ictmri.build.phantom import build_phantom
from ictmri.build.write import add_config
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io.lock import beside
from ictmri.io.volumes import pack, unpack
from ictmri.verify.cohort import check_rows
from ictmri_baselines.cases import load_cases
from ictmri_baselines.cli.volumes import _settings
from ictmri_baselines.localizer.boxes import read_boxes
from ictmri_baselines.localizer.replay import Replay
from ictmri_baselines.localizer.vlm.openai_server import OpenAIChat
from ictmri_baselines.pipeline import (
    Workers,
    boxes_tally,
    ensure_priors,
    localize_cohort,
    process_cohort,
    unmeasured,
)
from ictmri_baselines.pipeline.process import _own_mask, _process
from ictmri_baselines.pipeline.resumable import facts_of
from ictmri_baselines.processor import PRESETS
from ictmri_baselines.processor.qc.apply_rules import BORROWED
from ictmri_baselines.registry import DEFAULT_DETECTOR
from ictmri_baselines.reproduction.reproduce import reproduce
from ictmri_benchmark.board.entry import load_entry

LIGHT = PRESETS["light"]


def copy_of(cohort: Cohort, folder: Path) -> Cohort:
    """Copy a cohort folder, so that a test may change it."""
    shutil.copytree(cohort.root, folder / "phantom")
    return open_cohort(folder / "phantom")


def truth_hidden(cohort: Cohort) -> None:
    """Remove the truth from the folder: whoever needs it fails."""
    shutil.rmtree(cohort.root / "data" / "truth")


def predictions(cohort: Cohort, recipe: str, out: Path) -> bytes:
    reproduce(recipe, cohort, out, profile="smoke", jobs=1)
    return (out / "predictions.csv").read_bytes()


def test_processed_cases_lie_on_one_grid(phantom: Cohort) -> None:
    rows = list(phantom.rows("processed"))
    assert [row["case_id"] for row in rows] == [
        row["case_id"] for row in phantom.rows("default", ["case_id"])
    ]
    for row in rows:
        image = unpack(row["image"])
        assert image.shape == (97, 115, 97)
        for name, largest in (("prior_coarse", 255), ("prior_refined", 1)):
            prior = unpack(row[name])
            assert prior.shape == image.shape
            np.testing.assert_array_equal(image.affine, prior.affine)
            levels = np.asarray(prior.dataobj)
            assert levels.dtype == np.uint8
            assert levels.max() <= largest
        assert row["warp"] is None
        assert np.reshape(row["scan_from_mni"], (4, 4))[3].tolist() == [0, 0, 0, 1]
        assert row["synthetic"] is True
    boxes = read_boxes(phantom.root / "boxes" / f"{DEFAULT_DETECTOR}.jsonl")
    assert set(boxes) <= {row["case_id"] for row in rows}
    phantom.check()


def test_the_brain_of_the_phantom_is_found(raw_phantom: Cohort, phantom: Cohort) -> None:
    """The way back to the scan leads into the head: the brain mask covers bright voxels only."""
    scans = {row["case_id"]: row for row in raw_phantom.rows("default", ["case_id", "image"])}
    for row in phantom.rows("processed", ["case_id", "brain_mask", "scan_from_mni"]):
        mask, scan = unpack(row["brain_mask"]), unpack(scans[row["case_id"]]["image"])
        voxels = np.argwhere(np.asarray(mask.dataobj) > 0)[::50]
        to_scan = (
            np.linalg.inv(scan.affine) @ np.reshape(row["scan_from_mni"], (4, 4)) @ mask.affine
        )
        places = np.round((to_scan[:3, :3] @ voxels.T).T + to_scan[:3, 3]).astype(int)
        data = scan.get_fdata()
        inside = ((places >= 0) & (places < data.shape)).all(axis=1)
        assert inside.mean() > 0.95
        values = data[tuple(places[inside].T)]
        assert np.median(values) > 3 * np.percentile(data, 5)


def test_the_loader_gives_the_prior_and_sound_labels(phantom: Cohort) -> None:
    data = load_dataset(phantom.root, "processed", fold=0)
    assert len(data["train"]) + len(data["test"]) == phantom.manifest.n_cases
    assert {"image", "brain_mask", "prior_coarse", "prior_refined", "label"} <= set(
        data["test"].features
    )


@pytest.mark.long
def test_no_method_reads_the_truth(few_localized: Cohort, few: Cohort, tmp_path: Path) -> None:
    """Without the truth on disk every step gives the same bytes as with it."""
    blind = copy_of(few, tmp_path)
    truth_hidden(blind)
    # A manifest that does not list the truth, or the copy would count as damaged.
    manifest = json.loads((blind.root / "manifest.json").read_text())
    manifest["files"] = {k: v for k, v in manifest["files"].items() if "/truth/" not in k}
    (blind.root / "manifest.json").write_text(json.dumps(manifest))
    blind = ensure_priors(open_cohort(blind.root), Workers(1))
    assert "truth" not in blind.manifest.configs
    assert blind.manifest.digest_of("processed") == few_localized.manifest.digest_of("processed")
    for recipe in ("controls/radiomics", "controls/location-size"):
        name = recipe.split("/")[1]
        assert predictions(blind, recipe, tmp_path / f"blind-{name}") == predictions(
            few_localized, recipe, tmp_path / f"seeing-{name}"
        )


def test_no_method_is_handed_labels_of_the_test_cases(phantom: Cohort) -> None:
    cases = load_cases(phantom, with_volumes=True)
    assert not {"label", "labels", "subtype"} & set(type(cases).__slots__)


def test_doing_it_twice_does_nothing(phantom: Cohort) -> None:
    before = (phantom.root / "manifest.json").stat().st_mtime_ns
    again = localize_cohort(process_cohort(phantom, LIGHT, workers=Workers(1)))
    assert (again.root / "manifest.json").stat().st_mtime_ns == before


def test_localizing_needs_processing(raw_phantom: Cohort) -> None:
    with pytest.raises(InputError, match="not processed yet"):
        localize_cohort(raw_phantom)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A phantom of eight cases as it was built: for what runs every step again."""
    root = shared_folder(tmp_path_factory, "few") / "phantom"
    return build_phantom(root, n_cases=8, n_folds=2, spacing=4.0, jobs=1)


@pytest.fixture(scope="session")
def few_localized(few: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return ensure_priors(shared_copy(few, tmp_path_factory, "few-localized"), Workers(1))


def test_mirrored_brains_are_asked_about_and_boxes_compared(
    two: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = process_cohort(copy_of(two, tmp_path), LIGHT, workers=Workers(1))
    cohort = localize_cohort(cohort, mirror="report", workers=Workers(1))
    assert cohort.manifest.steps["localize"]["settings"]["mirror"] == "report"
    file = cohort.root / "boxes" / f"{DEFAULT_DETECTOR}.jsonl"
    boxes = sum(len(row.boxes) for rows in read_boxes(file).values() for row in rows)
    assert boxes
    assert f"of {boxes} boxes " in capsys.readouterr().err
    page = cohort.root.with_name(f"{cohort.root.name}.localize.html").read_text()
    assert "boxes that mirror" in page
    assert f"Looked for by {DEFAULT_DETECTOR} 2, trained on synthetic heads." in page
    shown = run("localize", cohort.root, "--compare", DEFAULT_DETECTOR, file, "--json", "-").stdout
    rows = json.loads(shown)["rows"]
    assert len(rows) == 6
    assert [rows[0][key] for key in ("cases", "IoU")] == [rows[3][key] for key in ("cases", "IoU")]


@pytest.mark.parametrize(
    ("registration", "synthetic", "told"),
    [("affine", False, True), ("affine", True, False), ("syn", False, False)],
)
def test_what_localisation_was_not_measured_for_is_told(
    registration: str, synthetic: bool, told: bool
) -> None:
    steps = {"process": {"settings": {"registration": registration}}}
    cohort: Any = SimpleNamespace(manifest=SimpleNamespace(steps=steps), synthetic=synthetic)
    assert bool(unmeasured(cohort)) is told


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_patients_head_under_the_templates_mask_is_told(synthetic: bool, tmp_path: Path) -> None:
    row = {"case_id": "one", "image": pack(scan_of(moved(), (4.0, 4.0, 4.0)), "one")}
    _process(LIGHT, None, tmp_path, synthetic, row)
    facts = facts_of(tmp_path, "one")
    assert (BORROWED in facts["findings"]) == (not synthetic)


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_command_takes_deepbet_for_patients(synthetic: bool) -> None:
    assert _settings("light", synthetic=synthetic).brain == ("template" if synthetic else "deepbet")
    assert _settings("light", synthetic=synthetic, brain="template") == LIGHT


@pytest.mark.long
def test_one_voxel_model_for_all_cases(few_localized: Cohort, tmp_path: Path) -> None:
    """The boxes and the coarse priors stay; the refined ones follow from all cases together."""
    done = localize_cohort(
        copy_of(few_localized, tmp_path), voxel_model="cohort", workers=Workers(2)
    )
    done.check()
    alone = {row["case_id"]: row for row in few_localized.rows("processed")}
    together = {row["case_id"]: row for row in done.rows("processed")}
    assert {i: row["prior_coarse"] for i, row in alone.items()} == {
        i: row["prior_coarse"] for i, row in together.items()
    }
    differ = [i for i, row in alone.items() if row["prior_refined"] != together[i]["prior_refined"]]
    assert differ
    assert done.manifest.steps["localize"]["settings"]["voxel_model"] == "cohort"
    (tmp_path / "again").mkdir()
    again = localize_cohort(
        copy_of(few_localized, tmp_path / "again"), voxel_model="cohort", workers=Workers(1)
    )
    assert again.manifest == done.manifest


def test_what_a_model_said_stays_beside_the_cohort(
    two: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is burned into a slice is in its reply; the cohort holds numbers."""
    said = '{"lesions": []} It says: Mueller, born 1961.'
    processed = process_cohort(copy_of(two, tmp_path), LIGHT, workers=Workers(1))
    (tmp_path / "again").mkdir()
    other = copy_of(processed, tmp_path / "again")
    with running(LoopbackOpenAI(lambda *_: said)) as server:
        asked = OpenAIChat.model_validate({"base_url": server.url, "model": "tiny", "every": 10})
        done = localize_cohort(processed, asked)
    done.check()
    held = b"".join(path.read_bytes() for path in done.root.rglob("*") if path.is_file())
    assert b"Mueller" not in held
    lines = [json.loads(line) for line in (done.root / "boxes/openai.jsonl").open()]
    assert {line["detector"] for line in lines} == {"openai"}
    words = ("model", "prompt_sha256", "reply", "tokens")
    assert all(line[name] is None for line in lines for name in words)
    replies = tmp_path / "phantom.replies.openai.jsonl"
    assert replies.read_text().count("Mueller") == server.asked
    assert replies.stat().st_mode & 0o777 == 0o600
    counted = boxes_tally(done)
    assert (counted.problems, counted.prompt_tokens) == (
        {"prose": server.asked},
        400 * server.asked,
    )
    again = localize_cohort(other, Replay(boxes=replies))
    assert b"Mueller" not in (again.root / "boxes/boxes.jsonl").read_bytes()
    # Of a file beside the cohort that was damaged nothing is counted, and the cohort's own boxes are.
    for damaged in (b"", replies.read_bytes()[:300]):
        replies.write_bytes(damaged)
        left = boxes_tally(done)
        assert (left.slices, left.problems) == (counted.slices, {})
        assert "problems and tokens are not counted" in capsys.readouterr().err
    assert list(again.rows("processed", ["case_id", "prior_refined"])) == list(
        done.rows("processed", ["case_id", "prior_refined"])
    )


def spoiled(cohort: Cohort, folder: Path, n: int) -> tuple[Cohort, list[str]]:
    """A copy of a cohort in which the scans of the first ``n`` cases are flat, and their ids."""
    copy = copy_of(cohort, folder)
    flat = copy.folds().case_ids[:n]
    stored = {row["case_id"]: row for row in copy.rows("default")}
    for case_id in flat:
        scan = unpack(stored[case_id]["image"])
        image = nib.Nifti1Image(np.full(scan.shape, 7, dtype=np.int16), scan.affine)
        stored[case_id]["image"] = pack(image, case_id)
    changed = add_config(copy, "default", stored.values(), steps={})
    return changed, flat


@pytest.mark.long
def test_cases_that_cannot_be_processed_are_named_and_kept_out(few: Cohort, tmp_path: Path) -> None:
    cohort, flat = spoiled(few, tmp_path, 2)
    done = ensure_priors(cohort, Workers(1))
    assert set(done.manifest.left_out) == set(flat)
    assert all("same value" in why for why in done.manifest.left_out.values())
    ids = {row["case_id"] for row in done.rows("processed", ["case_id"])}
    assert ids == set(cohort.folds().case_ids) - set(flat)
    check_rows(done, "processed")
    with (done.root / "qc" / "process.csv").open(newline="") as stream:
        table = {row["case_id"]: row for row in csv.DictReader(stream)}
    assert {case_id for case_id, row in table.items() if row["included"] == "false"} == set(flat)
    page = (tmp_path / "phantom.process.html").read_text()
    assert all(case_id in page for case_id in flat)
    assert "SYNTHETIC" in page
    run = reproduce("controls/location-size", done, tmp_path / "run", profile="smoke", jobs=1)
    assert run.report is not None
    predicted = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert len(predicted) == 1 + cohort.manifest.n_cases
    entry = load_entry(tmp_path / "run" / "entry.yaml")
    assert entry.compute["cases predicted by class frequency"] == 2


def test_where_no_case_can_be_processed_all_are_named(two: Cohort, tmp_path: Path) -> None:
    cohort, flat = spoiled(two, tmp_path, two.manifest.n_cases)
    with pytest.raises(InputError, match="same value") as caught:
        process_cohort(cohort, LIGHT, workers=Workers(1))
    assert len(caught.value.problems) == len(flat)
    assert "processed" not in open_cohort(cohort.root).manifest.configs


def test_an_own_mask_is_read_as_scans_are(tmp_path: Path) -> None:
    inside = np.zeros((20, 20, 20), np.int16)
    inside[5:15, 5:15, 5:15] = 2
    image = nib.Nifti1Image(inside, np.diag([4.0, 4, 4, 1]))
    image.header.set_slope_inter(0.5, 0)
    content = gzip.compress(image.to_bytes())
    path = tmp_path / "c.nii.gz"
    path.write_bytes(content)
    mask = _own_mask(tmp_path, "c")
    assert mask is not None
    assert np.array_equal(np.asarray(mask.dataobj), inside // 2)
    assert _own_mask(tmp_path, "d") is None
    for damaged in (content[:-9], content[:-9] + b"x" + content[-8:], content + b"junk"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            _own_mask(tmp_path, "c")


def test_masks_of_no_case_are_named_and_not_recorded(two: Cohort, tmp_path: Path) -> None:
    case_id = two.folds().case_ids[0]
    for name in (f"{case_id}.nii.gz", f"{case_id}.nii", "Mueller.nii.gz", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        process_cohort(two, LIGHT, masks=tmp_path, workers=Workers(1))
    assert caught.value.problems == [
        f"{name} is named after no case" for name in ("Mueller.nii.gz", f"{case_id}.nii")
    ]
    with pytest.raises(InputError, match="holds no <case_id>"):
        process_cohort(two, LIGHT, masks=tmp_path / "none", workers=Workers(1))


def test_a_wrong_mask_changes_nothing(two: Cohort, tmp_path: Path) -> None:
    cohort, (first, second) = copy_of(two, tmp_path), two.folds().case_ids
    before = cohort.manifest
    small = np.zeros((9, 9, 9), dtype=np.uint8)
    small[4] = 1
    (tmp_path / "masks").mkdir()
    nib.save(nib.Nifti1Image(small, np.eye(4)), tmp_path / "masks" / f"{first}.nii.gz")
    (tmp_path / "masks" / f"{second}.nii.gz").write_bytes(b"none")
    with pytest.raises(InputError) as caught:
        process_cohort(cohort, LIGHT, masks=tmp_path / "masks", workers=Workers(1))
    wrong, unreadable = caught.value.problems
    assert wrong.startswith(f"{first}.nii.gz: it has 9 x 9 x 9 voxels, the scan ")
    assert unreadable.startswith(f"{second}.nii.gz: the mask: ")
    assert open_cohort(cohort.root).manifest == before


@pytest.mark.long
def test_processing_again_with_other_settings_replaces_what_was_there(
    few_localized: Cohort, tmp_path: Path
) -> None:
    cohort = copy_of(few_localized, tmp_path)
    page = beside(cohort.root, "localize.html")
    page.touch()
    again = process_cohort(
        cohort, LIGHT.model_copy(update={"intensities": "kept"}), workers=Workers(1)
    )
    assert not page.exists()
    assert list(again.manifest.steps) == ["process"]
    assert {row["prior_coarse"] for row in again.rows("processed", ["prior_coarse"])} == {None}
    again.check()


def test_a_run_resumes_and_refuses_another_one_in_its_folder(
    phantom: Cohort, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    partial = reproduce("controls/radiomics", phantom, out, folds=[0, 2], profile="smoke", jobs=1)
    assert not partial.complete
    kept = (out / "folds" / "seed0-fold2.csv").stat().st_mtime_ns
    whole = reproduce("controls/radiomics", phantom, out, profile="smoke", jobs=1)
    assert whole.complete
    assert (out / "folds" / "seed0-fold2.csv").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="holds another run: recipe"):
        reproduce("controls/age-sex", phantom, out, profile="smoke", jobs=1)


def test_seeds_are_run_and_scored_one_by_one(phantom: Cohort, tmp_path: Path) -> None:
    run = reproduce(
        "controls/stratified-random",
        phantom,
        tmp_path / "run",
        seeds=[0, 1, 2],
        profile="smoke",
        jobs=1,
    )
    assert run.report is not None
    assert run.report.content["seeds"] == [0, 1, 2]
    lines = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * phantom.manifest.n_cases


@pytest.mark.long
@pytest.mark.parametrize("kill_seed", [1])
def test_killed_at_any_moment_the_same_command_finishes_the_work(
    kill_seed: int, few: Cohort, few_localized: Cohort, tmp_path: Path
) -> None:
    """kill -9 at random moments; in the end every file is as if nothing had happened."""
    rng = random.Random(kill_seed)
    cohort = copy_of(few, tmp_path)
    commands = (
        ["process", cohort.root, "--settings", "light", "--jobs", "1"],
        ["localize", cohort.root, "--jobs", "1"],
    )
    for command in commands:
        for _ in range(2):
            kill_after(rng.uniform(1.5, 8.0), *command)
        run(*command)
    done = open_cohort(cohort.root)
    done.check()
    assert done.manifest == few_localized.manifest
    left = [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert sorted(left) == ["phantom", "phantom.localize.html", "phantom.process.html"]


def test_a_change_cut_off_half_way_is_finished_by_the_next_command(
    raw_phantom: Cohort, phantom: Cohort, tmp_path: Path
) -> None:
    """The change was complete beside the folder and some of its files were in place already."""
    cohort = copy_of(raw_phantom, tmp_path)
    change = tmp_path / ".phantom.change"
    shutil.copytree(phantom.root, change)
    (change / "README.md").replace(cohort.root / "README.md")
    done = process_cohort(open_cohort(cohort.root), LIGHT, workers=Workers(1))
    done.check()
    assert done.manifest == phantom.manifest
    assert not change.exists()
