"""A virtual biopsy of one scan, by the command that a person types, on a SYNTHETIC head."""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer
from scipy import ndimage
from support.made_dicom import save, slices
from support.made_run import TINY, trained
from typer.testing import CliRunner

from ictmri.atlas.template import SHAPE, grid_affine
from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.scans.findings import Finding
from ictmri.scans.scan import Scan
from ictmri_baselines import predict as package
from ictmri_baselines.cases import Cases, Volumes
from ictmri_baselines.cli.predict import _tell as tell
from ictmri_baselines.cli.predict import predict as command
from ictmri_baselines.diagnoser.checkpoint import MODEL, load_model
from ictmri_baselines.diagnoser.fit import read_settings
from ictmri_baselines.diagnoser.inputs import open_inputs, view_start
from ictmri_baselines.diagnoser.out_of_distribution import (
    OutOfDistribution,
)
from ictmri_baselines.diagnoser.prediction import apply_temperature, predict
from ictmri_baselines.localizer import Localization, localize
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.predict import words
from ictmri_baselines.predict.biopsy import Request, prior_in_scan, read_request, write_prior
from ictmri_baselines.predict.biopsy import _in_scan as in_scan
from ictmri_baselines.predict.decision import decide
from ictmri_baselines.predict.diagnosis import Diagnosis, diagnose, on_2mm
from ictmri_baselines.predict.page import write_page
from ictmri_baselines.predict.result import NOTICE, SYNTHETIC_NOTICE, Biopsy, content_of
from ictmri_baselines.predict.run import open_models
from ictmri_baselines.processor import PRESETS, Mapping, Processed, process
from ictmri_baselines.registry import DEFAULT_DETECTOR

NAMES = ("Quillfeather", "19310203", "Sanatorium")
"""A name, a date and a place, as files from a hospital hold them."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def stored(image: nib.Nifti1Image, path: Path) -> Path:
    """Write a scan whose name and header say whose it is."""
    named = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    named.header["descrip"] = NAMES[0].encode()
    named.header["db_name"] = NAMES[1].encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(named, path)
    return path


def called(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(
    run: Path, head: nib.Nifti1Image, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The command, run once on a scan that is as it should be."""
    folder = tmp_path_factory.mktemp("biopsy")
    scan = stored(head, folder / NAMES[2] / f"{NAMES[0]}_{NAMES[1]}.nii.gz")
    out, prior, numbers = folder / "o" / "r.html", folder / "p.nii.gz", folder / "n.json"
    said = called(scan, "--model", run, "--out", out, "--prior", prior, "--json", numbers)
    assert said.exit_code == 0, said.output + repr(said.exception)
    return SimpleNamespace(
        scan=scan,
        said=said,
        out=out,
        page=out.read_text(),
        prior=nib.load(prior),
        numbers=json.loads(numbers.read_text()),
        folder=folder,
    )


@pytest.fixture(scope="module")
def processed(head: nib.Nifti1Image) -> Processed:
    return process(head, PRESETS["light"])


@pytest.fixture(scope="module")
def found(processed: Processed) -> Localization:
    return localize(processed.brain, detector_settings(DEFAULT_DETECTOR).detector())


@pytest.fixture(scope="module")
def case(processed: Processed, found: Localization) -> Cases:
    """The scan as a cohort's cache would hold it: on the grid of 2 mm there is nothing to resample."""
    volumes = Volumes(
        image=processed.brain.image.get_fdata()[None].astype(np.float16),
        prior=np.round(255 * found.coarse.get_fdata())[None].astype(np.uint8),
        refined=(255 * found.refined.get_fdata())[None].astype(np.uint8),
        affine=grid_affine(2.0),
    )
    return Cases(["one"], *[np.array([np.nan])] * 2, np.zeros(1, dtype=np.int64), volumes)


def test_probabilities_are_those_that_the_recipe_would_give(
    made: SimpleNamespace, run: Path, case: Cases
) -> None:
    settings = read_settings(TINY)
    inputs = open_inputs(case, settings.view, "refined")
    expected = []
    for path in sorted(
        run.glob(f"folds/**/{MODEL}"),
        key=lambda path: (path.parts[-2] != "seed0-fold0", len(path.parts)),
    ):
        network, description = load_model(path)
        expected.append(
            apply_temperature(predict(network, inputs, batch=1), description.temperature)[0]
        )
    told = made.numbers["diagnosis"]
    by_model = [[row[name] for name in CLASSES] for row in told["by_model"]]
    np.testing.assert_allclose(by_model, expected, atol=1e-7)
    mean = np.mean(expected, axis=0)
    np.testing.assert_allclose([told["probabilities"][name] for name in CLASSES], mean, atol=1e-6)
    assert told["class"] == CLASSES[mean.argmax()]
    assert told["models_agreeing"] == sum(np.argmax(row) == mean.argmax() for row in expected)
    assert told["valid"] is True
    names = [model["name"] for model in made.numbers["model"]["models"]]
    assert names == ["seed 0, fold 0", "seed 0, fold 1", "seed 0, fold 1, member 1"]


def test_the_prior_lies_on_the_scan(
    made: SimpleNamespace, processed: Processed, found: Localization
) -> None:
    scan = nib.load(made.scan)
    assert nib.aff2axcodes(scan.affine) == ("P", "S", "L")
    assert made.prior.shape == scan.shape
    np.testing.assert_array_equal(made.prior.affine, scan.affine)
    assert made.prior.get_data_dtype() == np.uint8
    marked = np.asarray(made.prior.dataobj)
    assert set(np.unique(marked)) == {0, 1}
    millilitres = marked.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    told = made.numbers["localization"]["summary"]["refined_ml"]
    assert told == pytest.approx(millilitres, abs=2e-3)
    assert f"{told:.1f} ml in the scan" in made.page
    assert f"{told:.1f} ml in the scan's own space" in made.said.output
    assert "scan's own space" in made.numbers["volumes"]
    of_warp = found.volumes(processed.mapping, processed.brain.mask)["refined_ml"]
    assert of_warp == pytest.approx(told, rel=0.15)


def test_a_prior_comes_back_to_an_oblique_scan_with_thick_slices() -> None:
    a = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine, scan_from_mni = np.eye(4), np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.1, 1.3, 5.5])
    affine[:3, 3] = 70, -100, -50
    scan_from_mni[:3, :3], scan_from_mni[:3, 3] = 0.93 * turn.T, (3, -8, 5)
    scan = nib.Nifti1Image(np.zeros((120, 130, 26), np.int16), affine)
    scan.header.set_slope_inter(2.0, 5.0)
    ball = np.linalg.norm(np.indices(SHAPE).T - [40, 60, 45], axis=-1).T < 9
    prior = nib.Nifti1Image(ball.astype(np.uint8), grid_affine(2.0))
    back = prior_in_scan(prior, Mapping(scan_from_mni), scan)
    voxel = np.linalg.inv(grid_affine(2.0)) @ np.linalg.inv(scan_from_mni) @ affine
    share = ndimage.affine_transform(
        ball.astype(float), voxel[:3, :3], voxel[:3, 3], scan.shape, order=1
    )
    assert (share > 0.5).sum() > 100
    stored_again = nib.Nifti1Image.from_bytes(back.to_bytes())
    np.testing.assert_array_equal(stored_again.affine, affine.astype(np.float32).astype(float))
    differ = (np.asarray(stored_again.dataobj) == 1) != (share > 0.5)
    assert (differ & (np.abs(share - 0.5) > 1e-3)).sum() == 0


@pytest.mark.parametrize(
    ("of", "spacing", "edge"),
    [("brain", 2, 96), ("brain", 4, 48), ("brain", 6, 32), ("region", 4, 12), ("region", 6, 40)],
)
def test_a_view_goes_back_to_where_it_was_cut(
    case: Cases, of: str, spacing: int, edge: int
) -> None:
    x, y, z = np.indices(SHAPE)
    ramp = (x + 2 * y + 3 * z).astype(np.float16)
    held = case.volumes
    assert held is not None
    sloped = replace(case, volumes=replace(held, image=ramp[None]))
    settings = read_settings({"view": {"of": of, "spacing_mm": spacing, "edge": edge}})
    inputs = open_inputs(sloped, settings.view, "refined")
    image, _ = inputs.as_it_is(0)
    start, factor = view_start(case, 0, settings.view, "refined"), spacing // 2
    back = on_2mm(image.numpy(), start, factor)
    # A slope survives averaging and linear interpolation, but for the rim of the cube and of the grid.
    inner = tuple(
        slice(max(0, low) + 2 * factor, min(length, low + edge * factor) - 2 * factor)
        for low, length in zip(start, SHAPE, strict=True)
    )
    assert back.shape == SHAPE
    assert back[inner].size > 100
    np.testing.assert_allclose(back[inner], ramp[inner].astype(float), atol=1e-3)
    cube = tuple(slice(max(0, low), low + edge * factor) for low in start)
    back[cube] = 0
    assert not back.any()


class Loads(HTMLParser):
    """Everything in a page that could make a browser ask for something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.styles: list[str] = []
        self.inline: list[str] = []
        self.text: list[str] = []
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.asked += [
            v or ""
            for name, v in attrs
            if name in {"src", "href", "srcset", "data", "action", "poster"}
        ]
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        (self.styles if self._within == "style" else self.text).append(data)

    def handle_endtag(self, _: str) -> None:
        self._within = ""


def test_the_page_asks_no_host_for_anything(made: SimpleNamespace) -> None:
    loads = Loads(made.page)
    assert loads.asked
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in loads.asked)
    assert loads.inline == []
    assert not re.search(r"url\(|@import", "".join(loads.styles))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made.page)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;") or policy[1].startswith(
        "default-src 'none'"
    )
    assert "http" not in policy[1]


def test_nothing_that_was_written_tells_whose_scan_it_is(made: SimpleNamespace) -> None:
    written = [made.page, json.dumps(made.numbers), repr(made.prior.header.structarr)]
    written += [
        gzip.decompress(base64.b64decode(v)).decode("latin-1")
        for v in volumes_of(made.page).values()
    ]
    for text in written:
        for name in (*NAMES, str(made.folder), made.scan.name):
            assert name not in text
    assert NAMES[0].encode() in gzip.decompress(made.scan.read_bytes())  # it was there to be found
    assert made.out.stat().st_mode & 0o077 == 0


def volumes_of(page: str) -> dict[str, str]:
    found = re.search(r'id="volumes">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    volumes: dict[str, str] = json.loads(found[1])
    return volumes


def test_the_viewer_holds_brain_prior_and_attention(
    made: SimpleNamespace, found: Localization
) -> None:
    volumes = {
        name: nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))
        for name, text in volumes_of(made.page).items()
    }
    assert list(volumes) == ["brain", "prior", "attention"]
    truth = np.asarray(found.refined.dataobj) > 0
    places = nib.affines.apply_affine(found.refined.affine, np.argwhere(truth))
    shown = volumes["prior"]
    levels = np.asarray(shown.dataobj)
    marked = nib.affines.apply_affine(shown.affine, np.argwhere(levels == 255))
    np.testing.assert_allclose(np.sort(marked, axis=0), np.sort(places, axis=0), atol=1e-4)
    assert np.asarray(volumes["attention"].dataobj).max() > 0


def test_the_page_says_what_its_numbers_are_worth(made: SimpleNamespace) -> None:
    seen = " ".join(" ".join(Loads(made.page).text).split())
    assert NOTICE in seen
    assert SYNTHETIC_NOTICE in seen
    assert made.page.index("alarm") < made.page.index('id="result"')
    scores = made.numbers["calibration"]["out_of_fold"]
    rates = made.numbers["calibration"]["base_rates"]
    assert sum(rate["cases"] for rate in rates.values()) == scores["n_cases"] == 249
    shares = np.array([rate["share"] for rate in rates.values()])
    entropy = float(-(shares * np.log(shares)).sum())
    assert scores["class_frequencies_alone"]["log_loss"] == pytest.approx(entropy)
    for sentence in words.calibration(made.numbers):
        assert sentence in seen
    assert "No temperature was fitted" in seen
    assert f"{scores['log_loss']:.2f}" in words.calibration(made.numbers)[1]
    assert words.out_of_distribution(made.numbers) in seen
    assert made.numbers["unusual"]["models"].keys() == {"usual", "unusual", "unlike"}
    assert "warning: " + SYNTHETIC_NOTICE in made.said.output


@pytest.mark.long
def test_the_same_request_gives_the_same_bytes(made: SimpleNamespace, run: Path) -> None:
    again = made.folder / "again.html"
    said = called(made.scan, "--model", run, "--out", again, "--json", made.folder / "again.json")
    assert said.exit_code == 0
    assert again.read_bytes() == made.out.read_bytes()
    assert json.loads((made.folder / "again.json").read_text()) == made.numbers


@pytest.mark.long
def test_half_a_head_gets_no_probabilities(
    head: nib.Nifti1Image, run: Path, tmp_path: Path
) -> None:
    half = np.asarray(head.dataobj).copy()
    half[:, : half.shape[1] // 2] = 0
    scan = stored(nib.Nifti1Image(half, head.affine), tmp_path / "half.nii.gz")
    out, numbers, prior = (tmp_path / name for name in ("r.html", "n.json", "p.nii"))
    asked = (scan, "--model", run, "--out", out, "--json", numbers, "--prior", prior)
    said = called(*asked)
    assert isinstance(said.exception, InputError)
    assert "half-a-head" in str(said.exception)
    assert "--force" in said.exception.next_step
    content = json.loads(numbers.read_text())
    assert content["qc"]["passed"] is False
    assert content["diagnosis"] is content["unusual"] is None
    assert not prior.exists()
    page = out.read_text()
    assert "No probabilities are given" in page
    assert 'id="result"' not in page
    assert "half-a-head" in page
    assert called(*asked, "--force").exit_code == 0
    forced = json.loads(numbers.read_text())["diagnosis"]
    assert forced["valid"] is False
    assert prior.exists()
    assert "they are not valid" in out.read_text()
    assert 'class="result invalid"' in out.read_text()


def test_what_no_step_can_make_anything_of_is_told_too(run: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    scan = stored(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "noise.nii")
    said = called(scan, "--model", run, "--out", tmp_path / "r.html", "--title", "<b>mine</b>")
    assert isinstance(said.exception, InputError)
    assert "--force" not in said.exception.next_step
    page = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "No probabilities are given" in page


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, head: nib.Nifti1Image) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    wrong = Request(
        scan=tmp_path / "none.nii.gz",
        model=tmp_path / "no-run",
        out=tmp_path / "folder",
        prior=tmp_path / "prior.png",
        json=tmp_path / "file" / "n.json",
        mask=tmp_path / "no-mask.nii",
    )
    with pytest.raises(InputError) as caught:
        read_request(wrong)
    told = "\n".join(caught.value.problems)
    for name in ("SCAN: ", "--model: ", "--mask: ", "--out: ", "--prior: ", "--json: "):
        assert name in told
    assert "is a folder" in told
    assert ".nii" in told


@pytest.mark.parametrize("kind", ["4d", "text", "empty-folder", "mask", "own-output"])
def test_scans_that_cannot_be_used(
    kind: str, run: Path, head: nib.Nifti1Image, tmp_path: Path
) -> None:
    scan, mask, out, expected = tmp_path / "scan.nii.gz", None, tmp_path / "r.html", ""
    if kind == "4d":
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 4), np.int16), np.eye(4)), scan)
        expected = "not one volume"
    elif kind == "text":
        scan.write_text("no scan")
        expected = "cannot be read"
    elif kind == "empty-folder":
        scan = tmp_path / "dicom"
        scan.mkdir()
        expected = "no MR image in DICOM"
    elif kind == "mask":
        nib.save(head, scan)
        mask = tmp_path / "mask.nii.gz"
        nib.save(nib.Nifti1Image(np.eye(9)[None].repeat(9, 0).astype(np.uint8), np.eye(4)), mask)
        expected = "--mask: it has 9 x 9 x 9 voxels"
    else:
        nib.save(head, scan)
        out = scan
        expected = "is also SCAN"
    with pytest.raises(InputError, match=re.escape(expected)):
        read_request(Request(scan=scan, model=run, out=out, mask=mask))


def test_a_model_that_is_a_link_to_itself(run: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="--model: "):
        read_request(Request(scan=run, model=tmp_path / "loop", out=tmp_path / "r.html"))


def test_runs_that_have_no_models(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "controls/majority"}))
    with pytest.raises(InputError, match=r"controls/majority kept no models\n.*table2/5"):
        open_models(tmp_path)
    with pytest.raises(InputError, match="no run of ictmri reproduce"):
        open_models(tmp_path.parent)
    (tmp_path / MODEL).write_text("nothing")
    with pytest.raises(InputError, match="no model of this package"):
        open_models(tmp_path)
    alone = open_models(run / "folds" / "seed0-fold1")
    assert [model.name for model in alone.each] == ["seed 0, fold 1", "seed 0, fold 1, member 1"]
    assert alone.calibration()["out_of_fold"] is None
    assert alone.synthetic is True
    assert len(open_models(run / "folds" / "seed0-fold0" / MODEL).each) == 1


def test_settings_follow_the_models(run: Path, tmp_path: Path) -> None:
    assert open_models(run).processing == PRESETS["light"]
    own = PRESETS["light"].model_dump(mode="json") | {"bias": "n4"}
    trained(tmp_path / "n4", seed=0, processing=own, profile="paper")
    trained(tmp_path / "paper", seed=0, profile="paper")
    assert open_models(tmp_path / "n4").processing.bias == "n4"
    assert open_models(tmp_path / "paper").processing == PRESETS["paper"]


def test_without_a_reference_no_check_is_claimed(
    run: Path, case: Cases, processed: Processed, found: Localization, tmp_path: Path
) -> None:
    shutil.copy(run / "folds" / "seed0-fold0" / MODEL, tmp_path / MODEL)
    said = diagnose(processed.brain, found, open_models(tmp_path))
    assert said.middle is None
    assert "could not be checked" in words.out_of_distribution({"unusual": None})
    assert said.attention.shape == SHAPE
    assert said.attention.max() <= 1


EMPTY = ("empty",)
LOOK = Finding("", "bitten", "warning", "a lump is missing", "look at it")
OUT = Finding("", "half-a-head", "error", "half is missing", "take the whole")
UNLIKE = OutOfDistribution(9.0, 2.0, 0.0, "unlike")
RARE = OutOfDistribution(4.0, 2.0, 0.02, "unusual")
USUAL = OutOfDistribution(2.0, 2.0, 0.5, "usual")
NONE = np.full((3, 4), np.nan)
CASES = {
    # what is found, flags, unusual, models' answer, forced: state, shown, valid
    "ok": ((), (), USUAL, None, False, "ok", True, True),
    "ok-forced": ((), (), USUAL, None, True, "ok", True, True),
    "look": ((LOOK,), (), USUAL, None, False, "doubtful", True, True),
    "flag": ((), ("very-large",), USUAL, None, False, "doubtful", True, True),
    "rare": ((), (), RARE, None, False, "doubtful", True, True),
    "unlike": ((LOOK,), (), UNLIKE, None, False, "unlike", True, True),
    "empty": ((), EMPTY, USUAL, None, False, "no-lesion", False, False),
    "outside": ((LOOK,), ("outside-brain",), UNLIKE, None, False, "no-lesion", False, False),
    "empty-forced": ((), EMPTY, USUAL, None, True, "no-lesion", True, False),
    "refused": ((OUT, LOOK), (), USUAL, None, False, "refused", False, False),
    "refused-empty": ((OUT,), EMPTY, USUAL, None, False, "refused", False, False),
    "forced": ((OUT, LOOK), (), USUAL, None, True, "refused", True, False),
    "no-answer": ((), (), USUAL, NONE, False, "no-answer", False, False),
    "no-answer-forced": ((), (), USUAL, NONE, True, "no-answer", False, False),
    "not-processed": ((OUT,), None, USUAL, None, False, "not-processed", False, False),
    "not-processed-forced": ((OUT,), None, USUAL, None, True, "not-processed", False, False),
}


PICTURED = {"empty", "forced"}


def biopsy_of(
    name: str, head: nib.Nifti1Image, run: Path, processed: Processed, found: Localization
) -> Biopsy:
    """What the command would have made of a scan in a state; the probabilities are 91, 3, 3 and 3 %.

    Pictures take a second each, so only some have them.
    """
    findings, flags, strange, answer, force, *_ = CASES[name]
    models = open_models(run)
    rows = np.tile([0.91, 0.03, 0.03, 0.03], (3, 1)) if answer is None else answer
    diagnosis = Diagnosis(rows, np.zeros(SHAPE, np.float32), (strange,) * 3)
    located = None if flags is None else replace(found, flags=flags)
    outcome = decide(
        findings,
        processed=flags is not None,
        as_for_the_model=True,
        found=located,
        diagnosis=diagnosis,
        force=force,
    )
    return Biopsy(
        title="Scan",
        scan=Scan(head, []),
        models=models,
        settings=models.processing,
        findings=tuple(findings),
        numbers={},
        outcome=outcome,
        processed=processed if name in PICTURED else None,
        found=located,
        marked=located and in_scan(located, processed, head),
        diagnosis=diagnosis if outcome.shown else None,
    )


@pytest.mark.parametrize("name", CASES)
def test_every_outlet_says_the_same_of_every_state(
    name: str,
    head: nib.Nifti1Image,
    run: Path,
    processed: Processed,
    found: Localization,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is not to be believed is nowhere, or struck out on the page where someone insists."""
    *_, state, shown, valid = CASES[name]
    made = biopsy_of(name, head, run, processed, found)
    assert (made.outcome.state, made.outcome.shown, made.outcome.valid) == (state, shown, valid)
    content = content_of(made)
    write_page(tmp_path / "r.html", made, content)
    page = (tmp_path / "r.html").read_text()
    seen = " ".join(" ".join(Loads(page).text).split())
    request = Request(tmp_path / "scan.nii", run, tmp_path / "r.html")
    problem = None
    try:
        tell(made, request)
    except InputError as error:
        problem = error
    said = capsys.readouterr()
    # The exit code
    assert (problem is None) == shown
    assert content["outcome"]["exit_code"] == made.outcome.exit_code == (0 if shown else 1)
    # The terminal
    assert ("91 %" in said.out) == valid
    reasons = "\n".join(problem.problems) if problem else said.err
    assert all(reason in reasons for reason in made.outcome.reasons)
    assert (state == "ok") == (not made.outcome.reasons)
    # The JSON
    assert content["outcome"]["state"] == state
    assert content["outcome"]["reasons"] == list(made.outcome.reasons)
    assert (content["diagnosis"] is not None) == shown
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    if shown:
        assert content["diagnosis"]["valid"] == valid
    # The page
    assert ('id="result"' in page) == ("91 %" in seen) == shown
    assert ("What these probabilities are worth" in seen) == shown
    assert ("log-loss" in seen) == valid
    assert ("No probabilities are given" in seen) == (not shown)
    struck = re.findall(r"<s>(.*?)</s>", page)
    assert struck == ([words.headline(content)] if shown and not valid else [])
    assert ('class="result invalid"' in page) == (shown and not valid)
    assert ("scan’s own space" in seen) == (name in PICTURED)
    if state != "ok":
        codes = [reason.partition(":")[0] for reason in made.outcome.reasons]
        assert all(code in seen for code in codes)


def test_a_refused_scan_leaves_no_prior_of_another(
    head: nib.Nifti1Image, run: Path, processed: Processed, found: Localization, tmp_path: Path
) -> None:
    prior = tmp_path / "p.nii.gz"
    write_prior(prior, biopsy_of("ok", head, run, processed, found))
    assert prior.is_file()
    write_prior(prior, biopsy_of("empty", head, run, processed, found))
    assert not prior.exists()


def test_no_file_that_is_no_earlier_result_is_lost(
    run: Path, head: nib.Nifti1Image, tmp_path: Path
) -> None:
    scan, other = tmp_path / "s.nii.gz", tmp_path / "other.nii"
    nib.save(head, scan)
    nib.save(head, other)
    save(slices(1), tmp_path / "series")
    image = next((tmp_path / "series").iterdir())
    own = run / "report.json"
    lost = {"out": own, "json": run / "run.json", "prior": other, "dicom_seg": image}
    before = {path: path.read_bytes() for path in lost.values()}
    with pytest.raises(InputError) as caught:
        read_request(Request(tmp_path / "series", run, **({"out": tmp_path / "r.html"} | lost)))
    told = [problem for problem in caught.value.problems if "it would be lost" in problem]
    assert [problem.partition(":")[0] for problem in told] == [
        *("--out", "--prior", "--json", "--dicom-seg"),
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_models_of_a_part_of_a_run_are_to_be_doubted(run: Path, tmp_path: Path) -> None:
    assert open_models(run).incomplete == ""
    part = tmp_path / "run"
    shutil.copytree(run, part)
    shutil.rmtree(part / "folds" / "seed0-fold1")
    assert open_models(part).incomplete == "models of 1 of its 2 trainings are here"
    (part / "finished.json").unlink()
    said = open_models(part).incomplete
    assert said == "the run that the models are of did not end"
    decision = decide([], processed=True, as_for_the_model=True, incomplete=said)
    assert (decision.state, decision.reasons) == ("doubtful", (f"incomplete-run: {said}",))
    assert open_models(part / "folds" / "seed0-fold0").incomplete == ""


def test_text_can_be_read_on_what_lies_behind_it() -> None:
    """WCAG's contrast, of the style sheet's colours in both schemes."""
    style = (Path(package.__file__).parent / "templates" / "page.css").read_text()
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in style.split("@media")[:2]]
    assert "color: inherit" in re.findall(r"\.alarm a \{(.*?)\}", style)[0]

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        levels = np.frombuffer(bytes.fromhex(digits), np.uint8) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    pairs = [("alarm-ink", "alarm"), ("look", "note")]
    pairs += [(ink, on) for ink in ("ink", "soft", "accent", "exclude") for on in ("paper", "card")]
    for scheme in schemes:
        for ink, behind in pairs:
            low, high = sorted((light(scheme[ink]), light(scheme[behind])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, behind)


def test_the_viewer_is_the_one_that_its_readme_names() -> None:
    folder = Path(package.__file__).parent / "vendored"
    name, digest = re.findall(
        r"\| (\S+) \| `([0-9a-f]{64})` \|", (folder / "README.md").read_text()
    )[0]
    content = (folder / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert b"</script" not in content.lower()
    assert b"<!--" not in content


SIDEWAYS = """() => [document.documentElement, ...document.querySelectorAll(".scroll")]
  .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent.trim().slice(0, 40))"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
@pytest.mark.parametrize("webgl", [True, False])
def test_the_page_in_chromium(made: SimpleNamespace, webgl: bool) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    gl = (
        ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        if webgl
        else ["--disable-3d-apis"]
    )
    trouble: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *gl])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda r: None if r.url == made.out.as_uri() else trouble.append(r.url))
        page.goto(made.out.as_uri())
        if webgl:
            page.wait_for_selector("#viewer[data-ready=yes]", timeout=60_000)
            assert page.locator("#place").inner_text().startswith("MNI")
            page.locator("#planes").select_option("sliceTypeRender")
            page.locator("#opacity-prior").fill("80")
        else:
            page.wait_for_selector("#no-viewer:visible")
            assert "needs WebGL 2" in page.locator("#no-viewer").inner_text()
            assert not page.locator("#canvas").is_visible()
        for details in page.locator("details").all():
            details.evaluate("e => { e.open = true; }")
        for width in (1100, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(SIDEWAYS) == []
        browser.close()
    assert trouble == []
