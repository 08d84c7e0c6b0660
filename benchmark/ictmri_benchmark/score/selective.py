"""Selective prediction: what a method is worth when it may leave its least certain cases to a biopsy."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ictmri_benchmark.score.metrics import mean_over
from ictmri_benchmark.score.protocol import COVERAGES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def risk_coverage(truth: Ints, probabilities: Floats) -> Floats:
    """Return (N,) the error rate among the k most certain cases, k = 1 .. N.

    Certainty is the highest probability. Cases of equal certainty are taken in random order on average:
    each of them adds their group's mean error, so that the order of the file cannot help.
    """
    certainty = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != truth).astype(np.float64)
    order = np.argsort(-certainty, kind="stable")
    _, group, counts = np.unique(-certainty[order], return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=wrong[order]) / counts
    risk: Floats = np.cumsum(shared[group]) / np.arange(1, len(order) + 1)
    return risk


def selective_report(truth: Ints, every: Floats) -> dict[str, Any]:
    """Return the report's part on selective prediction.

    ``aurc`` is the mean of the risk-coverage curve (Geifman & El-Yaniv 2017), ``augrc`` the mean of risk
    times coverage (Traub et al. 2024, arXiv:2407.01032), both the lower the better. ``accuracy_at`` is the
    accuracy on the most certain share of the cases, rounded up to whole cases.

    Args:
        truth: (N,) labels.
        every: (S, N, K) probabilities of S seeds; each score is the mean over the seeds.
    """
    curves = np.array([risk_coverage(truth, p) for p in every])
    n = len(truth)
    coverage = np.arange(1, n + 1) / n
    return {
        "aurc": fmean(curves.ravel()),
        "augrc": fmean((curves * coverage).ravel()),
        "accuracy_at": {
            str(share): 1 - fmean(curves[:, math.ceil(n * share / 100) - 1]) for share in COVERAGES
        },
        "risk_at": _curve(mean_over(curves, 0)),
    }


def _curve(risk: Floats) -> list[float]:
    """Return the risk at 1/20, 2/20 .. 20/20 of the cases: enough to draw it."""
    n = len(risk)
    return [float(risk[max(math.ceil(n * step / 20), 1) - 1]) for step in range(1, 21)]
