"""The parameter-free Ladder (Blum & Hardt 2015, arXiv:1502.04585, Algorithm 2) for any headline metric.

A new value is released only where it beats the participant's best by more than ``max(se, step)``; otherwise
the last released value is repeated. ``se`` is the standard deviation of the paired difference over the
square root of n. A mean over cases, such as accuracy, has a difference in every case; macro-F1 has none, so
the jackknife's pseudo-values stand for it (Tukey 1958): ``n * m - (n - 1) * m_without_case``. Those of
accuracy are 0 and 1, one a case, so that there the rule is the paper's. The standard deviation has ddof 1:
then one changed case never beats its own ``se``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri_benchmark.score.metrics import confusion, headline

_K: Final = len(CLASSES)
_TIE: Final = 1 + 1e-9
"""Equal in exact arithmetic must not count as better by rounding."""
STEPS: Final = tuple(
    Decimal(digit).scaleb(power) for power in (-4, -3, -2, -1) for digit in (1, 2, 5)
)


def default_step(n_cases: int) -> Decimal:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least two cases of accuracy."""
    return next((step for step in STEPS if step * n_cases >= 2), STEPS[-1])


class PseudoValues(NamedTuple):
    """A metric and its pseudo-values (n,)."""

    value: float
    pseudo: NDArray[np.float64]


def scored(truth: NDArray[np.int64], predicted: NDArray[np.int64], metric: str) -> PseudoValues:
    """Score predictions.

    Args:
        truth: (n,) labels.
        predicted: (S, n) predicted labels of S seeds; the mean over seeds counts.
        metric: one of the headline metrics.
    """
    n = len(truth)
    one_case = np.eye(_K * _K, dtype=np.int64).reshape(_K * _K, _K, _K)
    value, pseudo = 0.0, np.zeros(n)
    for labels in predicted:
        matrix = confusion(truth, labels)
        whole = float(headline(matrix)[metric])
        without = headline(np.maximum(matrix - one_case, 0))[metric]
        value += whole / len(predicted)
        pseudo += (n * whole - (n - 1) * without[truth * _K + labels]) / len(predicted)
    return PseudoValues(value, pseudo)


class Ladder:
    """The released values of one participant.

    Args:
        truth: (n,) labels, n at least 2.
        metric: the metric that is released.
        step: multiples of it are released, as decimal text.
    """

    def __init__(self, truth: NDArray[np.int64], metric: str, step: str) -> None:
        self._truth = truth
        self._metric = metric
        self._step = Decimal(step)
        self._best: PseudoValues | None = None
        self.released = ""

    def submit(self, predicted: NDArray[np.int64]) -> str:
        """Return the value that is released for (S, n) predicted labels, as decimal text."""
        new = scored(self._truth, predicted, self._metric)
        if self._best is None or self._beats(new, self._best):
            self._best = new
            levels = math.floor(new.value / float(self._step) + 0.5 + 1e-9)
            self.released = str(levels * self._step)
        return self.released

    def _beats(self, new: PseudoValues, best: PseudoValues) -> bool:
        difference = new.pseudo - best.pseudo
        error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
        return new.value - best.value > max(error, float(self._step)) * _TIE


def released_values(
    truth: NDArray[np.int64], metric: str, step: str, predicted: Iterable[NDArray[np.int64]]
) -> list[str]:
    """Return what is released for a participant's submissions (each (S, n)), in their order."""
    ladder = Ladder(truth, metric, step)
    return [ladder.submit(labels) for labels in predicted]
