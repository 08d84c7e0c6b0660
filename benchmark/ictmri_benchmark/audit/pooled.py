"""Accuracy as one ratio k / n: of the declared number of cases, or of another one."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from ictmri_benchmark.audit.rounding import Interval, Printed

USUAL_SHARES: Final = (10, 15, 20, 25, 30)
"""Percent of a cohort that are commonly held out as one test set."""
JOINT_LIMIT: Final = 2000
UNKNOWN_LIMIT: Final = 300
"""The largest test set that is tried where the number of cases is not declared."""


def nearest_count(interval: Interval, n: int) -> int:
    """Return the count k whose k / n lies in the interval or, where none does, nearest to its middle."""
    middle = (interval.low + interval.high) / 2 * n
    counts = interval.counts(n)
    nearest = min(max((middle + Fraction(1, 2)).__floor__(), 0), n)
    return min(max(nearest, counts[0]), counts[-1]) if counts else nearest


def neighbours(printed: Printed, n: int) -> tuple[int, int]:
    """Return the counts whose ratios lie just below and just above the printed value."""
    below = min((printed.value * n).__floor__(), n)
    return below, min(below + 1, n)


def fitting_sizes(interval: Interval, limit: int) -> list[int]:
    """Return every n up to ``limit`` for which some k / n lies in the interval, ascending."""
    return [n for n in range(1, limit + 1) if interval.counts(n)]


def common_sizes(intervals: Iterable[Interval], limit: int) -> list[int]:
    """Return every n up to ``limit`` that fits all intervals, ascending."""
    wanted = list(intervals)
    return [n for n in range(1, limit + 1) if all(interval.counts(n) for interval in wanted)]


def usual_share(test_set: int, n: int) -> int | None:
    """Return the usual percentage that ``test_set`` of ``n`` is, within one point, or None."""
    for share in USUAL_SHARES:
        if abs(Fraction(100 * test_set, n) - share) <= 1:
            return share
    return None
