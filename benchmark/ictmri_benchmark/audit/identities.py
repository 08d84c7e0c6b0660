"""Relations between the four numbers that hold for every confusion matrix.

Weighted recall is accuracy, and micro precision, recall and F1 are all accuracy; both also hold for
means over folds. The mean of the classes' F1 is at most the harmonic mean of the averaged precision and
recall (the harmonic mean is concave), and equal only where precision and recall stand in one ratio in
every class.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from ictmri_benchmark.audit.rounding import Interval, Printed


def harmonic_mean(precision: Fraction, recall: Fraction) -> Fraction:
    """Return 2PR / (P + R), 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else Fraction(0)


def is_harmonic_mean(printed: Mapping[str, Printed]) -> bool:
    """Whether the printed F1 is 2PR / (P + R) of the printed P and R, to its last digit."""
    mean = harmonic_mean(printed["precision"].value, printed["recall"].value)
    return mean in printed["f1"].interval()


def exceeds_harmonic_mean(intervals: Mapping[str, Interval]) -> bool:
    """Whether F1 is above 2PR / (P + R) for all values that the printed numbers can stand for."""
    if not {"precision", "recall", "f1"} <= intervals.keys():
        return False
    most = harmonic_mean(intervals["precision"].high, intervals["recall"].high)
    return intervals["f1"].low > most


def tied_to_accuracy(averaging: str | None) -> tuple[str, ...]:
    """Return the metrics that are accuracy under this averaging."""
    return {"weighted": ("recall",), "micro": ("precision", "recall", "f1")}.get(
        averaging or "", ()
    )


def common(intervals: Mapping[str, Interval], averaging: str | None) -> Interval | None:
    """Return the values of accuracy that the metrics tied to it allow too; None = there are none."""
    names = [n for n in ("accuracy", *tied_to_accuracy(averaging)) if n in intervals]
    if not names:
        return Interval(Fraction(0), Fraction(1))
    found = [intervals[name] for name in names]
    high = min(interval.high for interval in found)
    joint = Interval(
        max(interval.low for interval in found),
        high,
        any(interval.open_end for interval in found if interval.high == high),
    )
    return joint if joint.low in joint else None
