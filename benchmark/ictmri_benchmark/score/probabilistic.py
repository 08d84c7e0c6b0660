"""Scores of probabilities: proper scores, calibration by class, ranking inside each fold.

And selective prediction: what a method is worth when it may leave its least certain cases to a biopsy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from decimal import Context, Decimal
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri_benchmark.score.metrics import Floats, Ints, mean_over
from ictmri_benchmark.score.protocol import CALIBRATION_BINS, COVERAGES

_BITS: Final = 160
_DIGITS: Final = 50
"""Kept of a product, and of its logarithm: many more than the 16 digits of a double."""


def log_loss(truth: Ints, probabilities: Floats) -> float:
    """Return the mean negative log probability of the true class, in nats.

    A probability of 0 counts as the smallest step of a double (2.2e-16), as in scikit-learn.
    """
    chosen = probabilities[np.arange(len(truth)), truth]
    smallest = sys.float_info.epsilon
    return float(-_log_of_product(np.maximum(chosen, smallest).tolist()) / len(truth))


def _log_of_product(values: Sequence[float]) -> Decimal:
    """Return the logarithm of a product of numbers up to 1, to more digits than a double has.

    The logarithms of C libraries and NumPy differ in the last digit from one processor to the next.
    """
    mantissa, halvings = 1, 0
    for value in values:
        above, below = value.as_integer_ratio()
        mantissa *= above
        spare = max(mantissa.bit_length() - _BITS, 0)
        mantissa >>= spare
        halvings += below.bit_length() - 1 - spare
    digits = Context(prec=_DIGITS)
    return digits.subtract(
        digits.ln(Decimal(mantissa)), digits.multiply(halvings, digits.ln(Decimal(2)))
    )


def brier(truth: Ints, probabilities: Floats) -> float:
    """Return the mean squared distance to the one-hot truth, 0 to 2 (Brier 1950)."""
    away = probabilities - np.eye(len(CLASSES))[truth]
    return math.fsum((away * away).ravel()) / len(truth)


def reliability(truth: Ints, probabilities: Floats) -> list[list[dict[str, float]]]:
    """Return, class by class, the bins of the reliability diagram.

    The cases are sorted by the class's probability and cut into :data:`CALIBRATION_BINS` bins of equal
    size (within one), since probabilities of a rare class crowd near 0. Equal probabilities may be cut
    apart; the order of such cases is that of the fold table.

    Returns:
        For each class, bins with ``n``, mean ``predicted`` probability and ``observed`` frequency.
    """
    found = []
    for label in range(len(CLASSES)):
        given = probabilities[:, label]
        order = np.argsort(given, kind="stable")
        bins = np.array_split(order, min(CALIBRATION_BINS, len(order)))
        found.append(
            [
                {
                    "n": len(cases),
                    "predicted": fmean(given[cases]),
                    "observed": float((truth[cases] == label).mean()),
                }
                for cases in bins
            ]
        )
    return found


def calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the expected calibration error of one class from its bins (Nixon et al. 2019).

    It is biased upwards in small cohorts: 249 perfectly calibrated cases give more than 0.
    """
    total = sum(cell["n"] for cell in bins)
    gaps = (cell["n"] * abs(cell["predicted"] - cell["observed"]) for cell in bins)
    return math.fsum(gaps) / total


def auroc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Return the area under the ROC curve, ties counted half; NaN where one side is empty.

    Source: Mann-Whitney U by mid-ranks (Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    n, hits = len(positive), int(positive.sum())
    if hits in (0, n):
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = middle[inverse]
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (n - hits)))


def average_precision(positive: NDArray[np.bool_], score: Floats) -> float:
    """Return the average precision (no interpolation, ties as one step); NaN without a positive."""
    hits = int(positive.sum())
    if not hits:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    sorted_score, found = score[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(sorted_score)), len(order) - 1)
    recall = np.diff(np.concatenate([[0], found[last]])) / hits
    return math.fsum(recall * found[last] / (last + 1))


def within_folds(truth: Ints, probabilities: Floats, folds: Ints) -> dict[str, dict[str, float]]:
    """Return AUROC and average precision, one class against the rest, as means over the folds.

    Scores of the folds' different models are not comparable, so pooling them would be biased (Forman &
    Scholz 2010). A fold in which a class is absent does not count for that class.

    Returns:
        ``auroc`` and ``average_precision``, each by class and as ``macro``, the mean of the classes;
        absent where no fold tells.
    """
    measures = {"auroc": auroc, "average_precision": average_precision}
    members = [folds == k for k in np.unique(folds)]
    parts = [(truth[inside], probabilities[inside]) for inside in members]
    found: dict[str, dict[str, float]] = {}
    for name, measure in measures.items():
        by_class = {
            title: _mean([measure(labels == label, given[:, label]) for labels, given in parts])
            for label, title in enumerate(CLASSES)
        }
        known = {title: value for title, value in by_class.items() if math.isfinite(value)}
        found[name] = known | ({"macro": fmean(known.values())} if known else {})
    return found


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan


def probability_report(truth: Ints, every: Floats, folds: Ints) -> dict[str, Any]:
    """Return the report's part on probabilities.

    Args:
        truth: (N,) labels.
        every: (S, N, K) probabilities of S seeds; each score is the mean over the seeds.
        folds: (N,) fold of each case.
    """
    by_seed = [reliability(truth, p) for p in every]
    errors = {
        name: fmean(calibration_error(seed[label]) for seed in by_seed)
        for label, name in enumerate(CLASSES)
    }
    ranking = [within_folds(truth, p, folds) for p in every]
    return {
        "log_loss": fmean(log_loss(truth, p) for p in every),
        "brier": fmean(brier(truth, p) for p in every),
        "calibration_error": errors | {"macro": fmean(errors.values())},
        **{
            name: {key: fmean(seed[name][key] for seed in ranking) for key in ranking[0][name]}
            for name in ranking[0]
        },
        "reliability": dict(zip(CLASSES, by_seed[0], strict=True)),
    }


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
