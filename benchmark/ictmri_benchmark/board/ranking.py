"""What a cohort can and cannot tell about the order of the entries: never a bare rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ictmri.folds import FoldTable
from ictmri_benchmark.board.comparison import (
    all_pairs,
    discordant,
    first_shares,
    holm,
    mcnemar,
    optimism,
    permutation_tests,
    smallest_gap,
    tiers,
)
from ictmri_benchmark.score.intervals import percentile_intervals
from ictmri_benchmark.score.metrics import Floats, Ints
from ictmri_benchmark.score.protocol import CONFIDENCE

UNRANKED: Final = {
    "external": "trained elsewhere, not cross-validated here",
    "ensemble": "made by this board of its ranked entries, not an entry",
    "test-fold": "the model was chosen by looking at the test folds",
    "other-data": "made on other data than the cohort's: an earlier version of them, or none is named",
}
"""Why a scored row is not ranked."""
EXTERNAL: Final = f"External validation: {UNRANKED['external']}"
"""Heading of the rows that stand apart from all others."""
DISCORDANT_SHARES: Final = (0.1, 0.2, 0.3)
"""Shares of cases that exactly one of two entries has right, for which the smallest gap is told."""
MOST_COMPARED: Final = 100
"""Entries up to which each is compared with each."""
_AT_ONCE: Final = 64


class Contender(NamedTuple):
    """A ranked entry: its slug, its rank key, and its (S, N) predicted labels."""

    slug: str
    value: float
    labels: Ints


class Pair(NamedTuple):
    """Two entries compared, the second minus the first in the rank key: a row of ``leaderboard.json``.

    Attributes:
        first: slug.
        second: slug.
        difference: of the rank key.
        low: lower end of its interval.
        high: upper end.
        p: of the permutation test, not corrected.
        mcnemar_p: of McNemar's exact test.
        first_only: cases that only the first has right.
        second_only: cases that only the second has right.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    mcnemar_p: float
    first_only: int
    second_only: int

    def row(self) -> list[Any]:
        """Return the pair as it stands in ``leaderboard.json``."""
        return [round(cell, 6) if isinstance(cell, float) else cell for cell in self]


PAIR_COLUMNS: Final = Pair._fields


def compare_pairs(cohort: FoldTable, contenders: Sequence[Contender], draws: Floats) -> list[Pair]:
    """Return pairs of contenders compared: every pair, up to :data:`MOST_COMPARED` contenders.

    Of more, those that the ranks are made of: the best of each tier with all that stand behind it.

    Args:
        cohort: gives the labels.
        contenders: the entries.
        draws: (B, E) bootstrap values of the rank key.
    """
    if len(contenders) <= MOST_COMPARED:
        return _compared(cohort, contenders, draws, all_pairs(len(contenders)))
    found: list[Pair] = []

    def against(best: int, rest: Ints) -> list[float]:
        pairs = [(min(best, place), max(best, place)) for place in rest.tolist()]
        new = _compared(cohort, contenders, draws, pairs)
        found.extend(new)
        return [pair.p for pair in new]

    tiers([contender.value for contender in contenders], against)
    return found


def _compared(
    cohort: FoldTable,
    contenders: Sequence[Contender],
    draws: Floats,
    pairs: Sequence[tuple[int, int]],
) -> list[Pair]:
    if not pairs:
        return []
    p_values = permutation_tests(cohort, [c.labels for c in contenders], pairs)
    truth = np.array(cohort.labels)
    columns = np.ascontiguousarray(draws.T)
    found: list[Pair] = []
    for start in range(0, len(pairs), _AT_ONCE):
        firsts, seconds = np.array(pairs[start : start + _AT_ONCE]).T
        ends = percentile_intervals(columns[seconds] - columns[firsts], axis=-1)
        for first, second, low, high in zip(firsts, seconds, *ends, strict=True):
            one, other = contenders[first], contenders[second]
            only = discordant(truth, one.labels, other.labels)
            difference = (other.value - one.value, float(low), float(high))
            p_both = (float(p_values[len(found)]), mcnemar(*only))
            found.append(Pair(one.slug, other.slug, *difference, *p_both, *only))
    return found


def rank(contenders: Sequence[Contender], pairs: Sequence[Pair], draws: Floats) -> dict[str, Any]:
    """Return by slug: rank with interval, tier, share of draws in first place, and the first compared.

    Ties share the best rank. The interval of a rank holds the central 95 % of the draws.
    """
    if not contenders:
        return {}
    values = [contender.value for contender in contenders]
    low, high = rank_intervals(draws)
    shares = first_shares(draws)
    slugs = [contender.slug for contender in contenders]
    p_values = {frozenset((pair.first, pair.second)): pair.p for pair in pairs}
    tier = tiers(
        values, lambda best, rest: [p_values[frozenset((slugs[best], slugs[i]))] for i in rest]
    )
    first = max(contenders, key=lambda contender: contender.value)
    against = _against_first(first.slug, pairs)
    return {
        contender.slug: {
            "rank": {
                "value": 1 + sum(value > contender.value for value in values),
                "low": int(low[place]),
                "high": int(high[place]),
            },
            "tier": tier[place],
            "first_share": shares[place],
            "behind_first": against[contender.slug],
        }
        for place, contender in enumerate(contenders)
    }


def rank_intervals(draws: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and highest rank (E,) of the central draws (B, E); equal values share the best."""
    ranks = np.empty(draws.shape, dtype=np.int32)
    for row, values in zip(ranks, draws, strict=True):
        ascending = np.sort(values)
        row[:] = 1 + len(values) - np.searchsorted(ascending, values, side="right")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return low, high


def _against_first(first: str, pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Return for each entry how far it is behind the first, tested and corrected for their number."""
    mine = [pair for pair in pairs if first in {pair.first, pair.second}]
    rows = {first: {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_holm": 1.0}}
    for pair, adjusted in zip(mine, holm([pair.p for pair in mine]), strict=True):
        low, value, high = pair.low, pair.difference, pair.high
        if pair.first == first:
            low, value, high = -high, -value, -low
        found = {"value": value, "low": low, "high": high, "p": pair.p, "p_holm": adjusted}
        rows[pair.second if pair.first == first else pair.first] = found
    return rows


def resolution(n_cases: int, draws: Floats) -> dict[str, Any]:
    """Return what the board as a whole can tell: smallest gaps, and how lucky the best may be."""
    return {
        "smallest_accuracy_gap": {
            f"{share:.0%}": smallest_gap(n_cases, share) for share in DISCORDANT_SHARES
        },
        "optimism_of_the_best": optimism(draws) if draws.size else None,
    }
