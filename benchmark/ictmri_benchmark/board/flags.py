"""What a person should look at before an entry is taken: questions, never accusations.

Each flag has an innocent explanation, and none changes a score or a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri_benchmark.score.predictions import Predictions
from ictmri_benchmark.score.proportions import fisher_exact

NEAR_AGREEMENT: Final = 0.97
"""Share of cases with the same prediction from which two entries are called near-duplicates."""
SURE: Final = 0.999
HIGH_ACCURACY: Final = 0.95
UNLIKELY: Final = 0.001
"""Chance, over all folds, of one fold being that far from the others."""
FEWEST_IN_FOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Others:
    """Entries as others are held against them.

    Attributes:
        slugs: in order.
        digests: of their files.
        labels: (all seeds, N x K) zeros and ones.
        starts: the first seed of each.
    """

    slugs: list[str]
    digests: list[str]
    labels: NDArray[np.float32]
    starts: list[int]

    @classmethod
    def of(cls, entries: Mapping[str, Predictions]) -> Others:
        """Collect entries by slug."""
        slugs = sorted(entries)
        labels = [_one_hot_labels(entries[slug]) for slug in slugs]
        starts = [0, *accumulate(map(len, labels))][:-1]
        digests = [entries[slug].sha256 for slug in slugs]
        return cls(slugs, digests, np.concatenate(labels or [np.empty((0, 0), np.float32)]), starts)


def review_flags(
    predictions: Predictions,
    cohort: FoldTable,
    others: Mapping[str, Predictions] | Others,
    own: str = "",
) -> list[str]:
    """Return what to look at.

    Args:
        predictions: of the entry.
        cohort: labels and folds.
        others: the entries to hold it against; of many, collected once.
        own: its slug, where it is among them.
    """
    if not isinstance(others, Others):
        others = Others.of(others)
    truth, folds = np.array(cohort.labels), np.array(cohort.folds)
    right = predictions.labels == truth
    return [
        *(_duplicates(predictions, others, own) if others.slugs else []),
        *_one_hot(predictions),
        *_folds(right, folds),
        *_high(right),
    ]


def _duplicates(predictions: Predictions, others: Others, own: str) -> list[str]:
    same = (_one_hot_labels(predictions) @ others.labels.T).max(axis=0)
    shares = np.maximum.reduceat(same, others.starts) / predictions.labels.shape[1]
    found = []
    for place in np.flatnonzero(shares >= NEAR_AGREEMENT):
        slug = others.slugs[place]
        if slug == own:
            continue
        if others.digests[place] == predictions.sha256:
            found.append(f"the same predictions file as entry {slug}")
        else:
            found.append(f"{shares[place]:.1%} of the predictions are those of entry {slug}")
    return found


def _one_hot_labels(predictions: Predictions) -> NDArray[np.float32]:
    """Return (S, N x K) zeros and ones: a product of two counts the cases on which seeds agree, exactly."""
    labels = predictions.labels
    hot: NDArray[np.float32] = (labels[..., None] == np.arange(len(CLASSES))).astype(np.float32)
    return np.reshape(hot, (len(labels), -1))


def _one_hot(predictions: Predictions) -> list[str]:
    every = predictions.probabilities
    if every is None or (every.max(axis=-1) < SURE).any():
        return []
    return ["every probability is 0 or 1: calibration and log-loss say nothing"]


def _folds(right: NDArray[np.bool_], folds: NDArray[np.int64]) -> list[str]:
    """Look for a fold that is further from the others than chance allows, and for none that differs."""
    sizes = np.bincount(folds)
    if len(sizes) < 2 or sizes.min() < FEWEST_IN_FOLD:
        return []
    n, hits = len(folds), _per_seed(right)
    found = []
    for fold, size in enumerate(sizes):
        inside = _per_seed(right[:, folds == fold])
        p = fisher_exact((inside, int(size)), (hits - inside, n - int(size)))
        if p is not None and len(sizes) * p < UNLIKELY:
            chance = float(len(sizes) * p)
            found.append(
                f"fold {fold}: {inside} of {size} right, {hits - inside} of {n - size} elsewhere; "
                f"by chance alone one in {1 / chance:,.0f} entries would show that"
            )
    return found


def _per_seed(right: NDArray[np.bool_]) -> int:
    """Return the mean number of hits (S, n) of a seed, halves up, so that parts still fit the whole."""
    seeds = len(right)
    return (2 * int(right.sum()) + seeds) // (2 * seeds)


def _high(right: NDArray[np.bool_]) -> list[str]:
    accuracy = float(right.mean())
    if accuracy <= HIGH_ACCURACY:
        return []
    return [f"accuracy {accuracy:.1%}: above 95 % the way to it should be public"]
