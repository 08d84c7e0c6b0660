"""Bootstrap intervals: patients drawn within their class, the same draws for every entry.

A draw is a vector of integer weights, one a case. All entries on the same folds share the draws, so that
differences and ranks are paired. Only sums of small integers are formed, in float32 exactly, hence the
result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.score.metrics import (
    BY_CLASS,
    METRICS,
    Floats,
    Ints,
    confusion,
    headline,
    mean_over,
    per_class,
)
from ictmri_benchmark.score.protocol import CONFIDENCE, MAX_PAIRED_CASES, N_DRAWS, VERSION

_K: Final = len(CLASSES)
_CHUNK: Final = 500
_CHUNK_CELLS: Final = 4_000_000
"""Weights in memory at a time, so that memory grows neither with the draws nor with the cases."""
_COUNTS: Final = 2**18
"""Counts in memory at a time: as many as stay in a processor's cache."""
_TIE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Drawn:
    """The metrics of every bootstrap draw.

    Attributes:
        headline: by metric, (B, E) of B draws and E entries: the mean over an entry's seeds.
        by_class: precision, recall and F1, each (B, E, K) float32.
    """

    headline: dict[str, Floats]
    by_class: dict[str, NDArray[np.float32]]

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(next(iter(self.headline.values())))


def bootstrap(cohort: FoldTable, entries: Sequence[Ints], n_draws: int = N_DRAWS) -> Drawn:
    """Return the metrics of every draw.

    Args:
        cohort: gives the labels and the seed.
        entries: for each of E entries (S, N) predicted labels, S being its number of seeds.
        n_draws: number of draws.
    """
    n_seeds = np.array([len(seeds) for seeds in entries])
    large = len(cohort.rows) > MAX_PAIRED_CASES
    matrices = (_drawn_by_cell if large else _drawn_by_case)(cohort, entries, n_draws)
    # The draws of an entry lie together: its quantiles are looked for among them.
    totals = {name: np.empty((len(entries), n_draws)) for name in METRICS}
    classes = {name: np.empty((_K, len(entries), n_draws), dtype=np.float32) for name in BY_CLASS}
    start = 0
    for chunk in matrices:
        drawn = slice(start, start + len(chunk))
        start += len(chunk)
        found = per_class(chunk)
        for name, values in headline(chunk, found).items():
            totals[name][:, drawn] = _over_seeds(values.T, n_seeds)
        for name in BY_CLASS:
            classes[name][..., drawn] = _over_seeds(found[name].T, n_seeds)
    return Drawn(
        {name: values.T for name, values in totals.items()},
        {name: values.T for name, values in classes.items()},
    )


def _over_seeds(values: Floats, n_seeds: Ints) -> Floats:
    """Return the means (..., E, draws) of values (..., seeds of all entries, draws), added in turn."""
    first = np.cumsum(n_seeds) - n_seeds
    total: Floats = values[..., first, :]
    for step in range(1, n_seeds.max()):
        more = n_seeds > step
        total[..., more, :] += values[..., first[more] + step, :]
    total /= n_seeds[:, None]
    return total


def _drawn_by_case(
    cohort: FoldTable, entries: Sequence[Ints], n_draws: int
) -> Iterator[NDArray[np.float32]]:
    """Yield confusion matrices (chunk, all seeds of all entries, K, K)."""
    cells = np.array(cohort.labels) * _K + np.concatenate(entries)
    one_hot = (cells == np.arange(_K * _K)[:, None, None]).astype(np.float32)
    rows = one_hot.reshape(-1, cells.shape[1])
    for weights in draws(cohort, n_draws):
        for part in np.array_split(weights, -(-len(weights) * len(rows) // _COUNTS)):
            yield (rows @ part.T).reshape(_K, _K, len(cells), -1).transpose(3, 2, 0, 1)


def draws(cohort: FoldTable, n_draws: int = N_DRAWS) -> Iterator[NDArray[np.float32]]:
    """Yield weight matrices (chunk, n) of the class-stratified patient bootstrap.

    The seed follows from the folds, the labels and the protocol's version, never from predictions.
    """
    rng = cohort_rng(cohort)
    labels = np.array(cohort.labels)
    members = [np.flatnonzero(labels == label) for label in range(_K)]
    for start in range(0, n_draws, _CHUNK):
        for part in _parts(min(_CHUNK, n_draws - start), len(labels)):
            weights = np.zeros((part, len(labels)), dtype=np.float32)
            for cases in members:
                if len(cases):
                    weights[:, cases] = _counts(rng, part, len(cases))
            yield weights


def _parts(rows: int, n: int) -> Iterator[int]:
    """Cut a chunk into parts that fit in memory; up to 8,000 cases it stays whole."""
    most = max(1, _CHUNK_CELLS // max(n, 1))
    for start in range(0, rows, most):
        yield min(most, rows - start)


def _counts(rng: np.random.Generator, rows: int, n: int) -> Ints:
    """Return (rows, n): how often each of n cases is drawn in n draws with replacement."""
    picks = rng.integers(0, n, size=(rows, n), dtype=np.uint32)
    cells = picks + np.arange(rows)[:, None] * n
    return np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n)


def _drawn_by_cell(
    cohort: FoldTable, entries: Sequence[Ints], n_draws: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the same without weights by case: cases that all seeds answer alike are drawn together."""
    truth = np.array(cohort.labels)
    patterns = [_Patterns.of(truth, seeds) for seeds in entries]
    rngs = [cohort_rng(cohort) for _ in entries]
    for start in range(0, n_draws, _CHUNK):
        rows = min(_CHUNK, n_draws - start)
        drawn = [p.draw(rng, rows) for p, rng in zip(patterns, rngs, strict=True)]
        yield np.concatenate(drawn, axis=1)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """The distinct answers of an entry's seeds, by true class, with the number of cases of each."""

    counts: list[Ints]
    cells: list[NDArray[np.float32]]
    seeds: int

    @classmethod
    def of(cls, truth: Ints, seeds: Ints) -> _Patterns:
        """Collect the patterns of (S, N) predictions."""
        counts, cells = [], []
        for label in range(_K):
            found, number = _distinct(seeds[:, truth == label])
            if len(number):
                counts.append(number)
                hot = (label * _K + found.T)[..., None] == np.arange(_K * _K)
                cells.append(hot.reshape(len(number), -1).astype(np.float32))
        return cls(counts, cells, len(seeds))

    def draw(self, rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
        """Return (rows, S, K, K) confusion matrices."""
        total = np.zeros((rows, self.seeds * _K * _K), dtype=np.float32)
        for counts, cells in zip(self.counts, self.cells, strict=True):
            n = counts.sum()
            total += rng.multinomial(n, counts / n, size=rows).astype(np.float32) @ cells
        return total.reshape(rows, self.seeds, _K, _K)


def _distinct(seeds: Ints) -> tuple[Ints, Ints]:
    """Return the distinct columns (S, P) of (S, n) predictions and how often each is there."""
    if len(seeds) > 1:
        return np.unique(seeds, axis=1, return_counts=True)
    counts = np.bincount(seeds[0], minlength=_K)
    present = np.flatnonzero(counts)
    return present[None], counts[present]


def cohort_rng(cohort: FoldTable, purpose: str = "") -> np.random.Generator:
    """Return the generator that follows from folds, labels and protocol: the same for every reader."""
    bound = f"{purpose} {cohort.sha256} {cohort.labels_sha256} {VERSION}".lstrip()
    seed = sha256_bytes(bound.encode())
    return np.random.Generator(np.random.PCG64(int(seed[:32], 16)))


def percentile_interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the central interval of bootstrap values (draws,)."""
    low, high = percentile_intervals(values)
    return float(low), float(high)


def percentile_intervals(values: NDArray[np.floating], axis: int = 0) -> tuple[Floats, Floats]:
    """Return the ends (...) of the central intervals of bootstrap values (draws, ...).

    For very many rows, the draws of one lie together in memory where they come last: ``axis=-1``.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = _quantiles(values, [tail, 1 - tail], axis=axis)
    return low, high


def _quantiles(
    values: NDArray[np.floating], levels: Sequence[float], axis: int
) -> Iterator[Floats]:
    """Yield the quantiles (...) at some levels, as ``numpy.quantile`` does, step by step."""
    last = values.shape[axis] - 1
    places = [level * last for level in levels]
    ends = [(math.floor(place), min(math.floor(place) + 1, last)) for place in places]
    # NumPy sorts by vector instructions: a quarter of the time of its partition at four places.
    ordered = np.sort(values, axis=axis)
    for place, (below, above) in zip(places, ends, strict=True):
        low, high = (ordered.take(end, axis=axis).astype(np.float64) for end in (below, above))
        share = place - below
        gap = high - low
        yield low + gap * share if share < 0.5 else high - gap * (1 - share)


def bca_interval(
    values: Floats, observed: float, truth: Ints, predicted: Ints, metric: str
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval of a headline metric.

    The acceleration is that of several samples, one a class, as SciPy has it. Source: Efron 1987,
    doi:10.1080/01621459.1987.10478410.

    Args:
        values: (B,) bootstrap values.
        observed: the metric on the cases themselves.
        truth: (N,) labels.
        predicted: (S, N) predictions.
        metric: one of ``METRICS``.
    """
    # Ties are as near as this: other counts of the same value may differ in its last digit.
    below, upto = (np.count_nonzero(values < observed + sign * _TIE) for sign in (-1, 1))
    share = (below + upto) / 2
    if not 0 < share < len(values):
        return percentile_interval(values)
    normal = NormalDist()
    bias = normal.inv_cdf(share / len(values))
    acceleration = _acceleration(truth, predicted, metric)
    tail = (1 - CONFIDENCE) / 2
    levels = []
    for z in (normal.inv_cdf(tail), normal.inv_cdf(1 - tail)):
        moved = bias + (bias + z) / (1 - acceleration * (bias + z))
        # The normal distribution's last digits differ between C libraries and versions of Python.
        levels.append(round(normal.cdf(moved), 9))
    low, high = _quantiles(values, levels, axis=0)
    return float(low), float(high)


def _acceleration(truth: Ints, predicted: Ints, metric: str) -> float:
    """Return the acceleration from leaving out one case after the other, class by class."""
    whole = np.array([confusion(truth, labels) for labels in predicted])
    above = below = 0.0
    for label in np.unique(truth):
        n = int((truth == label).sum())
        cells = label * _K + predicted[:, truth == label]
        gone = (cells.T[..., None] == np.arange(_K * _K)).reshape(n, -1, _K, _K)
        left = mean_over(headline(whole - gone)[metric], 1)
        pull = (n - 1) * (fmean(left) - left)
        above += math.fsum(pull * pull * pull) / n**3
        below += math.fsum(pull * pull) / n**2
    return above / (6 * below * math.sqrt(below)) if below else 0.0
