"""What the cohort can and cannot tell, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from ictmri_benchmark.board.comparison import holm
from ictmri_benchmark.board.page.rows import Shown
from ictmri_benchmark.score.protocol import ALPHA

LARGEST_MATRIX: Final = 24
"""Most entries compared each with each: of more pairs, 10,000 permutations could call none after Holm."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Entries that the cohort cannot tell from the best of them; None is the tier of the unranked."""

    number: int | None
    title: str
    entries: tuple[Shown, ...]


def tiers(entries: Sequence[Shown]) -> list[Tier]:
    """Return the tiers in the order of the board, the unranked entries last."""
    last = max((e.row["tier"] for e in entries if e.row["ranked"]), default=0)
    grouped = groupby(entries, key=lambda e: e.row["tier"] if e.row["ranked"] else None)
    return [_tier(number, tuple(members), last) for number, members in grouped]


def _tier(number: int | None, members: tuple[Shown, ...], last: int) -> Tier:
    if number is None:
        title = "Unranked: the model was chosen by looking at the test folds"
    elif len(members) == 1:
        title = f"Tier {number}: one entry" + (
            ", told apart from the next" if number < last else ""
        )
    else:
        title = f"Tier {number}: {len(members)} entries that this cohort cannot tell from the best of them"
    return Tier(number, title, members)


@dataclass(frozen=True, slots=True)
class Lead:
    """The entry with the highest rank key, those that cannot be told from it, and how many can."""

    first: Shown
    beside: tuple[Shown, ...]
    behind: int


def lead(entries: Sequence[Shown]) -> Lead | None:
    """Return who leads, None where nothing is ranked."""
    ranked = [entry for entry in entries if entry.row["ranked"]]
    if not ranked:
        return None
    beside = tuple(entry for entry in ranked[1:] if entry.row["behind_first"]["p_holm"] >= ALPHA)
    return Lead(ranked[0], beside, len(ranked) - 1 - len(beside))


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every ranked entry against every other.

    Attributes:
        entries: in the order of the board.
        cells: for a row and a column, the row's lead in rank key and whether it can be told; None on the
            diagonal.
        told: pairs told apart after Holm's correction for all of them.
        pairs: number of pairs.
    """

    entries: tuple[Shown, ...]
    cells: tuple[tuple[tuple[float, bool] | None, ...], ...]
    told: int
    pairs: int


def matrix(board: dict[str, Any], entries: Sequence[Shown]) -> Matrix | None:
    """Return the comparison of all pairs, None where there are too few or too many entries."""
    ranked = [entry for entry in entries if entry.row["ranked"]]
    if not 1 < len(ranked) <= LARGEST_MATRIX:
        return None
    pairs = [
        dict(zip(board["comparison"]["columns"], p, strict=True))
        for p in board["comparison"]["pairs"]
    ]
    apart = [p < ALPHA for p in holm([pair["p"] for pair in pairs])]
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for pair, told in zip(pairs, apart, strict=True):
        found[pair["first"], pair["second"]] = (-pair["difference"], told)
        found[pair["second"], pair["first"]] = (pair["difference"], told)
    slugs = [entry.row["slug"] for entry in ranked]
    cells = tuple(tuple(found.get((one, other)) for other in slugs) for one in slugs)
    return Matrix(tuple(ranked), cells, sum(apart), len(pairs))


@dataclass(frozen=True, slots=True)
class Gap:
    """The smallest difference of accuracy that can be called when a share of the cases is discordant."""

    share: str
    accuracy: float | None
    cases: int | None


def gaps(board: dict[str, Any]) -> list[Gap]:
    """Return the smallest gaps; None where no difference could be called."""
    found = []
    for share, value in board["resolution"]["smallest_accuracy_gap"].items():
        known = value is not None and math.isfinite(value)
        found.append(
            Gap(
                share.replace("%", " %"),
                value if known else None,
                round(value * board["n_cases"]) if known else None,
            )
        )
    return found
