"""The benchmark: scores predictions on a cohort's fixed folds, and keeps the leaderboard.

>>> from pathlib import Path
>>> from ictmri.lookup import find_folds
>>> from ictmri_benchmark import evaluate
>>> folds, synthetic = find_folds("ictmri-phantom")
>>> report = evaluate(Path("predictions.csv"), folds, synthetic=synthetic)  # doctest: +SKIP
"""

from ictmri_benchmark.score.report import Report, evaluate

__all__ = ["Report", "evaluate"]
