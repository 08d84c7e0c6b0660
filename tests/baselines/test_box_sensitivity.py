"""The table of priors and diagnoses: each way a row, the true core the best, nothing done twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ictmri.cohort import Cohort

SCRIPT = Path(__file__).parents[2] / "perf" / "box_sensitivity.py"
ROWS = ("map of saliency", "map of synthetic", "boxes of saliency", "the same boxes, mirrored")
ROWS += ("the same boxes, at random", "boxes of the true core", "the true core")


@pytest.mark.long
def test_a_row_for_each_way_and_the_true_core_fits_best(
    few_processed: Cohort, tmp_path: Path
) -> None:
    words = [few_processed.root, "--out", tmp_path, "--recipes", "table2/5", "--profile", "smoke"]

    def table() -> str:
        command = [sys.executable, SCRIPT, *words, "--jobs", "1"]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=here).stdout

    text = table()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = lines
    assert head[-1] == "table2/5"
    assert tuple(row[0] for row in rows) == ROWS
    coarse = {row[0]: float(row[1].split(",")[0]) for row in rows}
    assert coarse["the true core"] == max(coarse.values()) > 0.85
    assert coarse["the same boxes, mirrored"] < coarse["boxes of the true core"]
    assert rows[-1][3] == "1.00, 1.00", "the core is covered"
    assert all("[" in row[-1] for row in rows), "macro-F1 with its interval"
    assert "SYNTHETIC" in text
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    assert table() == text
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("folds/*.csv")}.items() <= (
        made.items()
    )
