"""Metrics from confusion matrices: precision, recall and F1 by class, their macro means, accuracy.

The order of operations is scikit-learn's, so that values are equal to the last bit. Whatever a report holds
is made of counts, of single steps of IEEE arithmetic in a fixed order, and of sums rounded once
(``math.fsum``): reports are the same bytes on every processor, with every Python and NumPy.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri_benchmark.score.protocol import ZERO_DIVISION

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion(truth: Ints, predicted: Ints) -> Ints:
    """Return the (K, K) matrix of counts, rows = truth, columns = prediction."""
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


def headline(matrices: NDArray[np.generic]) -> dict[str, Floats]:
    """Return the headline metrics (...) of confusion matrices (..., K, K).

    Macro means run over all classes, a class that is absent counts as 0; macro-F1 is the mean of
    the classes' F1 (not the harmonic mean of macro precision and recall; arXiv:1911.03347).
    """
    return macro(per_class(matrices), matrices)


def macro(classes: dict[str, Floats], matrices: NDArray[np.generic]) -> dict[str, Floats]:
    """Return the headline metrics where those by class are known already."""
    counts = matrices.astype(np.float64)
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return {
        "macro_precision": mean_over(classes["precision"], -1),
        "macro_recall": mean_over(classes["recall"], -1),
        "macro_f1": mean_over(classes["f1"], -1),
        "accuracy": _ratio(hits, counts.sum(axis=(-2, -1))),
    }


def mean_over(values: Floats, axis: int) -> Floats:
    """Return the means over an axis, whose slices are added one after the other."""
    slices = np.moveaxis(values, axis, 0)
    mean: Floats = reduce(np.add, slices) / len(slices)
    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(
        above, below, out=np.full(below.shape, ZERO_DIVISION), where=below > 0
    )
    return ratio
