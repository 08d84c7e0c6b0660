"""Expected cost of the decisions under declared matrices: illustrative, never part of a rank.

What a wrong diagnosis costs is a clinical judgement. The matrices here are declared examples: every error
costs 1, and missing one of the two curable tumours costs five times as much. Source: Ferrer 2022,
arXiv:2209.05355 (expected cost, normalised by the best constant decision).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of

Floats = NDArray[np.float64]


def _missing(name: str, factor: float) -> Floats:
    matrix = 1.0 - np.eye(len(CLASSES))
    matrix[label_of(name)] *= factor
    return matrix


COST_MATRICES: Final[dict[str, Floats]] = {
    "every_error_1": 1.0 - np.eye(len(CLASSES)),
    "missed_pcnsl_5": _missing("pcnsl", 5.0),
    "missed_germinoma_5": _missing("germinoma", 5.0),
}
"""Name -> (K, K) cost of deciding the column's class where the row's is true."""


def cost_report(matrices: NDArray[np.int64]) -> dict[str, Any]:
    """Return, by cost matrix, the mean cost of a case and that relative to the best constant decision.

    Below 1 the method is worth more than always deciding the one class that is cheapest to be wrong with.

    Args:
        matrices: (S, K, K) confusion matrices of S seeds, rows = truth; the mean over seeds is given.
    """
    counts = matrices.astype(np.float64)
    n = counts[0].sum()
    support = counts[0].sum(axis=1)
    found = {}
    for name, costs in COST_MATRICES.items():
        mean = float((counts * costs).sum(axis=(1, 2)).mean() / n)
        constant = float((support @ costs).min() / n)
        found[name] = {"expected": mean, "normalized": mean / constant if constant else 0.0}
    return found
