"""The badge of a row: one of four. It says what arithmetic allows, and nothing about why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from ictmri_benchmark.audit.fold_means import Solution
from ictmri_benchmark.audit.printed import Digits, listed, probability, ratio
from ictmri_benchmark.audit.relations import JOINT_LIMIT, fitting_sizes, is_usual_share
from ictmri_benchmark.audit.rows import Row
from ictmri_benchmark.audit.ways import ScoreFit, Way, possible, score_fits

Code = Literal["consistent", "smaller-test-set", "not-consistent", "not-enough-information"]
TEXTS: Final[dict[Code, str]] = {
    "consistent": "consistent with the declared protocol",
    "smaller-test-set": "consistent only with a smaller test set (n in {{{sizes}}})",
    "not-consistent": "not consistent with the declared protocol",
    "not-enough-information": "not enough information",
}
READINGS: Final[dict[Digits, str]] = {
    "rounded": "",
    "cut off": ", only if the digits were cut off, not rounded",
    "folds rounded first": ", only if the folds' values were rounded before they were averaged",
}
SHOWN: Final = 5
UNEVEN: Final = Fraction(1, 1000)
"""Fisher's p below which folds are called uneven."""


@dataclass(frozen=True, slots=True)
class Badge:
    """The badge and what it rests on, in words, as it stands in the audit's JSON.

    Attributes:
        uneven_folds: it is consistent, but only with folds that differ at p < 0.001.
        test_sets: for a smaller test set, the sizes that are left, ascending.
    """

    code: Code
    text: str
    because: str
    uneven_folds: bool = False
    test_sets: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SmallerSets:
    """Sizes of one test set that give the printed accuracy, below the declared number of cases.

    Attributes:
        all: every size, ascending.
        asked: the smallest and the usual shares, whose precision, recall and F1 were looked at.
        fits: what was found there.
    """

    all: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    fits: tuple[ScoreFit, ...] = ()

    @property
    def left(self) -> tuple[int, ...]:
        """The sizes that precision, recall and F1 do not exclude."""
        here = {n: [fit for fit in self.fits if fit.n == n] for n in self.all}
        return tuple(n for n, fits in here.items() if possible(fits) != "does not fit")


def smaller_sets(row: Row, tried: Sequence[Way], budget: int) -> SmallerSets:
    """Return the test sets that give the accuracy.

    The smallest and the usual ones are looked into, unless all cases together fit already.
    """
    if row.n is None or "accuracy" not in row.printed:
        return SmallerSets()
    limit = min(row.n - 1, JOINT_LIMIT)
    sizes = fitting_sizes([row.printed["accuracy"].interval()], limit)
    usual = [n for n in sizes if is_usual_share(n, row.n)]
    asked = tuple(sorted({*sizes[:SHOWN], *usual[:SHOWN]}))
    if any(way.aggregation == "pooled" and way.verdict == "fits" for way in tried):
        return SmallerSets(tuple(sizes))
    fits = [fit for n in asked for fit in score_fits(row, n, "rounded", budget)]
    return SmallerSets(tuple(sizes), asked, tuple(fits))


def badge(row: Row, tried: Sequence[Way], smaller: SmallerSets) -> Badge:
    """Return the badge of a row."""
    for way in tried:
        if way.verdict == "fits":
            return Badge("consistent", TEXTS["consistent"], _how(row, way), _uneven(way))
    because = "; ".join(dict.fromkeys(w.reason for w in tried if w.digits == "rounded"))
    if any(way.verdict == "not decided" for way in tried):
        return Badge("not-enough-information", TEXTS["not-enough-information"], because)
    if smaller.left:
        text = TEXTS["smaller-test-set"].format(sizes=listed(smaller.left, SHOWN))
        return Badge("smaller-test-set", text, because, test_sets=list(smaller.left))
    if smaller.all:
        because += (
            f"; one test set of {listed(smaller.all, SHOWN)} cases would give the accuracy, but not "
            "precision, recall and F1"
        )
    return Badge("not-consistent", TEXTS["not-consistent"], because)


def solution_text(solution: Solution) -> str:
    """Say in words how even the most even solution is."""
    odd, (correct, cases) = solution.odd, solution.others
    folds = f"{odd.folds} fold{'s' if odd.folds > 1 else ''} of {odd.size}"
    if not cases:
        return f"{ratio(odd.correct, odd.cases)} in {folds}"
    p = "" if solution.p is None else f" (Fisher's p = {probability(solution.p)})"
    return f"{ratio(odd.correct, odd.cases)} in {folds}, {ratio(correct, cases)} in the others{p}"


def _how(row: Row, way: Way) -> str:
    if way.solution:
        how = f"as a mean of folds, most evenly {solution_text(way.solution)}{READINGS[way.digits]}"
        return how + ("; no more even folds give this value" if _uneven(way) else "")
    shown = ratio(way.correct or 0, row.n or 1, row.printed["accuracy"].percent_decimals)
    return f"as the accuracy over all cases: {shown}{READINGS[way.digits]}"


def _uneven(way: Way) -> bool:
    p = way.solution.p if way.solution else None
    return p is not None and p < UNEVEN
