import json
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from support.commandline import kill_after, run
from support.damage import DAMAGES, damage
from support.loopback_cluster import loopback_cluster

from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io import states
from ictmri.io.volumes import unpack
from ictmri_baselines.diagnoser.checkpoint import MODEL, read_description
from ictmri_baselines.explanation.explain import explain
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.localizer.learned.detector import Synthetic
from ictmri_baselines.localizer.learned.weights import SHIPPED, digest_of
from ictmri_baselines.localizer.replay import MaskReplay
from ictmri_baselines.pipeline import Workers, localized_copy
from ictmri_baselines.predict.run import open_models
from ictmri_baselines.registry import OFFLINE
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_baselines.reproduction.reproduce import reproduce
from ictmri_baselines.reproduction.results import collect, render, write_results
from ictmri_benchmark.board.entry import load_entry

RECIPE = """
extends: table2/5
profiles:
  smoke:
    optimisation: {epochs: 60}
    compute: {checkpoint_every: 5}
"""
ENTRY = ("entry.yaml", "predictions.csv", "report.json")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "table2-5.yaml"
    path.write_text(RECIPE)
    return path


def entry(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ENTRY}


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_was_killed_ends_in_the_same_entry(
    seed: int, recipe: Path, phantom: Cohort, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    undisturbed = reproduce(str(recipe), phantom, tmp_path / "whole", profile="smoke", jobs=2)
    out = tmp_path / "killed"
    command = ["reproduce", recipe, "--cohort", phantom.root, "--profile", "smoke", "--out", out]
    hit = [kill_after(rng.uniform(6, 16), *command, "--jobs", "2") for _ in range(3)]
    assert any(hit)
    run(*command)
    assert entry(out) == entry(undisturbed.out)


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_gives_the_same_entry(
    recipe: Path, phantom: Cohort, tmp_path: Path
) -> None:
    here = reproduce(str(recipe), phantom, tmp_path / "here", profile="smoke", jobs=1)
    with loopback_cluster(tmp_path / "cluster") as cluster:
        cluster.add_worker()
        cluster.add_worker()
        folds = tmp_path / "there" / "folds"
        killer = threading.Thread(target=_kill_when, args=(cluster.workers[0].pid, folds))
        killer.start()
        there = reproduce(
            str(recipe), phantom, folds.parent, profile="smoke", scheduler=cluster.address
        )
        killer.join()
        assert cluster.workers[0].wait() == -signal.SIGKILL
    assert entry(there.out) == entry(here.out)


def _kill_when(pid: int, folds: Path) -> None:
    """Kill a worker once a fold is under way."""
    deadline = time.monotonic() + 120
    while not list(folds.glob("*/training.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)


def test_damaged_states_of_a_run_are_made_again(
    raw_phantom: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, name = tmp_path / "run", "controls/majority"
    expected = entry(reproduce(name, raw_phantom, out, profile="smoke", jobs=1).out)
    capsys.readouterr()
    for how in DAMAGES:
        states = [out / "folds" / "seed0-fold0.csv", out / "folds" / "seed0-fold1.json"]
        states += [] if how == "garbled" else [out / "run.json"]
        for state in states:
            damage(state, how)
        for path in ENTRY:
            damage(out / path, how)
        assert entry(reproduce(name, raw_phantom, out, profile="smoke", jobs=1).out) == expected
        told = capsys.readouterr().err
        for state in states:
            assert f"{state} is damaged" in told
            assert state.with_name(f"{state.name}.damaged").is_file()


def test_a_finished_run_is_taken_as_it_is(
    raw_phantom: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No method is imported, no volume opened, nothing scored; each small file is looked at once."""
    out = reproduce("controls/majority", raw_phantom, tmp_path / "run", profile="smoke", jobs=1).out

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the run is finished")

    for name in ("device_of", "find_method", "open_volumes", "run_all", "evaluate", "write_entry"):
        monkeypatch.setattr(f"ictmri_baselines.reproduction.reproduce.{name}", refuse)
    digested: list[str] = []
    digest = states.sha256_file

    def counted(path: Path) -> str:
        digested.append(path.name)
        return digest(path)

    monkeypatch.setattr(states, "sha256_file", counted)
    expected = entry(out)
    again = reproduce("controls/majority", raw_phantom, out, profile="smoke", jobs=1)
    assert again.report is not None
    assert again.report.to_json() == (out / "report.json").read_text()
    assert entry(out) == expected
    folds = [f"seed0-fold{k}.csv" for k in range(raw_phantom.folds().n_folds)]
    assert sorted(digested) == sorted([*ENTRY, *folds])


def test_a_fold_is_taken_under_the_settings_that_it_ran_with_alone(
    phantom: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "run"
    fold = out / "folds" / "seed0-fold0"

    def ran(**optimisation: Any) -> dict[str, Any]:
        settings = {"optimisation": optimisation, "view": {"edge": 16}}
        recipe.write_text(yaml.safe_dump({"extends": "table2/5", "settings": settings}))
        reproduce(str(recipe), phantom, out, folds=[0], seeds=[0], profile="smoke", jobs=1)
        return dict(read_description(fold / MODEL).settings["optimisation"])

    assert ran(epochs=2, learning_rate=0.5).items() >= {"epochs": 2, "learning_rate": 0.5}.items()
    run_made = json.loads((out / "run.json").read_text())
    assert run_made["settings"]["optimisation"]["epochs"] == 2
    assert any(line.startswith("optimisation.epochs is 2") for line in run_made["overruled"])
    before = fold.with_suffix(".csv").read_bytes()
    with pytest.raises(InputError, match=r"optimisation\.epochs is 2, not 3") as caught:
        ran(epochs=3, learning_rate=0.5)
    assert "sha256" not in str(caught.value)
    assert fold.with_suffix(".csv").read_bytes() == before
    (out / "run.json").unlink()
    capsys.readouterr()
    assert ran(epochs=3, learning_rate=0.5)["epochs"] == 3
    assert "seed0-fold0.csv is not of this run: this fold is done again" in capsys.readouterr().err


NAMED = """
extends: table2/5
detector: synthetic
profiles: {smoke: {optimisation: {epochs: 1}}}
"""


def test_a_run_says_whose_priors_it_had_and_the_cohort_keeps_its_own(
    few_processed: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(NAMED)
    before = few_processed.manifest

    def ran() -> None:
        reproduce(str(recipe), few_processed, out, seeds=[0], profile="smoke", jobs=1)

    ran()
    assert open_cohort(few_processed.root).manifest == before
    version, learned = Synthetic.version, "localizer trained on synthetic heads"
    said, copy = f"priors of synthetic {version}, {learned}: ", capsys.readouterr().err
    assert said in copy
    place = Path(copy.partition(said)[2].splitlines()[0])
    told, made = load_entry(out / "entry.yaml"), json.loads((out / "run.json").read_text())
    assert (told.external, told.overlap) == ((learned,), "no")
    assert (told.compute["localizer"], told.inputs.prior) == (f"synthetic {version}", "own")
    assert told.benchmark.data_sha256 == few_processed.data_sha256
    assert (made["detector"], made["detector_version"]) == ("synthetic", version)
    assert made["detector_weights_sha256"] == digest_of(SHIPPED)
    models = open_models(out)
    assert (models.localizer.name, models.other_localizer) == ("synthetic", "")
    fold = out / "folds" / "seed0-fold1.csv"
    kept = fold.stat().st_mtime_ns
    ran()
    assert fold.stat().st_mtime_ns == kept
    explained = explain(out, few_processed, shown=0, jobs=1)
    assert explained["data_sha256"] == made["data_sha256"]
    shutil.rmtree(place)
    ran()
    assert not place.exists(), "a finished run needs no copy"
    recipe.write_text(NAMED.replace("synthetic", ""))
    with pytest.raises(InputError, match="detector is synthetic, not none"):
        ran()
    recipe.write_text(NAMED)
    unnamed = {key: value for key, value in made.items() if "detector" not in key}
    (out / "run.json").write_text(json.dumps(unnamed))
    with pytest.raises(InputError, match="detector is not given, not synthetic"):
        ran()


def test_priors_that_were_drawn_by_hand_are_said_to_be(
    few_processed: Cohort, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    for row in few_processed.rows("processed", ["case_id", "brain_mask"]):
        mask = unpack(row["brain_mask"])
        cube = np.zeros(mask.shape, np.uint8)
        cube[45:52, 50:57, 45:52] = 1
        nib.save(
            nib.Nifti1Image(cube, mask.affine), tmp_path / "masks" / f"{row['case_id']}.nii.gz"
        )
    masks = MaskReplay(masks=tmp_path / "masks")
    cohort = localized_copy(few_processed, masks, folder=tmp_path, workers=Workers(1))
    reproduce("table2/5", cohort, tmp_path / "run", seeds=[0], profile="smoke", jobs=1)
    told = load_entry(tmp_path / "run" / "entry.yaml")
    assert told.inputs.prior == "manual-test"
    assert "manual ROI at test" in told.tracks


def test_a_run_of_before_the_registry_gets_a_clear_answer(
    raw_phantom: Cohort, tmp_path: Path
) -> None:
    out = reproduce("controls/majority", raw_phantom, tmp_path / "run", profile="smoke", jobs=1).out
    made = json.loads((out / "run.json").read_text())
    del made["method"]
    (out / "run.json").write_text(json.dumps(made | {"recipe_sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"run of an older ictmri.*\n?.*choose another --out"):
        reproduce("controls/majority", raw_phantom, out, profile="smoke", jobs=1)


def test_a_folder_of_another_run_is_refused_before_the_cohort_is_processed(
    raw_phantom: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(*_: object) -> None:
        raise AssertionError("the cohort is processed")

    out = reproduce("controls/majority", raw_phantom, tmp_path / "run", profile="smoke", jobs=1).out
    monkeypatch.setattr("ictmri_baselines.reproduction.reproduce._with_volumes", process)
    with pytest.raises(InputError, match="recipe is controls/majority, not table2/5"):
        reproduce("table2/5", raw_phantom, str(out), profile="smoke")


@pytest.fixture(scope="module")
def runs(phantom: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of the ablation and a control, finished."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("table2/1", "table2/5", "controls/majority"):
        out = folder / name.replace("/", "-")
        reproduce(name, phantom, out, profile="smoke", seeds=[0, 1], jobs=1)
    return folder


def test_the_table_holds_what_was_reported_beside_what_was_reproduced(
    runs: Path, phantom: Cohort
) -> None:
    results = collect(runs, phantom.scored_folds(), synthetic=True)
    text = render(results)
    (full,) = (row for row in text.splitlines() if row.startswith("| `table2/5` | Virtual"))
    assert "91.83 / 92.00 / 91.91 / 92.00" in full
    (found,) = (run for run in results["runs"] if run["recipe"] == "table2/5")
    assert f"{100 * found['pooled']['macro_f1']['value']:.1f} [" in full
    assert "| – / – / – / 78.90 |" in text, "the later release's card gives an accuracy alone"
    assert "SYNTHETIC" in text
    assert "nothing about\npatients" in text
    assert "| not run |" in text
    (planned,) = results["planned"]
    by_recipe = {run["recipe"]: run["pooled"]["macro_f1"]["value"] for run in results["runs"]}
    expected = by_recipe["table2/5"] - by_recipe["table2/1"]
    assert planned["difference"] == pytest.approx(expected, abs=1e-6)
    assert planned["p_holm"] == planned["p"], "one comparison needs no correction"


def test_the_table_is_written_whole_and_alike(runs: Path, phantom: Cohort, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_results(tmp_path / name, collect(runs, phantom.scored_folds(), synthetic=True))
    for file in ("README.md", "results.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_published_table_says_which_rows_are_of_earlier_recipes() -> None:
    folder = Path(__file__).parents[3] / "baselines"
    results, table = json.loads((folder / "results.json").read_text()), folder / "README.md"
    assert render(results) == table.read_text()
    localizers = {f"{name} {detector_settings(name).version}" for name in OFFLINE}
    for run_made in results["runs"]:
        recipe = load_recipe(run_made["recipe"])
        same = run_made["recipe_sha256"] == recipe.digest(run_made["profile"])
        same &= not recipe.inputs.prior or run_made["localizer"] in localizers
        for row in table.read_text().splitlines():
            if row.startswith(f"| `{recipe.id}`"):
                assert row.startswith(f"| `{recipe.id}`\\*") is not same, row


def test_a_folder_without_runs_gives_no_table(phantom: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no entry"):
        collect(tmp_path, phantom.scored_folds(), synthetic=True)


def test_a_run_does_not_begin_where_an_entry_was_handed_in(phantom: Cohort, tmp_path: Path) -> None:
    (tmp_path / "entry.yaml").write_text("slug: controls-majority\n")
    with pytest.raises(InputError, match="handed in"):
        reproduce("controls/majority", phantom, tmp_path, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["entry.yaml"]


def test_links_in_a_run_lead_nowhere_else(phantom: Cohort, tmp_path: Path) -> None:
    (tmp_path / "sent" / "folds").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "sent" / "folds" / "seed0-fold0").symlink_to(tmp_path / "else")
    with pytest.raises(InputError, match="seed0-fold0 is a link to a folder"):
        reproduce("controls/majority", phantom, tmp_path / "sent")


def test_a_recipe_and_all_of_them_exclude_each_other(tmp_path: Path) -> None:
    for words in (["table2/5", "--all"], []):
        done = run("reproduce", *words, "--out", tmp_path / "x", code=1)
        assert "--all" in done.stderr
