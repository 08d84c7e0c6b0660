"""The numbers that the page's script compares entries with, as compact JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ictmri_benchmark.board.page.rows import Shown
from ictmri_benchmark.score.metrics import RANK_KEY
from ictmri_benchmark.score.protocol import ALPHA

_DIGITS: Final = 6


def payload(board: dict[str, Any], entries: Sequence[Shown]) -> dict[str, Any]:
    """Return the ranked entries and their pairs.

    A pair is ``[first, second, difference, low, high, p, mcnemar_p, first_only, second_only]`` with places
    in ``entries``; the difference is the second minus the first.
    """
    ranked = [entry.row for entry in entries if entry.row["ranked"]]
    places = {row["slug"]: place for place, row in enumerate(ranked)}
    return {
        "alpha": ALPHA,
        "n": board["n_cases"],
        "entries": [
            [
                row["slug"],
                row["name"],
                *(_rounded(row["report"]["pooled"][RANK_KEY][k]) for k in _ENDS),
            ]
            for row in ranked
        ],
        "pairs": [
            [places[first], places[second], *map(_rounded, numbers)]
            for first, second, *numbers in board["comparison"]["pairs"]
        ],
    }


_ENDS: Final = ("value", "low", "high")


def _rounded(number: float) -> float:
    return number if isinstance(number, int) else round(number, _DIGITS)
