"""How likely is it that the row with the higher accuracy is not the better method?

Christodoulou et al. 2025 (arXiv:2505.04720): of n common cases x1 are right for the first method alone and
x2 for the second alone; with a flat prior the rates are Dirichlet(x1 + 1, x2 + 1, n - x1 - x2 + 2). The
probability that the second is at least as good depends on x1 and x2 only: it is the chance of more than x1
heads in x1 + x2 + 1 tosses of a coin. How often both are right is not printed, so a range is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Final

CONGRUENCE: Final = (Fraction(1, 2), Fraction(9, 10))
"""Where, between the least and the most possible, the number of cases right for both may lie."""
_MAX_CASES: Final = 5000


@dataclass(frozen=True, slots=True)
class FalseClaim:
    """Probability that the order of two rows is wrong, over the range of congruence."""

    n: int
    correct: tuple[int, int]
    low: Fraction
    high: Fraction


def false_claim_probability(only_first: int, only_second: int) -> Fraction:
    """Return the probability that the second method is at least as good as the first."""
    tosses = only_first + only_second + 1
    tail = sum(comb(tosses, heads) for heads in range(only_first + 1, tosses + 1))
    return Fraction(tail, 2**tosses)


def false_claim(correct: tuple[int, int], n: int) -> FalseClaim | None:
    """Return the range for two rows on the same ``n`` cases; None above a few thousand cases."""
    if n > _MAX_CASES:
        return None
    more, fewer = max(correct), min(correct)
    least, most = max(0, more + fewer - n), fewer
    first, last = (least + share * (most - least) for share in CONGRUENCE)
    both = range(first.__ceil__(), last.__floor__() + 1) or [round(first)]
    found = [false_claim_probability(more - x, fewer - x) for x in both]
    return FalseClaim(n, (more, fewer), min(found), max(found))
