"""Scores by sex and by age group: descriptive, and none of few cases."""

from __future__ import annotations

from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import SEXES
from ictmri.cohort import AGE_GROUPS
from ictmri.folds import FoldTable
from ictmri_benchmark.score.metrics import RANK_KEY, confusion, headline
from ictmri_benchmark.score.proportions import wilson
from ictmri_benchmark.score.protocol import SMALLEST_GROUP

_ORDER: Final = (*SEXES, *(name for name, _ in AGE_GROUPS))


def subgroup_report(cohort: FoldTable, labels: NDArray[np.int64]) -> dict[str, Any] | None:
    """Return accuracy and macro-F1 of each group of cases, None where nobody told who is in which.

    Groups of fewer than :data:`SMALLEST_GROUP` cases have their size only. A class that is absent from a
    group counts as 0 in its macro-F1, so groups of another class mix do not compare by it.

    Args:
        cohort: labels and, by kind (``sex``, ``age``), the group of each case.
        labels: (S, N) predictions.
    """
    truth = np.array(cohort.labels)
    return {
        kind: {
            name: _scores(truth, labels, np.array([group == name for group in groups]))
            for name in sorted(set(groups) - {""}, key=_ORDER.index)
        }
        for kind, groups in sorted(cohort.groups.items())
    } or None


def _scores(
    truth: NDArray[np.int64], labels: NDArray[np.int64], members: NDArray[np.bool_]
) -> dict[str, Any]:
    n = int(members.sum())
    if n < SMALLEST_GROUP:
        return {"n": n}
    values = headline(np.array([confusion(truth[members], seed[members]) for seed in labels]))
    accuracy = fmean(values["accuracy"])
    low, high = wilson(accuracy * n, n)
    return {
        "n": n,
        "accuracy": {"value": accuracy, "low": low, "high": high},
        RANK_KEY: fmean(values[RANK_KEY]),
    }
