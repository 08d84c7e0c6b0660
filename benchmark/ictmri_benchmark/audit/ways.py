"""The ways in which a row can be what it is declared to be.

Its accuracy may be pooled or a fold mean, its digits rounded or cut off; and precision, recall and F1 must
go together with it: what a confusion matrix of that size can give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ictmri_benchmark.audit.fold_means import Solution, solve
from ictmri_benchmark.audit.matrices import (
    Averaging,
    Cell,
    MatrixAnswer,
    MatrixQuestion,
    Possible,
    search,
)
from ictmri_benchmark.audit.printed import Digits, ValueRange
from ictmri_benchmark.audit.relations import (
    common,
    exceeds_harmonic_mean,
    harmonic_mean,
    is_harmonic_mean,
    nearest_count,
    tied_to_accuracy,
)
from ictmri_benchmark.audit.rows import Row

Aggregation = Literal["pooled", "fold-mean"]
CLASS_MEAN: Final = "mean of the classes' F1"
HARMONIC: Final = "2PR/(P+R)"
_MAX_CANDIDATES: Final = 20
_ORDER: Final[tuple[tuple[Aggregation, Digits], ...]] = (
    ("pooled", "rounded"),
    ("fold-mean", "rounded"),
    ("pooled", "cut off"),
    ("fold-mean", "cut off"),
    ("fold-mean", "folds rounded first"),
)


@dataclass(frozen=True, slots=True)
class ScoreFit:
    """Whether one way to average, on ``n`` cases, can give all printed numbers.

    Attributes:
        n: number of cases.
        averaging: over the classes.
        rule: how F1 was averaged; empty where that makes no difference.
        verdict: whether it can.
        example: (TP, FN, FP) by class of a matrix that does.
    """

    n: int
    averaging: str
    rule: str
    verdict: Possible
    example: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way, and whether all printed numbers can have come about in it.

    Attributes:
        reason: why it does not fit, or is open.
        correct: of a pooled accuracy, the number of cases that are right.
        solution: of a fold mean, its most even solution.
        fits: of a pooled accuracy, what precision, recall and F1 allow.
    """

    aggregation: Aggregation
    digits: Digits
    verdict: Possible
    reason: str
    correct: int | None = None
    solution: Solution | None = None
    fits: tuple[ScoreFit, ...] = ()


def ways(row: Row, budget: int) -> list[Way]:
    """Return the ways that the declaration leaves open, up to the first one that fits."""
    declared = (row.aggregation,) if row.aggregation else ("pooled", "fold-mean")
    tried: list[Way] = []
    for aggregation, digits in _ORDER:
        # Cases that are one test set have no folds to average over.
        if aggregation in (("pooled",) if row.fold_sizes == {} else declared):
            tried.append(_way(row, aggregation, digits, budget))
            if tried[-1].verdict == "fits":
                break
    return tried


def _way(row: Row, aggregation: Aggregation, digits: Digits, budget: int) -> Way:
    ranges = ranges_of(row, digits)
    allowed = common(ranges, row.averaging)
    if allowed is None:
        names = ", ".join(tied_to_accuracy(row.averaging))
        reason = f"{row.averaging} {names} and accuracy are one number, and differ here"
        return Way(aggregation, digits, "does not fit", reason)
    if exceeds_harmonic_mean(ranges):
        return Way(aggregation, digits, "does not fit", "F1 is above 2PR/(P+R)")
    if aggregation == "pooled":
        return _pooled(row, digits, allowed, budget)
    return _fold_mean(row, digits, allowed)


def _pooled(row: Row, digits: Digits, allowed: ValueRange, budget: int) -> Way:
    if row.n is None:
        return Way("pooled", digits, "not decided", "the number of cases is not declared")
    if not allowed.counts(row.n):
        return Way("pooled", digits, "does not fit", f"no k/{row.n}")
    if "accuracy" not in row.printed:
        return Way("pooled", digits, "not decided", "no accuracy is reported")
    fits = tuple(score_fits(row, row.n, digits, budget, row.class_counts))
    verdict: Possible = "fits"
    reason = ""
    if fits and possible(fits) == "does not fit":
        verdict, reason = "does not fit", f"no confusion matrix of {row.n} cases gives all numbers"
        if not row.averaging:
            verdict = "not decided"
            reason += " under macro, weighted or micro averaging; the averaging is not declared"
    return Way("pooled", digits, verdict, reason, nearest_count(allowed, row.n), None, fits)


def _fold_mean(row: Row, digits: Digits, allowed: ValueRange) -> Way:
    if not row.fold_sizes:
        return Way("fold-mean", digits, "not decided", "the sizes of the folds are not declared")
    try:
        solution = solve(row.fold_sizes, allowed)
    except OverflowError:
        return Way("fold-mean", digits, "not decided", "too many combinations of folds to list")
    if solution is None:
        reason = f"no mean of {sum(row.fold_sizes.values())} folds"
        return Way("fold-mean", digits, "does not fit", reason)
    if "accuracy" not in row.printed:
        return Way("fold-mean", digits, "not decided", "no accuracy is reported")
    return Way("fold-mean", digits, "fits", "", None, solution)


def ranges_of(row: Row, digits: Digits) -> dict[str, ValueRange]:
    """Return by metric the values that the printed numbers can stand for."""
    return {name: printed.interval(digits) for name, printed in row.printed.items()}


def score_fits(
    row: Row, n: int, digits: Digits, budget: int, class_counts: tuple[int, ...] | None = None
) -> list[ScoreFit]:
    """Ask for each averaging that is declared or, where none is, that is usual.

    Args:
        row: the reported numbers; without accuracy, or with nothing beside it, nothing is asked.
        n: number of cases of the confusion matrix.
        digits: how the numbers were printed.
        budget: steps for each question.
        class_counts: cases by class, None = every division.
    """
    ranges = ranges_of(row, digits)
    if "accuracy" not in ranges or len(ranges) < 2:
        return []
    found: list[ScoreFit] = []
    for averaging in (row.averaging,) if row.averaging else ("macro", "weighted", "micro"):
        allowed = common(ranges, averaging)
        counts = allowed.counts(n) if allowed else range(0)
        if not counts or averaging == "micro":
            found.append(ScoreFit(n, averaging, "", "fits" if counts else "does not fit"))
            continue
        kind: Averaging = "weighted" if averaging == "weighted" else "macro"
        for rule, targets, harmonic in _rules(row, ranges, kind):
            if isinstance(targets, str):
                answer = MatrixAnswer(targets)
            elif len(counts) > _MAX_CANDIDATES:
                answer = MatrixAnswer("not decided")
            else:
                questions = [
                    MatrixQuestion(n, k, kind, targets, harmonic, row.n_classes, class_counts)
                    for k in counts
                ]
                answer = _any(questions, budget)
            found.append(ScoreFit(n, averaging, rule, answer.verdict, answer.example))
    return found


def possible(fits: Sequence[ScoreFit | MatrixAnswer]) -> Possible:
    """Return whether any of them fits, or none, or whether that is open."""
    verdicts = {fit.verdict for fit in fits}
    order: tuple[Possible, ...] = ("fits", "not decided", "does not fit")
    return next((verdict for verdict in order if verdict in verdicts), "not decided")


def _rules(
    row: Row, ranges: Mapping[str, ValueRange], averaging: Averaging
) -> Iterator[tuple[str, dict[str, ValueRange] | Possible, ValueRange | None]]:
    """Yield each rule of F1 with its targets, or with the verdict where no search is needed."""
    asked = ("precision", "f1") if averaging == "weighted" else ("precision", "recall", "f1")
    targets = {name: ranges[name] for name in asked if name in ranges}
    if "f1" not in ranges:
        yield "", targets or "fits", None
        return
    yield CLASS_MEAN, "does not fit" if exceeds_harmonic_mean(ranges) else targets, None
    if not {"precision", "recall"} <= ranges.keys():
        yield HARMONIC, "not decided", None
        return
    precision, recall = ranges["precision"], ranges["recall"]
    # The low end of a rounded 0 is below 0, where the harmonic mean means nothing.
    lowest = harmonic_mean(max(precision.low, precision.low * 0), max(recall.low, recall.low * 0))
    reach = ValueRange(lowest, harmonic_mean(precision.high, recall.high))
    of_printed = is_harmonic_mean(row.printed)
    if not of_printed and not reach.meets(ranges["f1"]):
        yield HARMONIC, "does not fit", None
        return
    averaged = {name: target for name, target in targets.items() if name != "f1"}
    yield HARMONIC, averaged, None if of_printed else ranges["f1"]


def _any(questions: list[MatrixQuestion], budget: int) -> MatrixAnswer:
    """Return the answer for any of several numbers of correct cases."""
    answers = []
    for question in questions:
        answers.append(search(question, budget // len(questions)))
        if answers[-1].verdict == "fits":
            return answers[-1]
    return MatrixAnswer(possible(answers))
