"""The ways in which a row can be what it is declared to be: pooled or fold mean, rounded or cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ictmri_benchmark.audit.fold_means import Solution, solve
from ictmri_benchmark.audit.identities import common, exceeds_harmonic_mean, tied_to_accuracy
from ictmri_benchmark.audit.pooled import nearest_count
from ictmri_benchmark.audit.rounding import Digits, Interval
from ictmri_benchmark.audit.rows import Row
from ictmri_benchmark.audit.scores import Finding, Possible, intervals_of, possible, scores_at

Aggregation = Literal["pooled", "fold-mean"]
_ORDER: Final[tuple[tuple[Aggregation, Digits], ...]] = (
    ("pooled", "rounded"),
    ("fold-mean", "rounded"),
    ("pooled", "cut off"),
    ("fold-mean", "cut off"),
    ("fold-mean", "folds rounded first"),
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way, and whether all printed numbers can have come about in it.

    Attributes:
        reason: why it does not fit, or is open.
        correct: of a pooled accuracy, the number of cases that are right.
        solution: of a fold mean, its most even solution.
        findings: of a pooled accuracy, what precision, recall and F1 allow.
    """

    aggregation: Aggregation
    digits: Digits
    verdict: Possible
    reason: str
    correct: int | None = None
    solution: Solution | None = None
    findings: tuple[Finding, ...] = ()


def ways(row: Row, budget: int) -> list[Way]:
    """Return the ways that the declaration leaves open, up to the first one that fits."""
    tried: list[Way] = []
    for aggregation, digits in _ORDER:
        if aggregation not in _declared(row):
            continue
        tried.append(
            _pooled(row, digits, budget) if aggregation == "pooled" else _mean(row, digits)
        )
        if tried[-1].verdict == "fits":
            break
    return tried


def _declared(row: Row) -> tuple[str, ...]:
    if row.fold_sizes == {}:
        return ("pooled",)
    return (row.aggregation,) if row.aggregation else ("pooled", "fold-mean")


def _pooled(row: Row, digits: Digits, budget: int) -> Way:
    intervals = intervals_of(row, digits)
    allowed = common(intervals, row.averaging)
    if allowed is None or exceeds_harmonic_mean(intervals):
        return Way("pooled", digits, "does not fit", _unrelated(row, allowed))
    if row.n is None:
        return Way("pooled", digits, "not decided", "the number of cases is not declared")
    if not allowed.counts(row.n):
        return Way("pooled", digits, "does not fit", f"no k/{row.n}")
    if "accuracy" not in intervals:
        return Way("pooled", digits, "not decided", "no accuracy is reported")
    findings = tuple(scores_at(row, row.n, digits, budget, row.class_counts))
    verdict, reason = _of_findings(row, findings)
    return Way("pooled", digits, verdict, reason, nearest_count(allowed, row.n), None, findings)


def _of_findings(row: Row, findings: tuple[Finding, ...]) -> tuple[Possible, str]:
    if not findings or possible(findings) != "does not fit":
        return "fits", ""
    reason = f"no confusion matrix of {row.n} cases gives all numbers"
    if row.averaging:
        return "does not fit", reason
    tried = "under macro, weighted or micro averaging; the averaging is not declared"
    return "not decided", f"{reason} {tried}"


def _mean(row: Row, digits: Digits) -> Way:
    intervals = intervals_of(row, digits)
    allowed = common(intervals, row.averaging)
    if allowed is None or exceeds_harmonic_mean(intervals):
        return Way("fold-mean", digits, "does not fit", _unrelated(row, allowed))
    if not row.fold_sizes:
        return Way("fold-mean", digits, "not decided", "the sizes of the folds are not declared")
    try:
        solution = solve(row.fold_sizes, allowed)
    except OverflowError:
        return Way("fold-mean", digits, "not decided", "too many combinations of folds to list")
    if solution is None:
        reason = f"no mean of {sum(row.fold_sizes.values())} folds"
        return Way("fold-mean", digits, "does not fit", reason)
    if "accuracy" not in intervals:
        return Way("fold-mean", digits, "not decided", "no accuracy is reported")
    return Way("fold-mean", digits, "fits", "", None, solution)


def _unrelated(row: Row, allowed: Interval | None) -> str:
    if allowed is None:
        names = ", ".join(tied_to_accuracy(row.averaging))
        return f"{row.averaging} {names} and accuracy are one number, and differ here"
    return "F1 is above 2PR/(P+R)"
