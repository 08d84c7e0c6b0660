"""Tables of counts of patients that may be published: small counts are hidden, and stay hidden.

A count of 1 or 2 is a primary suppression. Totals of rows (and columns) are public, so a hidden cell can
often be worked out from the others; further cells are hidden until none of them can.
Source: Hundepool et al. 2012, Statistical Disclosure Control, doi:10.1002/9781118348239, chapter 4.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

K: Final = 3
"""Smallest count that is shown, and fewest patients that share their public values."""
SMALL: Final = f"<{K}"
HIDDEN: Final = "n.s."
"""Not shown."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def suppressed(counts: Ints, *, columns: bool = True) -> list[list[str]]:
    """Return the cells of a table of counts as text, with small ones hidden.

    Args:
        counts: (rows, columns) counts, whose row totals are public.
        columns: the column totals are public as well.
    """
    small = (counts > 0) & (counts < K)
    hidden, told = small.copy(), small.copy()
    given_up = np.zeros_like(small)
    while True:
        low, high = bounds(counts, hidden, told, columns=columns)
        exposed = np.argwhere(small & (low == high) & ~given_up)
        if not exposed.size:
            break
        row, column = exposed[0].tolist()
        found = _protected(counts, hidden, told, (row, column), columns=columns)
        if found is None:
            given_up[row, column] = True
        else:
            hidden, told = found
    return [
        [
            str(count) if not hides else SMALL if tells else HIDDEN
            for count, hides, tells in zip(*line, strict=True)
        ]
        for line in zip(counts.tolist(), hidden.tolist(), told.tolist(), strict=True)
    ]


def bounds(counts: Ints, hidden: Bools, told: Bools, *, columns: bool) -> tuple[Ints, Ints]:
    """Return what a reader can work out of every cell: its smallest and its largest possible count.

    Args:
        counts: (rows, columns) true counts.
        hidden: cells that are not shown.
        told: hidden cells that are shown to be 1 or 2.
        columns: the column totals are public, besides those of the rows.
    """
    low = np.where(hidden, np.where(told, 1, 0), counts)
    high = np.where(hidden, np.where(told, K - 1, counts.sum()), counts)
    while True:
        before = low.copy(), high.copy()
        low, high = _narrowed(counts.sum(axis=1), low, high)
        if columns:
            low_t, high_t = _narrowed(counts.sum(axis=0), low.T, high.T)
            low, high = low_t.T, high_t.T
        if (low == before[0]).all() and (high == before[1]).all():
            return low, high


def _narrowed(totals: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Use that each line sums to its total."""
    others_low = low.sum(axis=1, keepdims=True) - low
    others_high = high.sum(axis=1, keepdims=True) - high
    return (
        np.maximum(low, totals[:, None] - others_high),
        np.minimum(high, totals[:, None] - others_low),
    )


def _protected(
    counts: Ints, hidden: Bools, told: Bools, cell: tuple[int, int], *, columns: bool
) -> tuple[Bools, Bools] | None:
    """Return what to hide, and of what to tell that it is small, so that a cell is not exposed.

    None where nothing helps: the totals alone give the cell away.
    """
    for telling in (told, np.zeros_like(told)):
        for more in _candidates(counts, hidden, cell, columns=columns):
            low, high = bounds(counts, hidden | more, telling, columns=columns)
            if low[cell] < high[cell]:
                return hidden | more, telling
    return None


def _candidates(
    counts: Ints, hidden: Bools, cell: tuple[int, int], *, columns: bool
) -> list[Bools]:
    """Return sets of cells that may hide a cell, cheapest first.

    With totals of rows and columns these are the other corners of a rectangle, else a cell of the row.
    """
    row, column = cell
    ranked = []
    for other in (c for c in range(counts.shape[1]) if c != column):
        for partner in (r for r in range(counts.shape[0]) if r != row) if columns else [row]:
            corners = (
                {(row, other), (partner, column), (partner, other)} if columns else {(row, other)}
            )
            fresh = sorted(at for at in corners if not hidden[at])
            cost = (sum(counts[at] == 0 for at in fresh), sum(counts[at] for at in fresh))
            ranked.append((cost, fresh))
    masks = []
    for _, fresh in sorted(ranked):
        mask = np.zeros_like(hidden)
        for at in fresh:
            mask[at] = True
        masks.append(mask)
    return masks
