"""The main job on real scans, by the commands that a person types."""

import json
from pathlib import Path

import pytest
from support.commandline import run


def said(*arguments: object) -> str:
    return run(*arguments).stdout


@pytest.mark.slow
def test_from_a_table_of_scans_to_a_score(real_table: Path, tmp_path: Path) -> None:
    out, entry = tmp_path / "real", tmp_path / "entry"
    said("build", "folder", real_table, "--out", out, "--n-folds", 2)
    assert "axes are stored in different orders: LAS 2, LPS 3, RAS 1" in said("info", out)
    said("reproduce", "controls/radiomics", "--cohort", out, "--out", entry)
    report = tmp_path / "report.json"
    shown = said("evaluate", entry / "predictions.csv", "--cohort", out, "--json", report)
    assert "SYNTHETIC" not in shown
    assert report.read_bytes() == (entry / "report.json").read_bytes()
    content = json.loads(report.read_text())
    assert content["n_cases"] == 6
    assert content["benchmark"]["synthetic"] is False
    entries = tmp_path / "entries"
    said(
        *("submit", entry / "predictions.csv", "--entry", entry / "entry.yaml"),
        *("--entries", entries, "--cohort", out),
    )
    said("leaderboard", "--entries", entries, "--cohort", out, "--out", tmp_path / "board")
    board = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert board["synthetic"] is False
    assert [row["slug"] for row in board["entries"] if row["ranked"]] == ["controls-radiomics"]
