"""Accuracy as the plain mean of the accuracies of the folds.

Folds of one size enter through the sum of their correct cases alone. So the mean is a sum of a few ratios,
one a size, and every solution can be listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import lcm, prod
from operator import mul
from typing import Final

import numpy as np

from ictmri_benchmark.audit.printed import Printed, ValueRange
from ictmri_benchmark.score.proportions import fisher_exact

_MAX_STEPS: Final = 500_000
_MAX_MEANS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """Folds of one size: how many there are, and how many of their cases are right."""

    size: int
    folds: int
    correct: int = 0

    @property
    def cases(self) -> int:
        """Cases in these folds together."""
        return self.size * self.folds

    @property
    def rate(self) -> Fraction:
        """Share of them that is right."""
        return Fraction(self.correct, self.cases)


@dataclass(frozen=True, slots=True)
class Solution:
    """The most even way to reach a mean.

    Attributes:
        odd: the group that differs most from the others together.
        others: (correct, cases) of the other groups; (0, 0) where all folds have one size.
        p: Fisher's exact p between the two, None where there is nothing to compare.
    """

    groups: tuple[Group, ...]
    odd: Group
    others: tuple[int, int]
    p: Fraction | None


def stratified_sizes(n: int, folds: int) -> dict[int, int]:
    """Return how many folds have which size, as an even split gives: within 1 of each other."""
    size, larger = divmod(n, folds)
    return {s: count for s, count in ((size, folds - larger), (size + 1, larger)) if count}


def solve(sizes: dict[int, int], allowed: ValueRange) -> Solution | None:
    """Return the most even solution: the smallest gap between the rates of the groups; None = none.

    Raises:
        OverflowError: there are too many combinations to list.
    """
    groups = sorted((Group(size, count) for size, count in sizes.items()), key=lambda g: g.cases)
    if prod(group.cases + 1 for group in groups[:-1]) > _MAX_STEPS:
        raise OverflowError
    best = min(_solutions(groups, allowed), key=_gap, default=None)
    return None if best is None else _compared(best)


def _solutions(groups: list[Group], allowed: ValueRange) -> Iterator[tuple[Group, ...]]:
    """Yield, for each choice of all groups but the last, the most even choice of the last one.

    In units in which every fold's accuracy is a whole number, so that the loop adds integers only.
    """
    unit = lcm(*(group.size for group in groups))
    *leading, last = groups
    totals = allowed.counts(unit * sum(group.folds for group in groups))
    if not totals:
        return
    weights, step = [unit // group.size for group in leading], unit // last.size
    for correct in product(*(range(group.cases + 1) for group in leading)):
        done = sum(map(mul, weights, correct))
        first, most = -((done - totals[0]) // step), (totals[-1] - done) // step
        first, most = max(first, 0), min(most, last.cases)
        if first > most:
            continue
        chosen = [Group(g.size, g.folds, k) for g, k in zip(leading, correct, strict=True)]
        rates = [group.rate for group in chosen] or [Fraction(first + most, 2 * last.cases)]
        aim = round((min(rates) + max(rates)) / 2 * last.cases)
        yield (*chosen, Group(last.size, last.folds, min(max(aim, first), most)))


def _gap(groups: tuple[Group, ...]) -> Fraction:
    rates = [group.rate for group in groups]
    return max(rates) - min(rates)


def _compared(groups: tuple[Group, ...]) -> Solution:
    correct, cases = sum(g.correct for g in groups), sum(g.cases for g in groups)
    if len(groups) == 1:
        return Solution(groups, groups[0], (0, 0), None)

    def distance(group: Group) -> tuple[Fraction, int]:
        others = Fraction(correct - group.correct, cases - group.cases)
        return abs(group.rate - others), -group.cases

    odd = max(groups, key=distance)
    others = (correct - odd.correct, cases - odd.cases)
    return Solution(groups, odd, others, fisher_exact((odd.correct, odd.cases), others))


def reachable(sizes: dict[int, int], printed: Printed) -> int | None:
    """Return how many printable values from 0 to 1 are the rounded mean of some fold accuracies.

    None where there are too many means to list.
    """
    below = lcm(*sizes) * sum(sizes.values())
    per_unit = (1 / printed.unit).__floor__()
    n_means = prod(size * count + 1 for size, count in sizes.items())
    if n_means > _MAX_MEANS or below * per_unit * 4 > 2**62:
        return None
    sums = np.zeros(1, dtype=np.int64)
    for size, count in sizes.items():
        steps = np.arange(size * count + 1, dtype=np.int64) * (lcm(*sizes) // size)
        sums = (sums[:, None] + steps).ravel()
    doubled = 2 * sums * per_unit
    up, down = (doubled + below) // (2 * below), -((below - doubled) // (2 * below))
    return len(np.union1d(up, down))
