"""The main job on real scans, by the commands that a person types."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from ictmri.cli.app import main; main()"]


def run(*arguments: object) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_a_table_of_scans_to_a_score(real_table: Path, tmp_path: Path) -> None:
    out, entry = tmp_path / "real", tmp_path / "entry"
    run("build", "folder", real_table, "--out", out, "--n-folds", 2)
    assert "axes are stored in different orders: LAS 2, LPS 3, RAS 1" in run("info", out)
    run("reproduce", "controls/radiomics", "--cohort", out, "--out", entry)
    report = tmp_path / "report.json"
    shown = run("evaluate", entry / "predictions.csv", "--cohort", out, "--json", report)
    assert "SYNTHETIC" not in shown
    assert report.read_bytes() == (entry / "report.json").read_bytes()
    content = json.loads(report.read_text())
    assert content["n_cases"] == 6
    assert content["benchmark"]["synthetic"] is False
    entries = tmp_path / "entries"
    run(
        *("submit", entry / "predictions.csv", "--entry", entry / "entry.yaml"),
        *("--entries", entries, "--cohort", out),
    )
    run("leaderboard", "--entries", entries, "--cohort", out, "--out", tmp_path / "board")
    board = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert board["synthetic"] is False
    assert [row["slug"] for row in board["entries"] if row["ranked"]] == ["controls-radiomics"]
