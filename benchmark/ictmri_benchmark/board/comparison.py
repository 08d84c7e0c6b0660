"""Two entries, and all of them: paired tests, corrected for their number, and what they leave open.

Nothing here assumes a distribution: permutations swap the two predictions of a case (sign flips), McNemar's
test is exact, both with the protocol's fixed seed, so that two readers get the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri_benchmark.score.intervals import cohort_rng
from ictmri_benchmark.score.metrics import Floats, Ints
from ictmri_benchmark.score.protocol import ALPHA, N_PERMUTATIONS

_K: Final = len(CLASSES)
_THREADS: Final = 2
_BLOCK_CELLS: Final = 2**25
"""Counts in memory at a time, however many seeds the entries have."""
_TOLERANCE: Final = 1e-6
"""Differences that float32 cannot tell apart count as equal."""


def flips(cohort: FoldTable, n_permutations: int = N_PERMUTATIONS) -> NDArray[np.float32]:
    """Return (n_permutations, N) zeros and ones: whose predictions are swapped; the same for all pairs."""
    drawn = cohort_rng(cohort, "flips").integers(
        0, 2, (n_permutations, len(cohort.rows)), dtype=np.uint8
    )
    return drawn.astype(np.float32)


def permutation_tests(
    cohort: FoldTable,
    entries: Sequence[Ints],
    pairs: Sequence[tuple[int, int]],
    n_permutations: int = N_PERMUTATIONS,
) -> Floats:
    """Return, for each pair, the p-value of "their macro-F1 are equal", two-sided.

    Under the hypothesis the two predictions of a case could be swapped. p = (1 + k) / (1 + permutations)
    with k the number of permutations whose difference is at least the observed one (Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585). Entries with several seeds are compared by their mean over the seeds, seed
    i of one with seed i of the other as far as both go.

    Args:
        cohort: gives labels and seed.
        entries: for each entry (S, N) predicted labels.
        pairs: places of the entries to compare.
        n_permutations: number of permutations.
    """
    truth = np.array(cohort.labels)
    swapped = flips(cohort, n_permutations)
    support = np.bincount(truth, minlength=_K).astype(np.float32)
    wanted = sorted({place for pair in pairs for place in pair})
    rows = sum(len(entries[place]) for place in wanted) * 4 * _K
    extreme = np.zeros(len(pairs), dtype=np.int64)
    # One task a thread: thousands of small ones cost more than they compute.
    shares = [pairs[start::_THREADS] for start in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in np.array_split(swapped, -(-rows * n_permutations // _BLOCK_CELLS)):
            halves = {
                place: [_halves(truth, labels, block, support) for labels in entries[place]]
                for place in wanted
            }

            def count(
                share: Sequence[tuple[int, int]], halves: dict[int, list[_Halves]] = halves
            ) -> list[int]:
                return [_extreme(halves[one], halves[other]) for one, other in share]

            for start, counts in enumerate(pool.map(count, shares)):
                extreme[start::_THREADS] += np.array(counts, dtype=np.int64)
    return (1 + extreme) / (1 + n_permutations)


def _extreme(one: list[_Halves], other: list[_Halves]) -> int:
    """Return how many permutations differ at least as much as what was observed, the first column."""
    differences = [_difference(a, b) for a, b in zip(one, other, strict=False)]
    values = np.abs(np.sum(differences, axis=0) if len(differences) > 1 else differences[0])
    return int(np.count_nonzero(values[1:] >= values[0] - len(differences) * _TOLERANCE))


@dataclass(frozen=True, slots=True)
class _Halves:
    """Counts (2 K, 1 + permutations) of an entry: hits by class, then hits' denominators by class.

    Attributes:
        given: of the cases whose predictions are swapped; none in the first column.
        kept: of the other cases, with the classes' support in the denominators.
    """

    given: NDArray[np.float32]
    kept: NDArray[np.float32]


def _halves(
    truth: Ints, labels: Ints, swapped: NDArray[np.float32], support: NDArray[np.float32]
) -> _Halves:
    one_hot = labels == np.arange(_K)[:, None]
    columns = np.vstack([one_hot & (labels == truth), one_hot]).astype(np.float32)
    given = np.hstack([np.zeros((2 * _K, 1), np.float32), columns @ swapped.T])
    kept = columns.sum(axis=1, keepdims=True) - given
    # A class without cases has no hits: any denominator but 0 gives its F1 of 0.
    kept[_K:] += np.maximum(support, 1)[:, None]
    return _Halves(given, kept)


def _difference(one: _Halves, other: _Halves) -> NDArray[np.float32]:
    """Return (1 + permutations,) differences of the sum of F1 / 2; the first is the observed one."""
    difference: NDArray[np.float32] = _f1_sums(one.kept + other.given) - _f1_sums(
        other.kept + one.given
    )
    return difference


def _f1_sums(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (1 + permutations,) sums of F1 / 2; the counts are used up."""
    np.divide(counts[:_K], counts[_K:], out=counts[:_K])
    total: NDArray[np.float32] = counts[:_K].sum(axis=0)
    return total


def mcnemar(one_only: int, other_only: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        one_only: cases that only one of the two entries has right.
        other_only: cases that only the other has right.
    """
    n, least = one_only + other_only, min(one_only, other_only)
    return min(1.0, 2 * _cumulative(n)[least] / 2**n) if n else 1.0


@lru_cache(maxsize=4096)
def _cumulative(n: int) -> tuple[int, ...]:
    """Return the sums of the first binomial coefficients of n."""
    total, term, sums = 0, 1, []
    for k in range(n + 1):
        total += term
        sums.append(total)
        term = term * (n - k) // (k + 1)
    return tuple(sums)


def discordant(truth: Ints, one: Ints, other: Ints) -> tuple[int, int]:
    """Return how many cases only the first, and only the second entry has right.

    Args:
        truth: (N,) labels.
        one: (S, N) predictions; a case of an entry with several seeds counts as right where more than
            half of the seeds are.
        other: as ``one``.
    """
    right, also = (2 * (p == truth).sum(axis=0) > len(p) for p in (one, other))
    return int((right & ~also).sum()), int((also & ~right).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def tiers(values: Sequence[float], p_values: Callable[[int, Ints], Sequence[float]]) -> list[int]:
    """Return the tier of each entry, 1 for the first.

    The best entry that has no tier yet opens one; every other one that cannot be told from it joins, after
    Holm's correction for the number of entries compared with it. An entry never stands in a better tier
    than one that scored higher.

    Args:
        values: rank key of each entry.
        p_values: of the best entry against each that has no tier yet.
    """
    left = np.array(sorted(range(len(values)), key=lambda i: (-values[i], i)))
    found, tier = [0] * len(values), 0
    while len(left):
        tier += 1
        best, rest = int(left[0]), left[1:]
        adjusted = holm(p_values(best, rest))
        apart = [place for place, p in enumerate(adjusted) if p < ALPHA]
        size = apart[0] if apart else len(rest)
        for i in [best, *rest[:size]]:
            found[i] = tier
        left = rest[size:]
    return found


def all_pairs(n: int) -> list[tuple[int, int]]:
    """Return every pair (i, j), i < j, of n entries."""
    return list(combinations(range(n), 2))


def first_shares(draws: Floats) -> list[float]:
    """Return the share of bootstrap draws (B, E) in which each entry is first; ties are shared."""
    best = draws == draws.max(axis=1, keepdims=True)
    shares = (best / best.sum(axis=1, keepdims=True)).T
    return [fmean(column) if column.any() else 0.0 for column in shares]


def smallest_gap(n_cases: int, discordant_share: float) -> float | None:
    """Return the smallest difference of accuracy that McNemar's exact test can call at 5 %.

    None where no difference among so few cases can be called.

    Args:
        n_cases: number of cases.
        discordant_share: share of cases that exactly one of the two entries has right.
    """
    pairs = round(n_cases * discordant_share)
    for gap in range(pairs % 2, pairs + 1, 2):
        if mcnemar((pairs + gap) // 2, (pairs - gap) // 2) < ALPHA:
            return gap / n_cases
    return None


def optimism(draws: Floats) -> dict[str, float]:
    """Return by how much the best of the entries would look too good if all were equally good.

    The expected maximum of k normal values with the draws' mean standard deviation and correlation: what
    choosing the best of k adds by itself (winner's curse).

    Args:
        draws: (B, E) bootstrap values of the ranked entries.
    """
    k = draws.shape[1]
    spread = float(draws.std(axis=0, ddof=1).mean())
    if k < 2:
        return {"entries": k, "expected": 0.0}
    # Entries that never change (controls) correlate with nothing.
    steady = draws.std(axis=0) == 0
    moving = draws[:, ~steady]
    together = np.corrcoef(moving.T) if moving.shape[1] > 1 else np.eye(1)
    n = len(together)
    correlation = float((together.sum() - n) / (n * (n - 1))) if n > 1 else 0.0
    expected = spread * math.sqrt(max(0.0, 1 - correlation)) * expected_maximum(k)
    # The last digits depend on the processor: this is no number to the last digit anyway.
    return {"entries": k, "expected": round(expected, 6)}


@lru_cache(maxsize=256)
def expected_maximum(k: int) -> float:
    """Return the expected largest of k standard normal values, by the trapezoidal rule."""
    grid = np.linspace(-8, 8, 4001)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in grid])
    # E[max] = integral of 1 - F^k over the positive line minus that of F^k over the negative one.
    inside = np.heaviside(grid, 0.5) - below**k
    return float(np.trapezoid(inside, grid))
