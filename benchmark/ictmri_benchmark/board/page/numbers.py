"""How the page writes numbers, and where it puts them in a drawing."""

from __future__ import annotations

from statistics import fmean

from ictmri_benchmark.score.metrics import PRINTED


def decimal(value: float, digits: int = 3) -> str:
    """Return ``0.646``."""
    return f"{value:.{digits}f}"


def points(value: float, *, sign: bool = False) -> str:
    """Return a difference of two shares in points, ``6.4``; with its sign ``+6.4``."""
    text = f"{100 * value:{'+' if sign else ''}.1f}"
    return ("0.0" if float(text) == 0 else text).replace("-", "−")


def share(value: float) -> str:
    """Return a share in percent that is 0 or 100 only where it is so exactly."""
    if 0 < value < 0.005:
        return "< 1 %"
    if 0.995 <= value < 1:
        return "> 99 %"
    return f"{100 * value:.0f} %"


def count(value: object) -> str:
    """Return a number of parameters in three digits, ``12.3 M``; text as it is."""
    if not isinstance(value, int | float):
        return str(value)
    number = float(value)
    for unit in ("", " k", " M", " G"):
        if abs(number) < 999.5 or unit == " G":
            break
        number /= 1000
    return f"{number:.3g}{unit}"


def tenth(value: float) -> str:
    """Return a length in a drawing, to a tenth of its unit."""
    return f"{value:.1f}".rstrip("0").rstrip(".").replace("-0", "0") if value else "0"


def across(value: float, widest: float) -> float:
    """Return where a value from -widest to widest lies on a line of 200 units, 0 in the middle."""
    return 200 * (0.5 + max(-1.0, min(1.0, value / widest)) / 2)


def average(pooled: dict[str, dict[str, float]]) -> float:
    """Return the mean of the printed metrics, the preprint's average score."""
    return fmean(pooled[metric.name]["value"] for metric in PRINTED)
