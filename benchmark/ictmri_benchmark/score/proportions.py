"""Wilson's score interval of a proportion, and Fisher's exact test of two."""

from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt
from typing import Final

from ictmri_benchmark.score.protocol import NORMAL_QUANTILE

_MAX_CASES: Final = 5000


def wilson(correct: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of ``correct`` of ``n``, as fractions of 1.

    ``correct`` may be a mean over seeds, hence no whole number. Source: Wilson 1927,
    doi:10.1080/01621459.1927.10502953.
    """
    z, p = NORMAL_QUANTILE, correct / n
    centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    # At 0 and n the formula gives these ends but for the last bit.
    return (0.0 if correct == 0 else low), (1.0 if correct == n else high)


def fisher_exact(first: tuple[int, int], other: tuple[int, int]) -> Fraction | None:
    """Return the two-sided p that two groups, each (correct, cases), share one rate.

    The tables with the same margins that are at most as likely as this one, in exact integers. None where
    there are too many cases for that.
    """
    (a, n_first), (b, n_other) = first, other
    if n_first + n_other > _MAX_CASES:
        return None
    hits = a + b
    ways = [
        comb(n_first, x) * comb(n_other, hits - x)
        for x in range(max(0, hits - n_other), min(n_first, hits) + 1)
    ]
    seen = comb(n_first, a) * comb(n_other, b)
    return Fraction(sum(way for way in ways if way <= seen), sum(ways))
