"""What a detector did over a cohort: slices, boxes, problems by name, tokens and money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ictmri_baselines.localizer.boxes import SliceBoxes
from ictmri_baselines.localizer.vlm.replies import PROBLEMS

_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over rows.

    Attributes:
        slices: rows, among them ``with_boxes``.
        boxes: on all slices.
        problems: number of slices by code, in the order of ``PROBLEMS``; only what occurred.
        prompt_tokens: read by the model; 0 where nobody counted.
        completion_tokens: written by it.
    """

    slices: int
    with_boxes: int
    boxes: int
    problems: dict[str, int]
    prompt_tokens: int
    completion_tokens: int

    def cost(self, price_in: float, price_out: float) -> float:
        """Return the cost of the tokens, given the prices of a million."""
        return (self.prompt_tokens * price_in + self.completion_tokens * price_out) / _MILLION


def tally(rows: Iterable[SliceBoxes]) -> Tally:
    """Return the counts over the rows of any number of cases."""
    rows = list(rows)
    found = Counter(code for row in rows for code in row.problems)
    tokens = [row.tokens for row in rows if row.tokens]
    return Tally(
        slices=len(rows),
        with_boxes=sum(bool(row.boxes) for row in rows),
        boxes=sum(len(row.boxes) for row in rows),
        problems={code: found[code] for code in PROBLEMS if found[code]},
        prompt_tokens=sum(count.prompt for count in tokens),
        completion_tokens=sum(count.completion for count in tokens),
    )
