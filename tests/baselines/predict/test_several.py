"""Several scans by one command: rows for what is believed, reasons for the rest, nothing done twice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ictmri.build.phantom import build_phantom
from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.io.parallel import run_all
from ictmri.scans.findings import Finding
from ictmri.scans.scan import Scan
from ictmri_baselines.cli.predict import predict as command
from ictmri_baselines.pipeline import Workers
from ictmri_baselines.predict import several
from ictmri_baselines.predict.biopsy import Given, Request, biopsy_of
from ictmri_baselines.predict.decision import decide
from ictmri_baselines.predict.result import Biopsy
from ictmri_baselines.predict.run import open_models
from ictmri_baselines.predict.several import Predicted, predict_scans
from ictmri_baselines.predict.sources import Scans, find_scans
from ictmri_baselines.processor import PRESETS
from ictmri_benchmark.score.mistakes import HEADERS

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
