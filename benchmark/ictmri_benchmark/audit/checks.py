"""The checks of one row: each with its verdict and the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from ictmri_benchmark.audit import fold_means, pooled
from ictmri_benchmark.audit.badges import READINGS, SmallerSets, digits_in_percent, solution_text
from ictmri_benchmark.audit.claims import false_claim
from ictmri_benchmark.audit.identities import (
    exceeds_harmonic_mean,
    harmonic_mean,
    is_harmonic_mean,
)
from ictmri_benchmark.audit.rounding import Digits, Printed
from ictmri_benchmark.audit.rows import Row
from ictmri_benchmark.audit.scores import Finding, intervals_of, possible
from ictmri_benchmark.audit.texts import either, listed, percent, probability, ratio
from ictmri_benchmark.audit.ways import Way
from ictmri_benchmark.score.proportions import wilson

Verdict = Literal[
    "fits", "fits otherwise read", "does not fit", "not decided", "not asked", "computed"
]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one row.

    Attributes:
        code: ``C1`` to ``C7``.
        title: what is asked.
        evidence: the answer in words and numbers, one sentence a line.
        numbers: the same for programs.
    """

    code: str
    title: str
    verdict: Verdict
    evidence: tuple[str, ...]
    numbers: dict[str, Any] = field(default_factory=dict)


def checks(
    row: Row, following: Row | None, tried: Sequence[Way], smaller: SmallerSets
) -> list[Check]:
    """Return all checks of a row.

    Args:
        row: the reported numbers.
        following: the next row that is to be compared with, if any.
        tried: the ways that the declaration leaves open.
        smaller: smaller test sets that give the accuracy.
    """
    return [
        check_pooled(row),
        check_fold_mean(row),
        check_test_sets(row, smaller),
        check_recall(row),
        check_scores(row, tried, smaller),
        check_interval(row, smaller),
        check_claim(row, following),
    ]


def check_pooled(row: Row) -> Check:
    """C1: whether the accuracy is a ratio k / n."""
    title = "accuracy as k/n of all cases"
    printed, n = row.printed.get("accuracy"), row.n
    if printed is None or n is None:
        return _unasked("C1", title, "needs the accuracy and the number of cases")
    digits, decimals = _first_reading(printed, n), digits_in_percent(printed)
    of_folds = {size: printed.interval().counts(size) for size in row.fold_sizes or ()}
    numbers: dict[str, Any] = {
        "n": n,
        "counts": _few(printed.interval(digits).counts(n)) if digits else [],
        "neighbours": list(pooled.neighbours(printed, n)),
        "printable": printed.printable,
        "reachable": min(n + 1, printed.printable),
        "one_fold": {str(size): _few(counts) for size, counts in of_folds.items()},
    }
    below, above = (ratio(k, n, decimals) for k in numbers["neighbours"])
    if digits:
        k = pooled.nearest_count(printed.interval(digits), n)
        lines = [f"{ratio(k, n, decimals)}{READINGS[digits]}"]
    else:
        lines = [f"no k/{n}: {below}, {above}", *_shorter(row, n)]
    lines.append(
        _strength(numbers["reachable"], numbers["printable"], f"such a ratio of {n} cases")
    )
    if of_folds:
        one = ", ".join(
            f"{counts[0]}/{size}" if counts else f"no k/{size}" for size, counts in of_folds.items()
        )
        lines.append(f"of one fold: {one}")
    return Check("C1", title, _verdict(digits), tuple(lines), numbers)


def check_fold_mean(row: Row) -> Check:
    """C2: whether the accuracy is the plain mean of the accuracies of the folds."""
    title = "accuracy as the mean over folds"
    printed, sizes = row.printed.get("accuracy"), row.fold_sizes
    if printed is None or not sizes:
        return _unasked("C2", title, "needs the accuracy and the sizes of several folds")
    numbers: dict[str, Any] = {"folds": {str(size): count for size, count in sizes.items()}}
    try:
        found = next(
            (
                (digits, solution)
                for digits in READINGS
                if (solution := fold_means.solve(sizes, printed.interval(digits)))
            ),
            None,
        )
    except OverflowError:
        lines = ["too many combinations of folds to list"]
        return Check("C2", title, "not decided", tuple(lines), numbers)
    if found is None:
        lines = ["no numbers of correct cases in the folds give this mean, however it was rounded"]
    else:
        digits, solution = found
        lines = [f"most even: {solution_text(solution)}{READINGS[digits]}"]
        numbers["most_even"] = {
            "groups": [
                {"size": g.size, "folds": g.folds, "correct": g.correct} for g in solution.groups
            ],
            "fisher_p": None if solution.p is None else float(solution.p),
        }
    reachable = fold_means.reachable(sizes, printed)
    if reachable is not None:
        numbers |= {"reachable": reachable, "printable": printed.printable}
        lines.append(_strength(reachable, printed.printable, "such a mean"))
    return Check("C2", title, _verdict(found[0] if found else None), tuple(lines), numbers)


def check_test_sets(row: Row, smaller: SmallerSets) -> Check:
    """C3: the sizes of one test set that would give the accuracy."""
    title = "accuracy as k/n of one test set"
    printed = row.printed.get("accuracy")
    if printed is None:
        return _unasked("C3", title, "needs the accuracy")
    limit = min(row.n - 1, pooled.JOINT_LIMIT) if row.n else pooled.UNKNOWN_LIMIT
    sizes = list(smaller.all) or pooled.fitting_sizes(printed.interval(), limit)
    usual = {n: pooled.usual_share(n, row.n) for n in sizes} if row.n else {}
    flagged = [n for n, share in usual.items() if share]
    lines = [
        f"{len(sizes)} of the sizes up to {limit}: {listed(sizes)}"
        if sizes
        else f"none up to {limit}"
    ]
    if flagged and row.n:
        shown = ", ".join(f"{n} = {percent(Fraction(n, row.n), 0)} %" for n in flagged[:5])
        lines.append(f"near 10, 15, 20, 25 or 30 % of {row.n}: {shown}")
    fewer = _one_digit_fewer(row)
    shorter = pooled.fitting_sizes(fewer.interval(), limit)[:5] if fewer else []
    if fewer and shorter:
        lines.append(f"read as {_dropped(fewer)}: {listed(shorter)}, ...")
    numbers = {
        "limit": limit,
        "count": len(sizes),
        "smallest": sizes[:5],
        "usual_shares": flagged,
        "one_digit_fewer": shorter,
    }
    return Check("C3", title, "fits" if sizes else "does not fit", tuple(lines), numbers)


def check_recall(row: Row) -> Check:
    """C4: whether recall is accuracy, as weighted recall always is."""
    title = "recall = accuracy, as weighted recall is"
    if not {"recall", "accuracy"} <= row.printed.keys():
        return _unasked("C4", title, "needs recall and accuracy")
    recall, accuracy = row.printed["recall"], row.printed["accuracy"]
    difference = recall.value - accuracy.value
    same = recall.interval().meets(accuracy.interval())
    decimals = max(digits_in_percent(recall), digits_in_percent(accuracy))
    points = "+" * (difference > 0) + percent(difference, decimals)
    shown = f"recall - accuracy = {points} points"
    if row.averaging == "macro":
        return Check("C4", title, "not asked", (f"{shown}; macro recall need not be accuracy",))
    line = f"{shown}: " + ("one value within rounding" if same else "not one value")
    numbers = {"difference_points": points, "equal": same}
    return Check("C4", title, "fits" if same else "does not fit", (line,), numbers)


def check_scores(row: Row, tried: Sequence[Way], smaller: SmallerSets) -> Check:
    """C5: whether precision, recall and F1 go together, and with the accuracy."""
    title = "precision, recall and F1 of one confusion matrix"
    lines: list[str] = []
    numbers: dict[str, Any] = {}
    above = exceeds_harmonic_mean(intervals_of(row, "rounded"))
    if {"precision", "recall", "f1"} <= row.printed.keys():
        mean = harmonic_mean(row.printed["precision"].value, row.printed["recall"].value)
        equal = is_harmonic_mean(row.printed)
        numbers["f1_is_harmonic_mean"] = equal
        shown = percent(mean, digits_in_percent(row.printed["f1"]))
        lines.append(
            f"2PR/(P+R) of the printed P and R is {shown} %: {'' if equal else 'not '}the F1"
        )
        if above:
            lines.append("F1 lies above it, which no averaging over classes or folds gives")
    own = [f for way in tried for f in way.findings if way.digits == "rounded"]
    findings = own or list(smaller.findings)
    lines += _finding_lines(findings)
    numbers["matrices"] = [_finding_numbers(finding) for finding in findings]
    if not lines:
        return _unasked("C5", title, "needs the accuracy and one of precision, recall and F1")
    if above:
        return Check("C5", title, "does not fit", tuple(lines), numbers)
    verdict: Verdict = possible(findings) if findings else "not decided"
    return Check("C5", title, verdict, tuple(lines), numbers)


def check_interval(row: Row, smaller: SmallerSets) -> Check:
    """C6: Wilson's interval at the declared size, and at the sizes that the accuracy implies."""
    title = "95 % interval of the accuracy (Wilson)"
    printed = row.printed.get("accuracy")
    sizes = ([row.n] if row.n else []) + [n for n in smaller.asked if n in smaller.left]
    if printed is None or not sizes:
        return _unasked("C6", title, "needs the accuracy and the number of cases")
    numbers, lines = [], []
    for n in sizes:
        k = pooled.nearest_count(printed.interval(), n)
        low, high = wilson(k, n)
        exact = k in printed.interval().counts(n)
        shown = {"low": round(low, 6), "high": round(high, 6)}
        numbers.append({"n": n, "correct": k, "exact": exact, **shown})
        nearest = "" if exact else " (nearest)"
        lines.append(f"n = {n}: {k}/{n}{nearest}: {percent(low)} to {percent(high)} %")
    return Check("C6", title, "computed", tuple(lines), {"intervals": numbers})


def check_claim(row: Row, following: Row | None) -> Check:
    """C7: how likely it is that the order of this row and the next is the wrong one."""
    title = "order against the next row (arXiv:2505.04720)"
    if following is None or row.n is None or row.n != following.n:
        return _unasked("C7", title, "needs a next row on the same number of cases")
    pair = [r.printed.get("accuracy") for r in (row, following)]
    first, second = pair
    if first is None or second is None or first.value == second.value:
        return _unasked("C7", title, "needs two accuracies that differ")
    correct = tuple(pooled.nearest_count(p.interval(), row.n) for p in (first, second))
    claim = false_claim((correct[0], correct[1]), row.n)
    if claim is None:
        return _unasked("C7", title, "too many cases")
    better, other = (row, following) if first.value > second.value else (following, row)
    line = (
        f"if both saw the same {row.n} cases, {other.name!r} is at least as good as {better.name!r} "
        f"with probability {probability(claim.low)} to {probability(claim.high)}"
    )
    numbers: dict[str, Any] = {"next": following.name, "n": row.n, "correct": list(claim.correct)}
    chance = {"low": float(claim.low), "high": float(claim.high)}
    return Check("C7", title, "computed", (line,), {**numbers, **chance})


def _unasked(code: str, title: str, needs: str) -> Check:
    return Check(code, title, "not asked", (needs,))


def _verdict(digits: Digits | None) -> Verdict:
    if digits is None:
        return "does not fit"
    return "fits" if digits == "rounded" else "fits otherwise read"


def _first_reading(printed: Printed, n: int) -> Digits | None:
    readings: tuple[Digits, ...] = ("rounded", "cut off")
    return next((r for r in readings if printed.interval(r).counts(n)), None)


def _strength(reachable: int, printable: int, what: str) -> str:
    share = percent(Fraction(reachable, printable), 1)
    return f"{share} % of the {printable} printable values are {what}"


def _few(counts: Sequence[int]) -> list[int]:
    """Return at most five counts: a wide interval on many cases holds millions."""
    return list(counts[:5])


def _one_digit_fewer(row: Row) -> Printed | None:
    """Return the accuracy read with its last 0 as padding, where nobody declared the decimals."""
    printed = row.printed["accuracy"]
    if row.decimals is not None or printed.decimals < 1 or not printed.text.endswith("0"):
        return None
    return Printed(printed.text[:-1].rstrip("."), printed.decimals - 1, printed.percent)


def _dropped(fewer: Printed) -> str:
    return f"{fewer.text} with its last 0 as padding (declare decimals = {fewer.decimals})"


def _shorter(row: Row, n: int) -> list[str]:
    fewer = _one_digit_fewer(row)
    if fewer is None or not fewer.interval().counts(n):
        return []
    k = pooled.nearest_count(fewer.interval(), n)
    return [f"read as {_dropped(fewer)}: {ratio(k, n, digits_in_percent(fewer))}"]


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Say what was found; an averaging that no size allows is named once."""
    names = dict.fromkeys(finding.averaging for finding in findings)
    tied = [
        name
        for name in names
        if all(f.verdict == "does not fit" and not f.rule for f in findings if f.averaging == name)
    ]
    lines = []
    for n in dict.fromkeys(finding.n for finding in findings):
        here = [f for f in findings if f.n == n and f.averaging not in tied]
        parts = [
            f"{name} {_said([f for f in here if f.averaging == name])}"
            for name in dict.fromkeys(f.averaging for f in here)
        ]
        lines += [f"n = {n}: " + "; ".join(parts)] if parts else []
    if tied:
        lines.append(f"{either(tied)} averaging: none, it ties other numbers to the accuracy")
    return lines


def _said(findings: Sequence[Finding]) -> str:
    words = {"fits": "possible", "does not fit": "none", "not decided": "not decided in the budget"}
    if len({finding.verdict for finding in findings}) == 1:
        return words[findings[0].verdict]
    return ", ".join(f"{words[f.verdict]} with F1 = {f.rule}" for f in findings)


def _finding_numbers(finding: Finding) -> dict[str, Any]:
    return {
        "n": finding.n,
        "averaging": finding.averaging,
        "f1": finding.rule,
        "verdict": finding.verdict,
        "example": [{"tp": tp, "fn": fn, "fp": fp} for tp, fn, fp in finding.example],
    }
