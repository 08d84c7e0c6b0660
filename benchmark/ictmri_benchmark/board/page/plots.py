"""Small drawings as inline SVG, and how numbers are written: pure functions of the numbers.

Shapes carry presentation attributes and classes, never a style attribute, which the page's policy refuses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from markupsafe import Markup

from ictmri_benchmark.score.metrics import PRINTED
from ictmri_benchmark.score.proportions import wilson

_WIDE: Final = 200
_FRAME: Final = 100


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


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".").replace("-0", "0") if value else "0"


def forest(metric: dict[str, float], first: dict[str, float] | None) -> Markup:
    """Return a value between 0 and 1 with its interval; ``first`` is the interval shaded behind it."""
    behind = Markup("")
    if first is not None:
        behind = _span("b", first["low"], first["high"], 0, 20)
    return Markup(
        '<svg class="forest" viewBox="0 0 200 20" preserveAspectRatio="none" aria-hidden="true">{}'
        '<path class="g" d="M0 0V20M50 0V20M100 0V20M150 0V20M200 0V20"/>{}'
        '<path class="v" d="M{} 3V17"/></svg>'
    ).format(behind, _span("i", metric["low"], metric["high"], 6, 8), _n(_WIDE * metric["value"]))


def _span(kind: str, low: float, high: float, top: int, height: int) -> Markup:
    x, width = _WIDE * low, max(_WIDE * (high - low), 0.5)
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, _n(x), top, _n(width), height
    )


def behind(difference: dict[str, float], widest: float) -> Markup:
    """Return how far an entry is behind the first: from -widest to widest, 0 in the middle."""

    def place(value: float) -> float:
        return _WIDE * (0.5 + max(-1.0, min(1.0, value / widest)) / 2)

    low, high = place(difference["low"]), place(difference["high"])
    return Markup(
        '<svg class="forest" viewBox="0 0 200 20" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="z" d="M100 0V20"/><rect class="i" x="{}" y="6" width="{}" height="8"/>'
        '<path class="v" d="M{} 3V17"/></svg>'
    ).format(_n(low), _n(max(high - low, 0.5)), _n(place(difference["value"])))


def amount(value: float) -> Markup:
    """Return a bar for a share."""
    return Markup(
        '<svg class="amount" viewBox="0 0 200 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="b" width="200" height="10"/><rect class="a" width="{}" height="10"/></svg>'
    ).format(_n(_WIDE * value))


def reliability(bins: Sequence[dict[str, float]], title: str, error: float) -> Markup:
    """Return the reliability diagram of a class, with Wilson's interval of each bin."""
    whiskers, dots, said = [], [], []
    for cell in bins:
        x, n = _FRAME * cell["predicted"], int(cell["n"])
        low, high = wilson(cell["observed"] * n, n)
        whiskers.append(f"M{_n(x)} {_n(_FRAME * (1 - low))}V{_n(_FRAME * (1 - high))}")
        dots.append(f"M{_n(x)} {_n(_FRAME * (1 - cell['observed']))}h0")
        said.append(f"{100 * cell['predicted']:.0f}→{100 * cell['observed']:.0f}")
    alt = (
        f"{title}, predicted→observed in percent: {', '.join(said)}; calibration error {error:.3f}"
    )
    return Markup(
        '<svg class="square" viewBox="-3 -3 106 106" role="img" aria-label="{}">{}'
        '<path class="z" d="M0 100L100 0"/><path class="w" d="{}"/><path class="d" d="{}"/></svg>'
    ).format(alt, _GRID, "".join(whiskers), "".join(dots))


_GRID: Final = Markup('<path class="g" d="M0 0H100V100H0ZM50 0V100M0 50H100"/>')


def risk_coverage(risk: Sequence[float]) -> Markup:
    """Return the risk-coverage curve from the risk at 1/n, 2/n .. n/n of the cases."""
    n = len(risk)
    line = "L".join(
        f"{_n(_FRAME * step / n)} {_n(_FRAME * (1 - value))}" for step, value in enumerate(risk, 1)
    )
    told = [(share_, risk[max(math.ceil(n * share_), 1) - 1]) for share_ in (0.25, 0.5, 0.75, 1)]
    alt = "Errors among the most certain cases: " + ", ".join(
        f"{100 * value:.0f} % of the first {100 * share_:.0f} %" for share_, value in told
    )
    return Markup(
        '<svg class="square" viewBox="-3 -3 106 106" role="img" aria-label="{}">{}'
        '<path class="l" d="M{}"/></svg>'
    ).format(alt, _GRID, line)


def bars(groups: Sequence[tuple[str, dict[str, dict[str, float]]]], title: str) -> Markup:
    """Return grouped bars of the headline metrics and their mean, with 95 % whiskers.

    Args:
        groups: label and pooled metrics of each group.
        title: what it shows, for readers who do not see it.
    """
    width, gap, left, high = 9.0, 16.0, 22.0, 130.0
    step = len(PRINTED) * width + width + gap
    total = left + step * len(groups)
    shapes = [
        Markup('<path class="g" d="M{} {}H{}"/><text class="t" x="{}" y="{}">{}</text>').format(
            _n(left), _n(y), _n(total), _n(left - 3), _n(y + 3), tick
        )
        for tick in ("0", "0.5", "1")
        for y in [10 + high * (1 - float(tick))]
    ]
    for place, (label, pooled) in enumerate(groups):
        start = left + gap / 2 + place * step
        shapes += _group(start, width, high, pooled)
        shapes.append(
            Markup('<text class="t m" x="{}" y="{}">{}</text>').format(
                _n(start + 2.5 * width), _n(high + 22), label
            )
        )
    return Markup(
        '<svg class="bars" width="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(
        *(_n(1.75 * total), _n(total), _n(high + 28)),
        *(f"{title}; the table beside it has the numbers", _joined(shapes)),
    )


def _group(
    start: float, width: float, high: float, pooled: dict[str, dict[str, Any]]
) -> list[Markup]:
    shapes = []
    for place, metric in enumerate(PRINTED):
        found = pooled[metric.name]
        value, x = found["value"], start + place * width
        low, top = (10 + high * (1 - found[end]) for end in ("low", "high"))
        shapes.append(
            Markup(
                '<rect class="s{}" x="{}" y="{}" width="{}" height="{}"/><path class="w" d="M{} {}V{}"/>'
            ).format(
                *(place, _n(x), _n(10 + high * (1 - value)), _n(width - 1), _n(high * value)),
                *(_n(x + (width - 1) / 2), _n(low), _n(top)),
            )
        )
    mean, x = average(pooled), start + len(PRINTED) * width
    y = 10 + high * (1 - mean)
    shapes.append(Markup('<path class="mean" d="M{} {}h{}"/>').format(_n(x), _n(y), _n(width - 1)))
    return shapes


def average(pooled: dict[str, dict[str, float]]) -> float:
    """Return the mean of the headline metrics, the preprint's average score."""
    return fmean(pooled[metric.name]["value"] for metric in PRINTED)


def _joined(shapes: Sequence[Markup]) -> Markup:
    return Markup("").join(shapes)
