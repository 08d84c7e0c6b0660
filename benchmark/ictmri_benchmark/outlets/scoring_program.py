"""The scoring program of a Codabench competition: predictions.csv against the folds, by the evaluator.

Codabench calls it with two folders: the input, which holds ``ref`` (reference data: folds.csv and
reference.json) and ``res`` (what was submitted), and the output, where scores.json belongs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ictmri.errors import InputError
from ictmri.folds import read_folds
from ictmri.io.files import write_json
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.predictions import read_predictions
from ictmri_benchmark.score.report import Report, score


def scores(report: Report) -> dict[str, float]:
    """Return the columns of the leaderboard: headline metrics and the ends of their intervals."""
    return {
        f"{name}{ending}": value[key]
        for name, value in report.content["pooled"].items()
        for ending, key in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def main(folders: Sequence[str]) -> int:
    """Score what was submitted; returns the exit code."""
    source, target = (Path(folder) for folder in folders)
    about: dict[str, Any] = json.loads(
        (source / "ref" / "reference.json").read_text(encoding="utf-8")
    )
    try:
        table = read_folds(
            source / "ref" / "folds.csv", about["cohort"], expected_sha256=about["splits_sha256"]
        )
        found = read_predictions(source / "res" / "predictions.csv", table)
        drawn = bootstrap(table, [found.labels])
        report = score(found, table, drawn, synthetic=about["synthetic"])
    except InputError as error:
        sys.stderr.write(f"{error}\nA submission is a zip file with predictions.csv at its top.\n")
        return 1
    write_json(target / "scores.json", scores(report))
    sys.stdout.write(report.render() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
