"""Scores of probabilities: proper scores, calibration by class, and ranking inside each fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri_benchmark.protocol import CALIBRATION_BINS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_loss(truth: Ints, probabilities: Floats) -> float:
    """Return the mean negative log probability of the true class, in nats.

    A probability of 0 counts as the smallest step of a double (2.2e-16), as in scikit-learn.
    """
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).eps)).mean())


def brier(truth: Ints, probabilities: Floats) -> float:
    """Return the mean squared distance to the one-hot truth, 0 to 2 (Brier 1950)."""
    return float(((probabilities - np.eye(len(CLASSES))[truth]) ** 2).sum(axis=1).mean())


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
                    "predicted": float(given[cases].mean()),
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
    return float(
        sum(cell["n"] * abs(cell["predicted"] - cell["observed"]) for cell in bins) / total
    )


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
    return float((recall * found[last] / (last + 1)).sum())


def within_folds(truth: Ints, probabilities: Floats, folds: Ints) -> dict[str, dict[str, float]]:
    """Return AUROC and average precision, one class against the rest, as means over the folds.

    Scores of the folds' different models are not comparable, so pooling them would be biased (Forman &
    Scholz 2010). A fold in which a class is absent does not count for that class.

    Returns:
        ``auroc`` and ``average_precision``, each by class and as ``macro``, the mean of the classes;
        absent where no fold tells.
    """
    measures = {"auroc": auroc, "average_precision": average_precision}
    found: dict[str, dict[str, float]] = {}
    for name, measure in measures.items():
        by_class = {
            title: _mean(
                [
                    measure(truth[folds == k] == label, probabilities[folds == k, label])
                    for k in np.unique(folds)
                ]
            )
            for label, title in enumerate(CLASSES)
        }
        known = {title: value for title, value in by_class.items() if np.isfinite(value)}
        found[name] = known | ({"macro": float(np.mean(list(known.values())))} if known else {})
    return found


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def probability_report(truth: Ints, every: Floats, folds: Ints) -> dict[str, Any]:
    """Return the report's part on probabilities.

    Args:
        truth: (N,) labels.
        every: (S, N, 4) probabilities of S seeds; each score is the mean over the seeds.
        folds: (N,) fold of each case.
    """
    by_seed = [reliability(truth, p) for p in every]
    errors = {
        name: float(np.mean([calibration_error(seed[label]) for seed in by_seed]))
        for label, name in enumerate(CLASSES)
    }
    ranking = [within_folds(truth, p, folds) for p in every]
    return {
        "log_loss": float(np.mean([log_loss(truth, p) for p in every])),
        "brier": float(np.mean([brier(truth, p) for p in every])),
        "calibration_error": errors | {"macro": float(np.mean(list(errors.values())))},
        **{
            name: {
                key: float(np.mean([seed[name][key] for seed in ranking]))
                for key in ranking[0][name]
            }
            for name in ranking[0]
        },
        "reliability": dict(zip(CLASSES, by_seed[0], strict=True)),
    }
