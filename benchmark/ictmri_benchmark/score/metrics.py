"""The metrics: one table of the headline metrics, and how they follow from confusion matrices.

Report, board, page, exports, sealed mode and command line are drawn from :data:`METRICS`: a further
headline metric is one more row, and no other edit.

The order of operations is scikit-learn's, so that values are equal to the last bit. Whatever a report holds
is made of counts, of single steps of IEEE arithmetic in a fixed order, and of sums rounded once
(``math.fsum``): reports are the same bytes on every processor, with every Python and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of
from ictmri_benchmark.score.protocol import ZERO_DIVISION

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Metric:
    """A headline metric: a row of :data:`METRICS`.

    Attributes:
        name: its key in reports, and its choice on the command line.
        short: its title in a sentence or over a column.
        compute: from the metrics by class (..., K), see :func:`per_class`, and the counts (..., K, K) as
            float64, to its values (...).
        column: its place among the columns of the board, 1 = first.
        note: what its full title adds in brackets.
        plain: what papers and the Hub call it, so the key of reported numbers; empty where none print it.
        digits: decimals where a reader sees it.
        ranks: whether the board ranks by it; one metric does.
        high_is_good: whether more is better.
    """

    name: str
    short: str
    compute: Callable[[dict[str, Floats], Floats], Floats]
    column: int
    note: str = ""
    plain: str = ""
    digits: int = 3
    ranks: bool = False
    high_is_good: bool = True

    @property
    def title(self) -> str:
        """Its full title."""
        return f"{self.short} ({self.note})" if self.note else self.short

    @property
    def heading(self) -> str:
        """Its short title, with a capital."""
        return self.short[:1].upper() + self.short[1:]

    def text(self, value: float) -> str:
        """Return a value as a reader sees it."""
        return f"{value:.{self.digits}f}"

    def interval(self, found: Mapping[str, float]) -> str:
        """Return ``[low, high]`` of a pooled metric of a report."""
        return f"[{self.text(found['low'])}, {self.text(found['high'])}]"

    def with_interval(self, found: Mapping[str, float]) -> str:
        """Return ``value [low, high]`` of a pooled metric of a report."""
        return f"{self.text(found['value'])} {self.interval(found)}"


def _macro(name: str) -> Callable[[dict[str, Floats], Floats], Floats]:
    """Return the mean over all classes; a class that is absent counts as 0."""
    return lambda by_class, _: mean_over(by_class[name], -1)


def _accuracy(_: dict[str, Floats], counts: Floats) -> Floats:
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


# Macro-F1 is the mean of the classes' F1, not the harmonic mean of macro precision and recall
# (arXiv:1911.03347). The order is that of the report.
_ROWS: Final = (
    Metric("macro_precision", "macro precision", _macro("precision"), 4, plain="precision"),
    Metric("macro_recall", "macro recall", _macro("recall"), 3, "balanced accuracy", "recall"),
    Metric("macro_f1", "macro F1", _macro("f1"), 1, "ranks the board", "f1", ranks=True),
    Metric("accuracy", "accuracy", _accuracy, 2, plain="accuracy"),
)
METRICS: Final = {metric.name: metric for metric in _ROWS}
COLUMNS: Final = tuple(sorted(_ROWS, key=lambda metric: metric.column))
"""The metrics in the order of the board's columns; where there is room for two only, the first two."""
RANKED: Final = next(metric for metric in _ROWS if metric.ranks)
RANK_KEY: Final = RANKED.name
PRINTED: Final = tuple(metric for metric in _ROWS if metric.plain)
"""The metrics that papers print, of which reported numbers and the preprint's figures are."""
BY_CLASS: Final = ("precision", "recall", "f1")


def confusion(truth: Ints, predicted: Ints) -> Ints:
    """Return the (K, K) counts, rows = truth, columns = prediction, of (N,) labels each."""
    k = len(CLASSES)
    return np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k)


def per_class(matrices: NDArray[np.generic]) -> dict[str, Floats]:
    """Return precision, recall, F1 (..., K) of confusion matrices (..., K, K); 0 where undefined."""
    counts = matrices.astype(np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted, support = counts.sum(axis=-2), counts.sum(axis=-1)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, predicted + support),
    }


def headline(
    matrices: NDArray[np.generic], by_class: dict[str, Floats] | None = None
) -> dict[str, Floats]:
    """Return the headline metrics (...) of confusion matrices (..., K, K).

    Args:
        matrices: counts, rows = truth.
        by_class: their metrics by class, where they are known already.
    """
    known = per_class(matrices) if by_class is None else by_class
    counts = matrices.astype(np.float64)
    return {name: metric.compute(known, counts) for name, metric in METRICS.items()}


def mean_over(values: Floats, axis: int) -> Floats:
    """Return the means over an axis, whose slices are added one after the other.

    ``numpy.mean`` adds pairwise, in blocks that depend on the processor's vector width.
    """
    slices = np.moveaxis(values, axis, 0)
    mean: Floats = reduce(np.add, slices) / len(slices)
    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full_like(below, ZERO_DIVISION), where=below > 0)
    return ratio


def _missing(name: str, factor: float) -> Floats:
    """Return (K, K) costs: 1 for every error, ``factor`` for each of the class."""
    matrix = 1.0 - np.eye(len(CLASSES))
    matrix[label_of(name)] *= factor
    return matrix


COST_MATRICES: Final[dict[str, Floats]] = {
    "every_error_1": 1.0 - np.eye(len(CLASSES)),
    "missed_pcnsl_5": _missing("pcnsl", 5.0),
    "missed_germinoma_5": _missing("germinoma", 5.0),
}
"""Name -> (K, K) cost of deciding the column's class where the row's is true; never part of a rank.

What a wrong diagnosis costs is a clinical judgement. These are declared examples: every error costs 1, and
missing one of the two curable tumours costs five times as much.
"""


def cost_report(matrices: NDArray[np.int64]) -> dict[str, Any]:
    """Return, by cost matrix, the mean cost of a case and that relative to the best constant decision.

    Below 1 the method is worth more than always deciding the one class that is cheapest to be wrong with.
    Source: Ferrer 2022, arXiv:2209.05355 (expected cost, normalised by the best constant decision).

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
