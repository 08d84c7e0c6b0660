"""The benchmark: scores predictions on a cohort's fixed folds, and keeps the leaderboard.

>>> import ictmri_benchmark as bench
>>> predictions = bench.cross_validate(fit_predict, "ictmri-phantom")  # doctest: +SKIP
>>> report = bench.evaluate(predictions, "ictmri-phantom")  # doctest: +SKIP
>>> report.macro_f1.value, report.macro_f1.low  # doctest: +SKIP

Each is imported when it is first used: parts of the package score where the rest is not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ictmri_benchmark.api import compare, cross_validate, evaluate, leaderboard
    from ictmri_benchmark.board.paired import Comparison
    from ictmri_benchmark.board.views import Leaderboard
    from ictmri_benchmark.score.report import Estimate, Report

__all__ = [
    "Comparison",
    "Estimate",
    "Leaderboard",
    "Report",
    "compare",
    "cross_validate",
    "evaluate",
    "leaderboard",
]

_LATER: Final = {
    "Comparison": "ictmri_benchmark.board.paired",
    "Estimate": "ictmri_benchmark.score.report",
    "Leaderboard": "ictmri_benchmark.board.views",
    "Report": "ictmri_benchmark.score.report",
    "compare": "ictmri_benchmark.api",
    "cross_validate": "ictmri_benchmark.api",
    "evaluate": "ictmri_benchmark.api",
    "leaderboard": "ictmri_benchmark.api",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'ictmri_benchmark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
