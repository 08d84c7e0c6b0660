"""What holds for every confusion matrix: accuracy as k / n, and how the four numbers hang together.

Weighted recall is accuracy, and micro precision, recall and F1 are all accuracy; both also hold for
means over folds. The mean of the classes' F1 is at most the harmonic mean of the averaged precision and
recall (the harmonic mean is concave), and equal only where precision and recall stand in one ratio in
every class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import Final

from ictmri_benchmark.audit.printed import Printed, ValueRange

USUAL_SHARES: Final = (10, 15, 20, 25, 30)
"""Percent of a cohort that are commonly held out as one test set."""
JOINT_LIMIT: Final = 2000
UNKNOWN_LIMIT: Final = 300
"""The largest test set that is tried where the number of cases is not declared."""
CONGRUENCE: Final = (Fraction(1, 2), Fraction(9, 10))
"""Where, between the least and the most possible, the number of cases right for both rows may lie."""
_MAX_CASES: Final = 5000
_TIED: Final = {"weighted": ("recall",), "micro": ("precision", "recall", "f1")}
"""Metrics that are accuracy, by averaging."""


def nearest_count(allowed: ValueRange, n: int) -> int:
    """Return the count k whose k / n is allowed or, where none is, nearest to the middle of the range."""
    middle = (allowed.low + allowed.high) / 2 * n
    counts = allowed.counts(n)
    nearest = min(max((middle + Fraction(1, 2)).__floor__(), 0), n)
    return min(max(nearest, counts[0]), counts[-1]) if counts else nearest


def fitting_sizes(ranges: Sequence[ValueRange], limit: int) -> list[int]:
    """Return every n up to ``limit`` for which some k / n lies in each range, ascending."""
    return [n for n in range(1, limit + 1) if all(allowed.counts(n) for allowed in ranges)]


def is_usual_share(test_set: int, n: int) -> bool:
    """Say whether ``test_set`` of ``n`` is a usual percentage, within one point."""
    return any(abs(Fraction(100 * test_set, n) - share) <= 1 for share in USUAL_SHARES)


def harmonic_mean(precision: Fraction, recall: Fraction) -> Fraction:
    """Return 2PR / (P + R), 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else Fraction(0)


def is_harmonic_mean(printed: Mapping[str, Printed]) -> bool:
    """Whether the printed F1 is 2PR / (P + R) of the printed P and R, to its last digit."""
    mean = harmonic_mean(printed["precision"].value, printed["recall"].value)
    return mean in printed["f1"].interval()


def exceeds_harmonic_mean(ranges: Mapping[str, ValueRange]) -> bool:
    """Whether F1 is above 2PR / (P + R) for all values that the printed numbers can stand for."""
    if not {"precision", "recall", "f1"} <= ranges.keys():
        return False
    most = harmonic_mean(ranges["precision"].high, ranges["recall"].high)
    return ranges["f1"].low > most


def tied_to_accuracy(averaging: str | None) -> tuple[str, ...]:
    """Return the metrics that are accuracy under this averaging."""
    return _TIED.get(averaging or "", ())


def common(ranges: Mapping[str, ValueRange], averaging: str | None) -> ValueRange | None:
    """Return the values of accuracy that the metrics tied to it allow too; None = there are none."""
    found = [ranges[n] for n in ("accuracy", *tied_to_accuracy(averaging)) if n in ranges]
    if not found:
        return ValueRange(Fraction(0), Fraction(1))
    high = min(allowed.high for allowed in found)
    open_end = any(allowed.open_end for allowed in found if allowed.high == high)
    joint = ValueRange(max(allowed.low for allowed in found), high, open_end)
    return joint if joint.low in joint else None


def false_claim_probability(only_first: int, only_second: int) -> Fraction:
    """Return the probability that the second method is at least as good as the first.

    Of n common cases ``only_first`` are right for the first method alone, ``only_second`` for the second
    alone. With a flat prior the rates are Dirichlet(x1 + 1, x2 + 1, n - x1 - x2 + 2), and the
    probability is the chance of more than x1 heads in x1 + x2 + 1 tosses of a coin. Source: Christodoulou
    et al. 2025, arXiv:2505.04720.
    """
    tosses = only_first + only_second + 1
    tail = sum(comb(tosses, heads) for heads in range(only_first + 1, tosses + 1))
    return Fraction(tail, 2**tosses)


def false_claim(more: int, fewer: int, n: int) -> tuple[Fraction, Fraction] | None:
    """Return the least and the largest probability that the order of two rows is the wrong one.

    How often both are right is not printed, hence a range. None above a few thousand cases.

    Args:
        more: correct cases of the better row.
        fewer: those of the other.
        n: cases of both.
    """
    if n > _MAX_CASES:
        return None
    least = max(0, more + fewer - n)
    first, last = (least + share * (fewer - least) for share in CONGRUENCE)
    both = range(first.__ceil__(), last.__floor__() + 1) or [round(first)]
    found = [false_claim_probability(more - x, fewer - x) for x in both]
    return min(found), max(found)
