"""Several scans by one command: rows for what is believed, reasons for the rest, nothing done twice."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import nibabel as nib
import numpy as np
import pydicom
import pytest
import typer
from support.made_dicom import save, slices
from typer.testing import CliRunner

from ictmri.build.phantom import build_phantom
from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.io.files import canonical_json
from ictmri.io.parallel import run_all
from ictmri.scans.findings import Finding
from ictmri.scans.scan import Scan
from ictmri_baselines import predict
from ictmri_baselines.cli.predict import predict as command
from ictmri_baselines.localizer import detectors
from ictmri_baselines.localizer.classical.saliency import Saliency
from ictmri_baselines.localizer.detectors import Detector, DetectorSettings
from ictmri_baselines.localizer.learned.detector import Synthetic
from ictmri_baselines.localizer.learned.weights import SHIPPED, digest_of
from ictmri_baselines.pipeline import Workers
from ictmri_baselines.predict import run as models_of_runs
from ictmri_baselines.predict import several
from ictmri_baselines.predict.biopsy import Given, Request, biopsy_of
from ictmri_baselines.predict.decision import decide
from ictmri_baselines.predict.result import Biopsy, Marked, content_of
from ictmri_baselines.predict.run import Models, open_models
from ictmri_baselines.predict.several import Predicted, predict_scans
from ictmri_baselines.predict.sources import Scans, find_scans
from ictmri_baselines.processor import PRESETS
from ictmri_baselines.registry import DEFAULT_DETECTOR, DETECTORS, OFFLINE, imported
from ictmri_benchmark.score.mistakes import HEADERS

if TYPE_CHECKING:
    from ictmri_baselines.diagnoser.checkpoint import ModelOrigin

ONE = Workers(1)
OUT = Finding("", "half-a-head", "error", "half is missing", "take the whole")


@pytest.fixture(scope="module")
def good(head: nib.Nifti1Image, run: Path) -> Biopsy:
    """The real biopsy of a head in which nothing is wrong."""
    given = Given(Scan(head, []), open_models(run), PRESETS["light"], None)
    made = biopsy_of(given, "good")
    assert made.outcome.valid
    return made


@pytest.fixture
def table(tmp_path: Path, head: nib.Nifti1Image) -> Path:
    """Three scans: one that a stand-in finds good, one that is refused, one that cannot be read."""
    nib.save(head, tmp_path / "one.nii.gz")
    nib.save(head, tmp_path / "two.nii.gz")
    (tmp_path / "three.nii").write_text("no scan")
    path = tmp_path / "scans.csv"
    path.write_text("case_id,label,image\ngood,rare,one.nii.gz\nbad,,two.nii.gz\ntorn,,three.nii\n")
    return path


@pytest.fixture
def asked(good: Biopsy, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let biopsies take no time; which were asked for."""
    names: list[str] = []

    def made(given: Given, title: str, *, force: bool = False) -> Biopsy:
        names.append(title)
        if title != "bad":
            return replace(good, title=title)
        state = {"processed": True, "as_for_the_model": True, "force": force}
        outcome = decide([OUT], **state)  # type: ignore[arg-type]
        shown = good.diagnosis if force else None
        return replace(good, title=title, findings=(OUT,), outcome=outcome, diagnosis=shown)

    monkeypatch.setattr(several, "biopsy_of", made)
    return names


def predicted(table: Path, run: Path, out: Path, **more: Any) -> Predicted:
    found = find_scans(str(table))
    assert isinstance(found, Scans)
    return predict_scans(found, Request(table, run, out, **more), ONE)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_believed_has_a_row_and_the_rest_a_reason(
    table: Path, run: Path, tmp_path: Path, asked: list[str]
) -> None:
    app = typer.Typer()
    app.command()(command)
    out = tmp_path / "out"
    said = CliRunner().invoke(
        app, [str(table), "--model", str(run), "--out", str(out), "--jobs", "1"]
    )
    assert isinstance(said.exception, InputError)
    assert said.exit_code == 1
    told = said.exception.problems
    assert [line.partition(":")[0] for line in told] == ["bad", "torn"]
    assert "half-a-head: half is missing" in told[0]
    assert "cannot be read" in told[1]
    assert "1 of 3 scans have probabilities" in said.output
    (row,) = rows_of(out / "predictions.csv")
    assert set(HEADERS[0].split(",")) <= set(row)
    numbers = json.loads((out / "cases" / "good" / "numbers.json").read_text())
    for name in CLASSES:
        shown = numbers["diagnosis"]["probabilities"][name]
        assert float(row[f"p_{name}"]) == pytest.approx(shown, abs=2e-6)
    assert row["case_id"] == "good"
    refused = rows_of(out / "refused.csv")
    assert [(found["case_id"], found["state"]) for found in refused] == [
        ("bad", "refused"),
        ("torn", "unreadable"),
    ]
    assert (out / "cases" / "good" / "prior.nii.gz").is_file()
    assert not (out / "cases" / "bad" / "prior.nii.gz").exists()
    assert not (out / "cases" / "torn" / "report.html").exists()
    page = (out / "index.html").read_text()
    for text in ("Not a medical device", "half is missing", "cannot be read", "SYNTHETIC"):
        assert text in page
    for name in ("good", "bad"):
        assert f'href="cases/{name}/report.html"' in page
        assert (out / "cases" / name / "report.html").is_file()
    assert out.stat().st_mode & 0o077 == 0


def test_json_on_the_terminal_is_alone_there(
    run: Path, tmp_path: Path, good: Biopsy, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "virtual_biopsy", lambda _: good)
    app = typer.Typer()
    app.command()(command)
    asked = [str(tmp_path / "one.nii.gz"), "--model", str(run), "--json", "-"]
    said = CliRunner().invoke(app, asked)
    assert said.stdout == canonical_json(content_of(good))
    assert "Report: report.html" in said.stderr
    bad = replace(
        good, diagnosis=None, outcome=decide([OUT], processed=True, as_for_the_model=True)
    )
    monkeypatch.setattr(predict, "virtual_biopsy", lambda _: bad)
    said = CliRunner().invoke(app, asked)
    assert isinstance(said.exception, InputError)
    assert json.loads(said.stdout)["outcome"]["exit_code"] == 1


def test_each_series_gets_its_segmentation(
    run: Path, tmp_path: Path, good: Biopsy, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def made(given: Given, title: str, *, force: bool = False) -> Biopsy:
        names.append(title)
        voxels = np.zeros(given.scan.image.shape, np.uint8)
        voxels[3:9, 5:7, 2:6] = 1
        prior = nib.Nifti1Image(voxels, given.scan.image.affine)
        return replace(good, title=title, marked=Marked(prior, prior))

    monkeypatch.setattr(several, "biopsy_of", made)
    save(slices(1), tmp_path / "whole")
    headless = slices(2)
    for one in headless:
        del one.FrameOfReferenceUID
    save(headless, tmp_path / "headless")
    table, to, out = tmp_path / "scans.csv", tmp_path / "pacs", tmp_path / "out"
    table.write_text("case_id,image\na,whole\nb,headless\n")
    app = typer.Typer()
    app.command()(command)
    asked = [str(table), "--model", str(run), "--out", str(out), "--jobs", "1"]
    asked += ["--dicom-seg", str(to)]
    said = CliRunner().invoke(app, asked)
    assert isinstance(said.exception, InputError)
    (problem,) = said.exception.problems
    assert problem.startswith("b: no segmentation: its headers have no FrameOfReferenceUID")
    assert len(rows_of(out / "predictions.csv")) == 2
    assert [path.name for path in to.iterdir()] == ["a.dcm"]
    data = pydicom.dcmread(to / "a.dcm")
    assert data.pixel_array.sum() == 6 * 2 * 4
    name = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
    assert name == f"ictmri Tumor-Localizer, {DEFAULT_DETECTOR}"
    assert (to / "a.dcm").stat().st_mode & 0o077 == 0
    before = (to / "a.dcm").read_bytes()
    CliRunner().invoke(app, asked)
    assert names == ["a", "b"]
    assert (to / "a.dcm").read_bytes() == before
    table.write_text("case_id,image\na,whole\nc,c.nii.gz\n")
    (tmp_path / "c.nii.gz").write_text("")
    said = CliRunner().invoke(app, asked)
    assert isinstance(said.exception, InputError)
    assert said.exception.problems == [
        "c: c.nii.gz is no DICOM series, and a segmentation refers to one"
    ]


def test_segmentations_go_where_nothing_is_lost(
    run: Path, tmp_path: Path, asked: list[str]
) -> None:
    save(slices(1), tmp_path / "series")
    source = tmp_path / "a.dcm"
    shutil.copy(next((tmp_path / "series").iterdir()), source)
    before, table = source.read_bytes(), tmp_path / "scans.csv"
    table.write_text("case_id,image\na,a.dcm\n")
    for folder, said in {tmp_path: "no DICOM segmentation", table: "is a file"}.items():
        with pytest.raises(InputError, match=said):
            predicted(table, run, tmp_path / "out", dicom_seg=folder)
    assert source.read_bytes() == before
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_nothing_stays_of_a_scan_that_cannot_be_read_any_more(
    run: Path, tmp_path: Path, good: Biopsy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(given: Given, title: str, *, force: bool = False) -> Biopsy:
        voxels = np.ones(given.scan.image.shape, np.uint8)
        prior = nib.Nifti1Image(voxels, given.scan.image.affine)
        return replace(good, title=title, marked=Marked(prior, prior))

    monkeypatch.setattr(several, "biopsy_of", made)
    series = save(slices(1), tmp_path / "series")
    table, out, to = tmp_path / "scans.csv", tmp_path / "out", tmp_path / "pacs"
    table.write_text("case_id,image\na,series\n")
    predicted(table, run, out, dicom_seg=to)
    assert (to / "a.dcm").is_file()
    for image in series.iterdir():
        image.write_bytes(b"damaged")
    (case,) = predicted(table, run, out, dicom_seg=to).cases
    assert case.state == "unreadable"
    assert list(to.iterdir()) == []
    assert list((out / "cases" / "a").iterdir()) == []


def test_segmentations_in_the_folder_of_the_studies_are_no_scans(
    run: Path, tmp_path: Path, good: Biopsy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(given: Given, title: str, *, force: bool = False) -> Biopsy:
        prior = nib.Nifti1Image(np.ones(given.scan.image.shape, np.uint8), given.scan.image.affine)
        return replace(good, title=title, marked=Marked(prior, prior))

    monkeypatch.setattr(several, "biopsy_of", made)
    folder = tmp_path / "studies"
    for number, name in enumerate(("a", "b")):
        save(slices(number), folder / name)
    for _ in range(2):
        found = predicted(folder, run, folder / "out", dicom_seg=folder / "pacs")
        assert [case.case_id for case in found.cases] == ["a", "b"]
        assert sorted(path.name for path in (folder / "pacs").iterdir()) == ["a.dcm", "b.dcm"]


def test_what_is_passed_over_is_named_and_predictions_are_no_scans(
    run: Path, tmp_path: Path, head: nib.Nifti1Image, asked: list[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    nib.save(head, folder / "one.nii.gz")
    for name in ("two.mgz", "three.nii.bz2"):
        (folder / name).write_bytes(b"")
    (folder / "nobody").mkdir()
    app = typer.Typer()
    app.command()(command)
    words = [str(folder), "--model", str(run), "--out", str(folder / "p"), "--jobs", "1"]
    for _ in range(2):
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, said.output
        assert (
            "passed over, no scan that can be read: nobody, three.nii.bz2, two.mgz" in said.output
        )
    assert asked == ["one"]
    said = CliRunner().invoke(app, [*words, "--title", "Ward 5"])
    assert isinstance(said.exception, InputError)
    assert said.exception.problems == ["--title is of one scan"]


class Mine(DetectorSettings):
    """A detector of one's own."""

    name, version = "mine", "7"

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> Detector:
        raise NotImplementedError


def of_origin(models: Models, localisation: str = "refined", **origin: Any) -> Models:
    """The same models, of other priors."""
    each = []
    for model in models.each:
        network = model.settings.network.model_copy(update={"localisation": localisation})
        settings = model.settings.model_copy(update={"network": network})
        told = cast("ModelOrigin", {**model.description.origin, **origin})
        each.append(
            replace(model, settings=settings, description=replace(model.description, origin=told))
        )
    return replace(models, each=tuple(each))


def test_the_models_own_detector_is_taken_where_it_needs_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DETECTORS, "mine", "made_up:Mine")
    monkeypatch.setattr(models_of_runs, "OFFLINE", (*OFFLINE, "mine"))
    monkeypatch.setattr(
        detectors, "imported", lambda path: Mine if "made_up" in path else imported(path)
    )
    models, now = open_models(run), Saliency.version
    learned = {"detector": "synthetic", "detector_version": Synthetic.version}
    for origin, used, told in (
        ({}, DEFAULT_DETECTOR, ""),
        ({"detector": None}, DEFAULT_DETECTOR, ""),
        ({"detector": "saliency"}, "saliency", ""),
        ({"detector": "saliency", "detector_version": now}, "saliency", ""),
        ({"detector": "saliency", "detector_version": "0"}, "saliency", "priors of saliency 0,"),
        (
            {"detector": "qwen3-vl"},
            "synthetic",
            f"qwen3-vl, these are of synthetic {Synthetic.version}",
        ),
        ({"detector": "os:system"}, "synthetic", "of os:system, these are of synthetic"),
        ({"detector": "mine", "detector_version": "7"}, "mine", ""),
        ({"detector": "mine", "detector_version": "6"}, "mine", "of mine 6, these are of mine 7"),
        ({"detector": "synthetic", "detector_version": Synthetic.version}, "synthetic", ""),
        ({**learned, "detector_weights_sha256": digest_of(SHIPPED)}, "synthetic", ""),
        (
            {**learned, "detector_weights_sha256": "0" * 64},
            "synthetic",
            "with other weights, these",
        ),
    ):
        found = of_origin(models, **origin)
        assert found.localizer.name == used
        assert told in found.other_localizer
        assert bool(told) == bool(found.other_localizer)
        assert of_origin(models, localisation="none", **origin).other_localizer == ""


def test_a_prior_of_another_detector_is_told(head: nib.Nifti1Image, run: Path) -> None:
    models = of_origin(open_models(run), detector="saliency", detector_version="0")
    made = biopsy_of(Given(Scan(head, []), models, PRESETS["light"], None), "scan")
    assert made.outcome.state == "doubtful"
    assert any(reason.startswith("other-localizer: ") for reason in made.outcome.reasons)
    content = content_of(made)
    assert content["outcome"]["reasons"] == list(made.outcome.reasons)
    assert content["localizer"] == {
        "detector": "saliency",
        "version": Saliency.version,
        "of_the_training": "saliency",
        "version_of_the_training": "0",
        "as_for_the_model": False,
    }


def test_nothing_is_done_twice_and_what_changed_is_done_again(
    table: Path, run: Path, tmp_path: Path, asked: list[str], head: nib.Nifti1Image
) -> None:
    out = tmp_path / "out"
    predicted(table, run, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert asked == ["good", "bad"]
    asked.clear()
    predicted(table, run, out)
    assert asked == []
    assert {path: path.read_bytes() for path in before} == before
    (out / "cases" / "good" / "report.html").write_text("damaged")
    predicted(table, run, out)
    assert asked == ["good"]
    nib.save(nib.Nifti1Image(np.asarray(head.dataobj) + 1, head.affine), tmp_path / "three.nii")
    assert not [case for case in predicted(table, run, out).refused if case.case_id == "torn"]
    assert asked == ["good", "torn"]
    table.write_text(table.read_text() + "four,,one.nii.gz\n")
    assert len(predicted(table, run, out).cases) == 4
    assert asked == ["good", "torn", "four"]


def test_an_interrupted_run_goes_on(
    table: Path,
    run: Path,
    tmp_path: Path,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, write = tmp_path / "out", several.write_page

    def killed(path: Path, *given: Any) -> None:
        if path.parent.name == "bad":
            raise KeyboardInterrupt
        write(path, *given)

    monkeypatch.setattr(several, "write_page", killed)
    with pytest.raises(KeyboardInterrupt):
        predicted(table, run, out)
    assert not (out / "predictions.csv").exists()
    monkeypatch.setattr(several, "write_page", write)
    asked.clear()
    assert len(predicted(table, run, out).cases) == 3
    assert asked == ["bad"]
    whole = tmp_path / "whole"
    predicted(table, run, whole)
    for path in (path for path in whole.rglob("*") if path.is_file()):
        assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_force_puts_nothing_into_the_predictions(
    table: Path, run: Path, tmp_path: Path, asked: list[str]
) -> None:
    out = tmp_path / "out"
    done = predicted(table, run, out, force=True)
    assert [case.case_id for case in done.refused] == ["bad", "torn"]
    assert len(rows_of(out / "predictions.csv")) == 1
    assert "they are not valid" in (out / "cases" / "bad" / "report.html").read_text()


def test_a_folder_of_something_else_is_refused(
    table: Path, run: Path, tmp_path: Path, asked: list[str]
) -> None:
    out = tmp_path / "out"
    predicted(table, run, out)
    others: list[tuple[Callable[[], object], str]] = [
        (lambda: predicted(table, run / "folds" / "seed0-fold0", out), "models is another one"),
        (lambda: predicted(table, run, out, settings="paper"), "settings is another one"),
        (lambda: predicted(table, run, out, force=True), "force is another one"),
        (lambda: predicted(table, run, run), "exists and is not empty"),
    ]
    other = tmp_path / "others.csv"
    other.write_text(table.read_text())
    others.append((lambda: predicted(other, run, out), "source is another one"))
    asked.clear()
    for wrong, said in others:
        with pytest.raises(InputError, match=said) as caught:
            wrong()
        assert "--out" in caught.value.next_step
    assert asked == []


def test_a_cohort_that_the_models_know_is_told(
    run: Path, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = build_phantom(tmp_path / "mine", n_cases=8, n_folds=2, spacing=6.0, jobs=1)
    scans = Scans(cohort.name, "cohort", {}, cohort)
    out = tmp_path / "out"
    done = predict_scans(scans, Request(cohort.root, run, out), ONE)
    assert asked == [row["case_id"] for row in scans.rows()]
    assert not done.learned_from
    assert [row["case_id"] for row in rows_of(out / "predictions.csv")] == scans.ids
    assert "phantoms made by a program" in (out / "index.html").read_text()
    known = replace(done.models, report=None)
    described = replace(known.each[0].description, origin={"cohort": cohort.name})
    known = replace(known, each=(replace(known.each[0], description=described),))
    assert several._learned_from(known, scans)


def test_processes_share_the_work(
    table: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to a worker can be pickled; each case is done by one of them."""
    jobs: list[int | None] = []

    def watched(*given: Any, **settings: Any) -> Any:
        jobs.append(settings["jobs"])
        return run_all(*given, **settings)

    monkeypatch.setattr("ictmri_baselines.pipeline.resumable.run_all", watched)
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    for name in ("one.nii.gz", "two.nii.gz"):
        nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / name)
    found = find_scans(str(table))
    assert isinstance(found, Scans)
    done = predict_scans(found, Request(table, run, tmp_path / "out"), Workers(2))
    assert jobs == [2]
    assert [case.state for case in done.cases] == ["not-processed", "not-processed", "unreadable"]
    assert not (tmp_path / "out" / "predictions.csv").exists()
