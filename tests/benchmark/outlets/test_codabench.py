"""The Codabench bundle, unpacked and run as Codabench does it: with Python, NumPy and nothing else."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.made_predictions import probabilities, write_predictions

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark import evaluate
from ictmri_benchmark.outlets.codabench import write_bundle


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


def unpacked(tmp_path: Path, cohort: FoldTable, *, synthetic: bool = True) -> Path:
    write_bundle(tmp_path / "b.zip", cohort, synthetic=synthetic, start="2027-01-15")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def scored(bundle: Path, submission: Path, app: Path) -> subprocess.CompletedProcess[str]:
    """Run the scoring program in folders laid out as in Codabench's container."""
    alone = app / "numpy-alone"
    alone.mkdir(parents=True)
    for part in Path(np.__file__).parents[1].glob("numpy*"):
        (alone / part.name).symlink_to(part)
    (app / "input").mkdir()
    (app / "output").mkdir()
    (app / "program").symlink_to(bundle / "scoring_program")
    (app / "input" / "ref").symlink_to(bundle / "reference_data")
    (app / "input" / "res").symlink_to(submission)
    command = yaml.safe_load((bundle / "scoring_program/metadata.yaml").read_text())["command"]
    python, *words = command.replace("/app", str(app)).split()
    assert python == "python3"
    return subprocess.run(
        [sys._base_executable, "-S", *words],
        cwd=app,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(alone), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_the_bundle_is_what_codabench_unpacks(small: FoldTable, tmp_path: Path) -> None:
    bundle = unpacked(tmp_path, small)
    competition = yaml.safe_load((bundle / "competition.yaml").read_text())
    assert competition["version"] == 2
    assert "SYNTHETIC" in competition["title"]
    (page,) = competition["pages"]
    for name, part in ((competition["terms"], "diagnosis"), (page["file"], "predictions.csv")):
        text = (bundle / name).read_text()
        assert part in text
        assert "say nothing about patients" in text
    logo = Image.open(io.BytesIO((bundle / competition["image"]).read_bytes()))
    logo.verify()
    assert logo.size == (64, 64)
    (task,) = competition["tasks"]
    (phase,) = competition["phases"]
    assert phase["tasks"] == [task["index"]]
    assert str(phase["start"]) == "2027-01-15 00:00:00"
    assert (bundle / task["scoring_program"]).is_dir()
    assert (bundle / task["reference_data"] / "folds.csv").is_file()
    (board,) = competition["leaderboards"]
    assert board["columns"][0]["key"] == "macro_f1"
    assert [column["index"] for column in board["columns"]] == list(range(len(board["columns"])))


def test_patients_are_not_called_synthetic(small: FoldTable, tmp_path: Path) -> None:
    bundle = unpacked(tmp_path, small, synthetic=False)
    for name in ("competition.yaml", "overview.md", "terms.md"):
        assert "synthetic" not in (bundle / name).read_text().lower()


def test_the_scoring_program_gives_our_scores(small: FoldTable, tmp_path: Path) -> None:
    bundle = unpacked(tmp_path, small)
    values = probabilities(small, 0.4)
    predictions = write_predictions(tmp_path / "res" / "predictions.csv", small, values)
    done = scored(bundle, tmp_path / "res", tmp_path / "app")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout
    written = json.loads((tmp_path / "app/output/scores.json").read_text())
    pooled = evaluate(predictions, small, synthetic=True).content["pooled"]
    assert written["macro_f1_low"] == pooled["macro_f1"]["low"]
    assert {name: written[name] for name in pooled} == {n: v["value"] for n, v in pooled.items()}
    competition = yaml.safe_load((bundle / "competition.yaml").read_text())
    assert {c["key"] for c in competition["leaderboards"][0]["columns"]} <= set(written)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"case_id,prediction\n", "a header only"),
        (b"\xff\xfe", "UTF-16"),
    ],
)
def test_what_is_not_valid_is_explained_and_not_scored(
    content: bytes | None, told: str, small: FoldTable, tmp_path: Path
) -> None:
    (tmp_path / "res").mkdir()
    if content is not None:
        (tmp_path / "res" / "predictions.csv").write_bytes(content)
    done = scored(unpacked(tmp_path, small), tmp_path / "res", tmp_path / "app")
    assert done.returncode == 1
    assert told in done.stderr
    assert "predictions.csv at its top" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "app/output").iterdir())


def test_the_same_arguments_give_the_same_bytes(small: FoldTable, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_bundle(tmp_path / name, small, synthetic=True, start="2027-01-15")
    first, second = (tmp_path / "a.zip").read_bytes(), (tmp_path / "b.zip").read_bytes()
    assert first == second
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())


def test_other_folds_are_not_scored(small: FoldTable, tmp_path: Path) -> None:
    bundle = unpacked(tmp_path, replace(small, sha256="0" * 64))
    write_predictions(tmp_path / "res" / "predictions.csv", small, np.array(small.labels))
    done = scored(bundle, tmp_path / "res", tmp_path / "app")
    assert done.returncode == 1
    assert "was edited or reordered" in done.stderr


@pytest.mark.parametrize("start", ["", "tomorrow", "2027-02-30", "15.01.2027"])
def test_the_first_day_is_a_day(start: str, small: FoldTable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--start"):
        write_bundle(tmp_path / "b.zip", small, synthetic=True, start=start)


def test_the_command_writes_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ictmri.cli.app import main

    command = ["codabench", str(tmp_path / "b.zip"), "--cohort", "ictmri-phantom"]
    monkeypatch.setattr(sys, "argv", ["ictmri", *command, "--start", "2027-01-15"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert "(SYNTHETIC)" in capsys.readouterr().out
    table, _ = find_folds("ictmri-phantom")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        folds = archive.read("reference_data/folds.csv")
    assert folds.count(b"\n") == len(table.rows) + 1
