"""Printed numbers: the exact range of values that a decimal string can stand for, and numbers as text.

Rounded reading: the value plus or minus half a unit of its last digit, both ends included, so that ties
rounded up, down or to even, and a float that came to lie on the other side of a tie, are all allowed.
Cut-off reading: from the value up to, not including, the next printable one. If the folds' values were
rounded before they were averaged, the mean is off by at most one unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

Digits = Literal["rounded", "cut off", "folds rounded first"]
MAX_DECIMALS: Final = 12
"""More digits are a float written out in full, whose last ones are the error of its computation."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Values from ``low`` to ``high``, as fractions of 1; ``open_end`` leaves ``high`` out."""

    low: Fraction
    high: Fraction
    open_end: bool = False

    def __contains__(self, value: Fraction | int) -> bool:
        """Whether the value lies in the interval."""
        return self.low <= value and (value < self.high if self.open_end else value <= self.high)

    def counts(self, n: int) -> range:
        """Return the counts k, 0 to n, whose ratio k / n lies in the interval."""
        low, high = self.low * n, self.high * n
        first, last = max(0, -(-low.numerator // low.denominator)), high.__floor__()
        if self.open_end and last == high:
            last -= 1
        return range(first, min(last, n) + 1)

    def meets(self, other: ValueRange) -> bool:
        """Whether some value lies in both."""
        first, second = (self, other) if self.low <= other.low else (other, self)
        return second.low in first


@dataclass(frozen=True, slots=True)
class Printed:
    """A number as it was printed.

    Attributes:
        text: its digits, for example ``"72.92"``.
        decimals: the digits after the point that carry meaning.
        percent: printed in percent, not as a fraction of 1.
    """

    text: str
    decimals: int
    percent: bool

    @property
    def value(self) -> Fraction:
        """The value as a fraction of 1."""
        return Fraction(self.text) / self._whole

    @property
    def unit(self) -> Fraction:
        """One unit of the last digit, as a fraction of 1."""
        return Fraction(1, 10 ** min(self.decimals, MAX_DECIMALS)) / self._whole

    @property
    def printable(self) -> int:
        """How many values from 0 to 1 can be printed with so many digits."""
        return (1 / self.unit).__floor__() + 1

    @property
    def percent_decimals(self) -> int:
        """How many decimals it has when it is written in percent."""
        return self.decimals if self.percent else max(self.decimals - 2, 0)

    @property
    def _whole(self) -> int:
        return 100 if self.percent else 1

    def interval(self, digits: Digits = "rounded") -> ValueRange:
        """Return the values that the printed number can stand for."""
        if digits == "cut off":
            return ValueRange(self.value, self.value + self.unit, open_end=True)
        wide = digits == "folds rounded first" or self.decimals > MAX_DECIMALS
        half = self.unit if wide else self.unit / 2
        return ValueRange(self.value - half, self.value + half)


def percent(value: Fraction | float, decimals: int = 1) -> str:
    """Return a fraction of 1 in percent without the sign, rounded half up."""
    units = (Fraction(value) * 100 * 10**decimals + Fraction(1, 2)).__floor__()
    whole, rest = divmod(abs(units), 10**decimals)
    return ("-" if units < 0 else "") + (f"{whole}.{rest:0{decimals}d}" if decimals else f"{whole}")


def ratio(correct: int, n: int, decimals: int = 1) -> str:
    """Return ``37/49 = 75.5 %``."""
    return f"{correct}/{n} = {percent(Fraction(correct, n), decimals)} %"


def probability(p: Fraction | float) -> str:
    """Return a probability with three digits that count."""
    return f"{float(p):.3g}"


def listed(numbers: Sequence[int], shown: int = 5) -> str:
    """Return the first numbers, and dots where there are more."""
    return ", ".join([*map(str, numbers[:shown]), *(["..."] if len(numbers) > shown else [])])


def either(words: Iterable[str]) -> str:
    """Return ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
