"""One more row in the table of metrics is all that a further headline metric takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import cohen_kappa_score
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.lookup import find_folds

ROOT = Path(__file__).parents[3]
TABLE = "benchmark/ictmri_benchmark/score/metrics.py"
KAPPA = """
def _kappa(_: dict[str, Floats], counts: Floats) -> Floats:
    n = counts.sum(axis=(-2, -1))
    chance = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / n**2
    return _ratio(np.trace(counts, axis1=-2, axis2=-1) / n - chance, 1 - chance)


"""
ROW = """    Metric("kappa", "kappa", _kappa, 5, "Cohen", digits=4),
"""
COMMANDS = """
import sys
from ictmri.cli.app import application
for line in sys.stdin:
    try:
        application()(line.split())
    except SystemExit as end:
        print(f"exit {end.code}")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every command writes where the table has one more row and nothing else was changed."""
    folder = tmp_path_factory.mktemp("kappa")
    house = folder / "house"
    for part in ("ictmri", "benchmark", "baselines", "splits", "dataset_card"):
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, house / part, ignore=skip)
    shutil.copy(ROOT / "CITATION.cff", house)
    before, rest = (house / TABLE).read_text(encoding="utf-8").split("# Macro-F1 is")
    rows, after = rest.split(")\nMETRICS: ")
    text = f"{before.rstrip()}\n\n{KAPPA}# Macro-F1 is{rows}{ROW})\nMETRICS: {after}"
    (house / TABLE).write_text(text, encoding="utf-8")
    table, _ = find_folds("ictmri-phantom")
    for place, slug in enumerate(("one", "other")):
        entry = made_entry(table, slug, claimed={})
        hand_in(folder / slug, table, entry, probabilities(table, 0.2, place))
    lines = [
        "evaluate one/predictions.csv --cohort ictmri-phantom --json report.json",
        "submit one/predictions.csv --entry one/entry.yaml --cohort ictmri-phantom --entries entries",
        "leaderboard --entries entries --cohort ictmri-phantom --out board",
        "entry export one --to eval-results --cohort ictmri-phantom --entries entries --out hub",
        "entry export one --to model-card --cohort ictmri-phantom --entries entries --out hub",
        "codabench bundle.zip --cohort ictmri-phantom --start 2027-01-15",
        "sealed init --help",
        "sealed init sealed --cohort ictmri-phantom --metric kappa",
    ]
    paths = [str(house / part) for part in ("", "benchmark", "baselines")]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("exit 0") == len(lines), done.stdout + done.stderr
    (folder / "terminal.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_its_value_is_scikit_learns_and_has_an_interval(written: Path) -> None:
    report = json.loads((written / "report.json").read_bytes())
    table, _ = find_folds("ictmri-phantom")
    values = np.loadtxt(
        written / "one/predictions.csv", delimiter=",", skiprows=1, usecols=range(1, 5)
    )
    expected = cohen_kappa_score(table.labels, values.argmax(axis=1))
    found = report["pooled"]["kappa"]
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < found["value"] < found["high"]
    assert report["fold_mean"]["kappa"]["sd"] > 0


def test_report_and_board_show_it(written: Path) -> None:
    found = json.loads((written / "report.json").read_bytes())["pooled"]["kappa"]
    shown = f"{found['value']:.4f}"
    line = next(x for x in (written / "terminal.txt").read_text().splitlines() if "kappa (C" in x)
    assert shown in line
    assert f"[{found['low']:.4f}, {found['high']:.4f}]" in line
    board = json.loads((written / "board/leaderboard.json").read_bytes())
    assert board["entries"][0]["report"]["pooled"]["kappa"] == found
    page = (written / "board/leaderboard.html").read_text(encoding="utf-8")
    assert 'data-key="kappa"' in page
    assert '<th scope="row">Kappa</th>' in page
    assert page.count(f"{shown} <small>") == 2, "in the table, and in the entry's own"


def test_exports_hold_it(written: Path) -> None:
    value = json.loads((written / "report.json").read_bytes())["pooled"]["kappa"]["value"]
    tasks = yaml.safe_load((written / "hub/.eval_results/one.yaml").read_text(encoding="utf-8"))
    assert value in [task["value"] for task in tasks if task["dataset"]["task_id"] == "kappa"]
    assert f"| kappa (Cohen) | {value:.4f} |" in (written / "hub/README.md").read_text("utf-8")
    with zipfile.ZipFile(written / "bundle.zip") as archive:
        columns = yaml.safe_load(archive.read("competition.yaml"))["leaderboards"][0]["columns"]
    assert columns[-1]["key"] == "kappa"


def test_sealed_mode_offers_and_releases_it(written: Path) -> None:
    assert "macro_f1, accuracy, kappa" in " ".join((written / "terminal.txt").read_text().split())
    challenge = json.loads((written / "sealed/public/challenge.json").read_bytes())
    assert challenge["rules"]["metric"] == "kappa"
