"""Precision, recall and F1 together: what a confusion matrix of a given size can give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ictmri_benchmark.audit.feasibility import Answer, Averaging, Cell, Question, search
from ictmri_benchmark.audit.identities import (
    common,
    exceeds_harmonic_mean,
    harmonic_mean,
    is_harmonic_mean,
)
from ictmri_benchmark.audit.rounding import Digits, Interval
from ictmri_benchmark.audit.rows import Row

Possible = Literal["fits", "does not fit", "not decided"]
CLASS_MEAN: Final = "mean of the classes' F1"
HARMONIC: Final = "2PR/(P+R)"
_MAX_CANDIDATES: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one way to compute the scores, on ``n`` cases, can give all printed numbers.

    Attributes:
        rule: how F1 was averaged; empty where that makes no difference.
        example: (TP, FN, FP) by class of a matrix that does.
    """

    n: int
    averaging: str
    rule: str
    verdict: Possible
    example: tuple[Cell, ...] = ()


def intervals_of(row: Row, digits: Digits) -> dict[str, Interval]:
    """Return by metric the values that the printed numbers can stand for."""
    return {name: printed.interval(digits) for name, printed in row.printed.items()}


def scores_at(
    row: Row,
    n: int,
    digits: Digits,
    budget: int,
    class_counts: tuple[int, ...] | None = None,
) -> list[Finding]:
    """Ask for each averaging that is declared or, where none is, that is usual.

    Args:
        row: the reported numbers; without accuracy, or with nothing beside it, nothing is asked.
        n: number of cases of the confusion matrix.
        digits: how the numbers were printed.
        budget: steps for each question.
        class_counts: cases by class, None = every division.
    """
    intervals = intervals_of(row, digits)
    if "accuracy" not in intervals or len(intervals) < 2:
        return []
    found: list[Finding] = []
    for averaging in (row.averaging,) if row.averaging else ("macro", "weighted", "micro"):
        allowed = common(intervals, averaging)
        counts = allowed.counts(n) if allowed else range(0)
        if not counts or averaging == "micro":
            found.append(Finding(n, averaging, "", "fits" if counts else "does not fit"))
            continue
        kind: Averaging = "weighted" if averaging == "weighted" else "macro"
        for rule, targets, harmonic in _rules(row, intervals, kind):
            if isinstance(targets, str):
                answer = Answer(targets)
            elif len(counts) > _MAX_CANDIDATES:
                answer = Answer("not decided")
            else:
                questions = [
                    Question(n, k, kind, targets, harmonic, row.n_classes, class_counts)
                    for k in counts
                ]
                answer = _any(questions, budget)
            found.append(Finding(n, averaging, rule, answer.verdict, answer.example))
    return found


def possible(findings: Sequence[Finding]) -> Possible:
    """Return whether any of the ways fits, or none, or whether that is open."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in ("fits", "not decided", "does not fit"):
        if verdict in verdicts:
            return verdict
    return "not decided"


def _rules(
    row: Row, intervals: Mapping[str, Interval], averaging: Averaging
) -> Iterator[tuple[str, dict[str, Interval] | Possible, Interval | None]]:
    """Yield each rule of F1 with its targets, or with the verdict where no search is needed."""
    asked = ("precision", "f1") if averaging == "weighted" else ("precision", "recall", "f1")
    targets = {name: intervals[name] for name in asked if name in intervals}
    if "f1" not in intervals:
        yield "", targets or "fits", None
        return
    yield CLASS_MEAN, "does not fit" if exceeds_harmonic_mean(intervals) else targets, None
    if not {"precision", "recall"} <= intervals.keys():
        yield HARMONIC, "not decided", None
        return
    precision, recall = intervals["precision"], intervals["recall"]
    reach = Interval(
        harmonic_mean(max(precision.low, precision.low * 0), max(recall.low, recall.low * 0)),
        harmonic_mean(precision.high, recall.high),
    )
    of_printed = is_harmonic_mean(row.printed)
    if not of_printed and not reach.meets(intervals["f1"]):
        yield HARMONIC, "does not fit", None
        return
    averaged = {name: target for name, target in targets.items() if name != "f1"}
    yield HARMONIC, averaged, None if of_printed else intervals["f1"]


def _any(questions: list[Question], budget: int) -> Answer:
    """Return the answer for any of several numbers of correct cases."""
    verdicts = set()
    for question in questions:
        answer = search(question, budget // len(questions))
        if answer.verdict == "fits":
            return answer
        verdicts.add(answer.verdict)
    return Answer("not decided" if "not decided" in verdicts else "does not fit")
