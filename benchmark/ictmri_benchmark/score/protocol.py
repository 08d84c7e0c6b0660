"""The protocol: every constant that a score depends on, in one place.

Whatever is changed here changes scores: it needs a new :data:`VERSION`, which scores every entry anew.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

BENCHMARK: Final = "ictmri-cv"
VERSION: Final = "1.0.0"
REPORT_SCHEMA: Final = "ictmri/report/1"
LEADERBOARD_SCHEMA: Final = "ictmri/leaderboard/1"
ENTRY_SCHEMA: Final = "ictmri/submission/1"

ZERO_DIVISION: Final = 0.0
"""A class that is absent, or never predicted: leaving it out would raise the score."""
SUM_TOLERANCE: Final = Decimal("0.0001")
"""How far the probabilities of a case, added as written, may sum from 1: rounding to five decimals."""
ROUNDED_SUM: Final = 0.02
"""How far four probabilities of two decimals may sum from 1: dividing by their sum undoes no more."""

N_DRAWS: Final = 10_000
CONFIDENCE: Final = 0.95
NORMAL_QUANTILE: Final = 1.959963984540054
"""Of the standard normal distribution at (1 + CONFIDENCE) / 2."""
MAX_PAIRED_CASES: Final = 20_000
"""Larger cohorts are drawn by cells of the confusion matrix: the same law, not paired between entries."""

N_PERMUTATIONS: Final = 10_000
ALPHA: Final = 0.05
"""Level of the tests that part entries into tiers, after Holm's correction."""

CALIBRATION_BINS: Final = 10
COVERAGES: Final = (80, 90)
"""Percent of the cases, the most certain ones, on which accuracy is shown."""
SMALLEST_GROUP: Final = 20
"""Scores of fewer cases are not shown: their intervals would span half the scale."""

Level = Literal["R0", "R1", "R2", "R3", "R4"]
LEVELS: Final[dict[Level, str]] = {
    "R0": "reported: numbers from a paper, not rescored",
    "R1": "rescored: our evaluator on the submitted predictions",
    "R2": "reproducible: code, environment and command are public",
    "R3": "reproduced: somebody else ran it again",
    "R4": "sealed: scored on labels that the submitter never had",
}
OWN_LEVELS: Final[tuple[Level, ...]] = ("R0", "R1", "R2")
"""What an entry may say of itself; the others are given by the maintainers."""
IntervalKind = Literal["percentile", "bca"]
Selection = Literal["fixed-epoch", "inner-validation", "test-fold"]
Overlap = Literal["yes", "no", "unknown"]
"""Whether cases that are scored may have been learned from."""


def version_key(version: str) -> tuple[int, ...] | None:
    """Return a version as numbers that can be compared, None where it is none."""
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        return None
    return tuple(map(int, parts))
