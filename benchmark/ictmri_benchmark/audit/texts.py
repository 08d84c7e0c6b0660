"""Numbers as they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction


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
