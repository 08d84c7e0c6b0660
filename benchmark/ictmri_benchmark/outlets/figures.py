"""Figures and tables for papers: the board as a forest plot, and the preprint's Figure 7 from its entries.

Each is written as SVG and PNG, its numbers as CSV and LaTeX. Equal boards give equal bytes with equal
versions of matplotlib. What was only reported is in none of them.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.classes import CLASS_TITLES
from ictmri.errors import InputError
from ictmri.extras import need
from ictmri.io.files import write_bytes, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.tables import SYNTHETIC, Table
from ictmri_benchmark.board.page.numbers import average
from ictmri_benchmark.board.page.sections import (
    RecipeBars,
    ShownEntry,
    paper_figures,
    shades,
    shown_entries,
    tiers,
)
from ictmri_benchmark.board.page.tables import board_table
from ictmri_benchmark.score.metrics import PRINTED, RANK_KEY, RANKED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Final[Any] = {
    "axes.edgecolor": "#526072",
    "axes.labelcolor": "#18202c",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 8,
    "savefig.dpi": 300,
    "svg.hashsalt": "ictmri",
    # A name is text: a dollar in it begins no formula.
    "text.parse_math": False,
}
_WIDTH: Final = 6.5
"""Inches: the text of a page."""
_INK, _SOFT, _ACCENT, _BAND, _PALE, _WARN = (
    *("#18202c", "#526072", "#1c5aa8", "#dfe9f6", "#eef2f7", "#7a3e00"),
)
_COLOURS: Final = ("#1c5aa8", "#b3560c", "#17705a", "#7a4296")
"""Of the printed metrics; told apart by colour-blind readers and in grey."""
_NUMBERED: Final = {ord(sign): f"({number})" for number, sign in enumerate("①②③④⑤", start=1)}
_LONGEST: Final = 52


def write_figures(folder: AnyPath, board: dict[str, Any]) -> list[Path]:
    """Write what can be drawn of a board and return the files, those of a figure one after the other.

    The forest plot needs an entry, the ablation and the backbones one of their recipes' runs.

    Args:
        folder: to write into.
        board: content of leaderboard.json.

    Raises:
        InputError: the board has no scored entry.
        MissingDependencyError: matplotlib is not installed.
    """
    folder = at_home(folder)
    need("figures", "Drawing figures")
    folder = at_home(folder)
    entries = shown_entries(board)
    if not entries:
        problem = f"the board of {board['cohort']} has no scored entry to draw"
        raise InputError("figures", [problem], "make one: ictmri reproduce --help")
    found = paper_figures(board, entries)
    drawings: dict[str, tuple[Table, Callable[[], Figure]]] = {
        "forest": (board_table(board, in_print=True), partial(_forest, entries)),
        "confusion": (
            _confusion_table(board, found["matrix"]),
            partial(_confusion, found["matrix"]),
        ),
    }
    for part, title in (("ablation", "Ablation of the modules"), ("backbones", "Backbones")):
        bars = [bar for bar in found[part] if bar.entry]
        if bars:
            drawings[part] = (_ladder_table(board, title, bars), partial(_ladder, bars))
    written = []
    for name, (table, draw) in drawings.items():
        with _style():
            figure = draw()
            if board["synthetic"]:
                figure.text(0.995, 0.995, SYNTHETIC, color=_WARN, ha="right", va="top", size=7)
            for form in ("svg", "png"):
                written.append(folder / f"{name}.{form}")
                write_bytes(written[-1], _saved(figure, form))
        for suffix, text in (("csv", table.csv()), ("tex", table.latex())):
            written.append(folder / f"{name}.{suffix}")
            write_text(written[-1], text.rstrip("\n") + "\n")
    return written


@contextmanager
def _style() -> Iterator[None]:
    """Draw with our settings and matplotlib's own, whatever the user's are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _saved(figure: Figure, form: str) -> bytes:
    stream = io.BytesIO()
    # Neither the date nor the version of the software.
    nothing = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[form]
    figure.savefig(stream, format=form, metadata=nothing)
    return stream.getvalue()


def _new(height: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    # A strip above the axes is left for the mark of a synthetic cohort.
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.2 / height))  # type: ignore[union-attr,call-arg]
    return figure, figure.add_subplot()


def _forest(entries: Sequence[ShownEntry]) -> Figure:
    """Draw each entry's rank key with its interval, tier by tier; the band is the first's interval."""
    figure, axis = _new(0.24 * len(entries) + 0.75)
    first = entries[0].row["report"]["pooled"][RANK_KEY]
    axis.axvspan(first["low"], first["high"], color=_BAND, lw=0)
    place = 0
    for number, tier in enumerate(tiers(entries)):
        if number % 2 == 0:
            axis.axhspan(place - 0.5, place + len(tier.entries) - 0.5, color=_PALE, lw=0, zorder=0)
        for entry in tier.entries:
            value = entry.row["report"]["pooled"][RANK_KEY]
            axis.plot([value["low"], value["high"]], [place, place], color=_SOFT, lw=1.2)
            fill = _ACCENT if entry.row["ranked"] else "white"
            axis.plot(value["value"], place, "o", ms=4.5, mfc=fill, mec=_ACCENT)
            told = f"{RANKED.with_interval(value)}   {entry.place}"
            axis.text(1.02, place, told, va="center", size=7, clip_on=False)
            place += 1
    axis.set_yticks(range(len(entries)), [_short(entry.row["name"]) for entry in entries])
    axis.set(xlim=(0, 1), ylim=(len(entries) - 0.5, -0.5))
    axis.set_xlabel(f"{RANKED.short}, pooled out-of-fold, with 95 % interval")
    axis.text(1.02, -0.75, f"{RANKED.short} [95 %]   rank", color=_SOFT, size=7, clip_on=False)
    axis.grid(axis="x", color="#d8dce2", lw=0.5)
    axis.set_axisbelow(True)
    axis.tick_params(left=False)
    return figure


def _ladder(bars: Sequence[RecipeBars]) -> Figure:
    """Draw grouped bars of the printed metrics with their intervals, and their mean."""
    figure, axis = _new(2.9)
    width = 0.8 / (len(PRINTED) + 1)
    for number, metric in enumerate(PRINTED):
        found = [_pooled(bar)[metric.name] for bar in bars]
        places = [group - 0.4 + (number + 0.5) * width for group in range(len(bars))]
        values = [one["value"] for one in found]
        ends = [
            [one["value"] - one["low"] for one in found],
            [one["high"] - one["value"] for one in found],
        ]
        label = metric.plain.capitalize()
        axis.bar(places, values, 0.9 * width, color=_COLOURS[number], label=label)
        axis.errorbar(places, values, yerr=ends, fmt="none", ecolor=_INK, elinewidth=0.8)
    means = [average(_pooled(bar)) for bar in bars]
    left = [group + 0.4 - width for group in range(len(bars))]
    right = [group + 0.4 for group in range(len(bars))]
    axis.hlines(means, left, right, color=_INK, lw=2, label="Average")
    titles = [textwrap.fill(bar.title.translate(_NUMBERED), 15) for bar in bars]
    axis.set_xticks(range(len(bars)), titles)
    axis.set(ylim=(0, 1), xlim=(-0.6, len(bars) - 0.4))
    axis.set_ylabel("macro mean, 95 % interval")
    axis.grid(axis="y", color="#d8dce2", lw=0.5)
    axis.set_axisbelow(True)
    handles, labels = axis.get_legend_handles_labels()
    # Lines come first by themselves; the mean belongs after what it is of.
    order = [*range(1, len(labels)), 0]
    figure.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="outside lower center",
        ncols=len(order),
        frameon=False,
    )
    return figure


def _confusion(entry: ShownEntry) -> Figure:
    """Draw the counts of an entry and their share of the row."""
    figure, axis = _new(3.5, 4.2)
    cells = shades(entry.row["report"]["confusion"])
    shares = [[share / 100 for _, share, _ in row] for row in cells]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(cells):
        for x, (count, share, _) in enumerate(row):
            colour = "white" if share > 55 else _INK
            axis.text(x, y, f"{share} %\n{count}", ha="center", va="center", color=colour)
    titles = list(CLASS_TITLES.values())
    axis.set_xticks(range(len(titles)), titles)
    axis.set_yticks(range(len(titles)), titles)
    axis.set(xlabel="predicted", ylabel="truth")
    axis.set_title(f"{_short(entry.row['name'])}\nshare of each true class, and cases", size=8)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _ladder_table(board: dict[str, Any], title: str, bars: Sequence[RecipeBars]) -> Table:
    rows = [
        {
            "entry": bar.title.translate(_NUMBERED),
            **{metric.plain: _pooled(bar)[metric.name] for metric in PRINTED},
            "average": average(_pooled(bar)),
        }
        for bar in bars
    ]
    about = f"{title} on {board['cohort']}: macro means over {board['n_cases']} cases with 95 % intervals"
    return Table.of(rows, title=about, synthetic=board["synthetic"])


def _confusion_table(board: dict[str, Any], entry: ShownEntry) -> Table:
    titles = list(CLASS_TITLES.values())
    rows = [
        {"truth": title, **dict(zip(titles, row, strict=True))}
        for title, row in zip(titles, entry.row["report"]["confusion"], strict=True)
    ]
    over = " summed over seeds" if len(entry.row["report"]["seeds"]) > 1 else ""
    about = f"{entry.row['name']} on {board['cohort']}: cases{over}, rows are the truth"
    return Table.of(rows, title=about, synthetic=board["synthetic"])


def _pooled(bar: RecipeBars) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = bar.entry.row["report"]["pooled"]  # type: ignore[union-attr]
    return found


def _short(text: str) -> str:
    return textwrap.shorten(text, _LONGEST, placeholder=" …")
