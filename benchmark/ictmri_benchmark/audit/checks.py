"""The checks of one row: each with its verdict and the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from ictmri_benchmark.audit import fold_means
from ictmri_benchmark.audit.badges import READINGS, SmallerSets, solution_text
from ictmri_benchmark.audit.printed import (
    Digits,
    Printed,
    either,
    listed,
    percent,
    probability,
    ratio,
)
from ictmri_benchmark.audit.relations import (
    JOINT_LIMIT,
    UNKNOWN_LIMIT,
    exceeds_harmonic_mean,
    false_claim,
    fitting_sizes,
    harmonic_mean,
    is_harmonic_mean,
    is_usual_share,
    nearest_count,
)
from ictmri_benchmark.audit.rows import Row
from ictmri_benchmark.audit.ways import ScoreFit, Way, possible, ranges_of
from ictmri_benchmark.score.proportions import wilson

Verdict = Literal[
    "fits", "fits otherwise read", "does not fit", "not decided", "not asked", "computed"
]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one row, as it stands in the audit's JSON.

    Attributes:
        check: ``C1`` to ``C7``.
        title: what is asked.
        evidence: the answer in words and numbers, one sentence a line.
        numbers: the same for programs.
    """

    check: str
    title: str
    verdict: Verdict
    evidence: list[str]
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _KnownRow:
    """What is known about a row.

    Attributes:
        row: the reported numbers.
        following: the next row that is to be compared with, if any.
        tried: the ways that the declaration leaves open.
        smaller: smaller test sets that give the accuracy.
    """

    row: Row
    following: Row | None
    tried: Sequence[Way]
    smaller: SmallerSets


class _NotAskedError(Exception):
    """A check that a row gives no grounds for; its text says what it needs."""


_Found = tuple[Verdict, list[str], dict[str, Any]]


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
    known = _KnownRow(row, following, tried, smaller)
    found = []
    for place, (title, check) in enumerate(_CHECKS.items(), start=1):
        try:
            found.append(Check(f"C{place}", title, *check(known)))
        except _NotAskedError as needs:
            found.append(Check(f"C{place}", title, "not asked", [str(needs)], {}))
    return found


def _pooled(known: _KnownRow) -> _Found:
    """C1: whether the accuracy is a ratio k / n."""
    row = known.row
    printed, n = row.printed.get("accuracy"), row.n
    if printed is None or n is None:
        raise _NotAskedError("needs the accuracy and the number of cases")
    readings: tuple[Digits, ...] = ("rounded", "cut off")
    digits = next((r for r in readings if printed.interval(r).counts(n)), None)
    of_folds = {size: printed.interval().counts(size) for size in row.fold_sizes or ()}
    below = min((printed.value * n).__floor__(), n)
    numbers: dict[str, Any] = {
        "n": n,
        # At most five counts: a wide interval on many cases holds millions.
        "counts": list(printed.interval(digits).counts(n)[:5]) if digits else [],
        "neighbours": [below, min(below + 1, n)],
        "printable": printed.printable,
        "reachable": min(n + 1, printed.printable),
        "one_fold": {str(size): list(counts[:5]) for size, counts in of_folds.items()},
    }
    if digits:
        k = nearest_count(printed.interval(digits), n)
        lines = [f"{ratio(k, n, printed.percent_decimals)}{READINGS[digits]}"]
    else:
        beside = (ratio(k, n, printed.percent_decimals) for k in numbers["neighbours"])
        lines = [f"no k/{n}: {', '.join(beside)}"]
        fewer = _one_digit_fewer(row)
        if fewer and fewer.interval().counts(n):
            k = nearest_count(fewer.interval(), n)
            lines.append(f"read as {_dropped(fewer)}: {ratio(k, n, fewer.percent_decimals)}")
    lines.append(_strength(numbers["reachable"], printed, f"such a ratio of {n} cases"))
    if of_folds:
        one = (f"{ks[0]}/{size}" if ks else f"no k/{size}" for size, ks in of_folds.items())
        lines.append(f"of one fold: {', '.join(one)}")
    return _verdict(digits), lines, numbers


def _fold_mean(known: _KnownRow) -> _Found:
    """C2: whether the accuracy is the plain mean of the accuracies of the folds."""
    printed, sizes = known.row.printed.get("accuracy"), known.row.fold_sizes
    if printed is None or not sizes:
        raise _NotAskedError("needs the accuracy and the sizes of several folds")
    numbers: dict[str, Any] = {"folds": {str(size): count for size, count in sizes.items()}}
    digits: Digits | None = None
    try:
        for digits in READINGS:
            solution = fold_means.solve(sizes, printed.interval(digits))
            if solution:
                break
        else:
            digits = None
    except OverflowError:
        return "not decided", ["too many combinations of folds to list"], numbers
    if solution is None or digits is None:
        lines = ["no numbers of correct cases in the folds give this mean, however it was rounded"]
    else:
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
        lines.append(_strength(reachable, printed, "such a mean"))
    return _verdict(digits), lines, numbers


def _test_sets(known: _KnownRow) -> _Found:
    """C3: the sizes of one test set that would give the accuracy."""
    row = known.row
    printed, n = row.printed.get("accuracy"), row.n
    if printed is None:
        raise _NotAskedError("needs the accuracy")
    limit = min(n - 1, JOINT_LIMIT) if n else UNKNOWN_LIMIT
    sizes = list(known.smaller.all) or fitting_sizes([printed.interval()], limit)
    usual = [size for size in sizes if n and is_usual_share(size, n)]
    found = f"{len(sizes)} of the sizes up to {limit}: {listed(sizes)}"
    lines = [found if sizes else f"none up to {limit}"]
    if usual and n:
        shown = ", ".join(f"{size} = {percent(Fraction(size, n), 0)} %" for size in usual[:5])
        lines.append(f"near 10, 15, 20, 25 or 30 % of {n}: {shown}")
    fewer = _one_digit_fewer(row)
    shorter = fitting_sizes([fewer.interval()], limit)[:5] if fewer else []
    if fewer and shorter:
        lines.append(f"read as {_dropped(fewer)}: {listed(shorter)}, ...")
    numbers = {
        "limit": limit,
        "count": len(sizes),
        "smallest": sizes[:5],
        "usual_shares": usual,
        "one_digit_fewer": shorter,
    }
    return "fits" if sizes else "does not fit", lines, numbers


def _recall(known: _KnownRow) -> _Found:
    """C4: whether recall is accuracy, as weighted recall always is."""
    recall, accuracy = (known.row.printed.get(name) for name in ("recall", "accuracy"))
    if recall is None or accuracy is None:
        raise _NotAskedError("needs recall and accuracy")
    difference = recall.value - accuracy.value
    same = recall.interval().meets(accuracy.interval())
    decimals = max(recall.percent_decimals, accuracy.percent_decimals)
    points = "+" * (difference > 0) + percent(difference, decimals)
    shown = f"recall - accuracy = {points} points"
    if known.row.averaging == "macro":
        raise _NotAskedError(f"{shown}; macro recall need not be accuracy")
    line = f"{shown}: " + ("one value within rounding" if same else "not one value")
    numbers = {"difference_points": points, "equal": same}
    return "fits" if same else "does not fit", [line], numbers


def _scores(known: _KnownRow) -> _Found:
    """C5: whether precision, recall and F1 go together, and with the accuracy."""
    row = known.row
    lines: list[str] = []
    numbers: dict[str, Any] = {}
    above = exceeds_harmonic_mean(ranges_of(row, "rounded"))
    if {"precision", "recall", "f1"} <= row.printed.keys():
        mean = harmonic_mean(row.printed["precision"].value, row.printed["recall"].value)
        equal = is_harmonic_mean(row.printed)
        numbers["f1_is_harmonic_mean"] = equal
        shown = percent(mean, row.printed["f1"].percent_decimals)
        lines.append(
            f"2PR/(P+R) of the printed P and R is {shown} %: {'' if equal else 'not '}the F1"
        )
        if above:
            lines.append("F1 lies above it, which no averaging over classes or folds gives")
    own = [fit for way in known.tried for fit in way.fits if way.digits == "rounded"]
    fits = own or list(known.smaller.fits)
    lines += _fit_lines(fits)
    numbers["matrices"] = [_fit_numbers(fit) for fit in fits]
    if not lines:
        raise _NotAskedError("needs the accuracy and one of precision, recall and F1")
    return "does not fit" if above else possible(fits), lines, numbers


def _interval(known: _KnownRow) -> _Found:
    """C6: Wilson's interval at the declared size, and at the sizes that the accuracy implies."""
    row, smaller = known.row, known.smaller
    printed = row.printed.get("accuracy")
    sizes = ([row.n] if row.n else []) + [n for n in smaller.asked if n in smaller.left]
    if printed is None or not sizes:
        raise _NotAskedError("needs the accuracy and the number of cases")
    numbers, lines = [], []
    for n in sizes:
        k = nearest_count(printed.interval(), n)
        low, high = wilson(k, n)
        exact = k in printed.interval().counts(n)
        shown = {"low": round(low, 6), "high": round(high, 6)}
        numbers.append({"n": n, "correct": k, "exact": exact, **shown})
        nearest = "" if exact else " (nearest)"
        lines.append(f"n = {n}: {k}/{n}{nearest}: {percent(low)} to {percent(high)} %")
    return "computed", lines, {"intervals": numbers}


def _claim(known: _KnownRow) -> _Found:
    """C7: how likely it is that the order of this row and the next is the wrong one."""
    row, following = known.row, known.following
    if following is None or row.n is None or row.n != following.n:
        raise _NotAskedError("needs a next row on the same number of cases")
    first, second = (r.printed.get("accuracy") for r in (row, following))
    if first is None or second is None or first.value == second.value:
        raise _NotAskedError("needs two accuracies that differ")
    counts = sorted(nearest_count(p.interval(), row.n) for p in (first, second))
    chance = false_claim(counts[1], counts[0], row.n)
    if chance is None:
        raise _NotAskedError("too many cases")
    better, other = (row, following) if first.value > second.value else (following, row)
    line = (
        f"if both saw the same {row.n} cases, {other.name!r} is at least as good as {better.name!r} "
        f"with probability {probability(chance[0])} to {probability(chance[1])}"
    )
    numbers = {"next": following.name, "n": row.n, "correct": counts[::-1]}
    return "computed", [line], {**numbers, "low": float(chance[0]), "high": float(chance[1])}


_CHECKS: Final[dict[str, Callable[[_KnownRow], _Found]]] = {
    "accuracy as k/n of all cases": _pooled,
    "accuracy as the mean over folds": _fold_mean,
    "accuracy as k/n of one test set": _test_sets,
    "recall = accuracy, as weighted recall is": _recall,
    "precision, recall and F1 of one confusion matrix": _scores,
    "95 % interval of the accuracy (Wilson)": _interval,
    "order against the next row (arXiv:2505.04720)": _claim,
}
"""By title, in the order C1 to C7."""


def _verdict(digits: Digits | None) -> Verdict:
    if digits is None:
        return "does not fit"
    return "fits" if digits == "rounded" else "fits otherwise read"


def _strength(reachable: int, printed: Printed, what: str) -> str:
    share = percent(Fraction(reachable, printed.printable), 1)
    return f"{share} % of the {printed.printable} printable values are {what}"


def _one_digit_fewer(row: Row) -> Printed | None:
    """Return the accuracy read with its last 0 as padding, where nobody declared the decimals."""
    printed = row.printed["accuracy"]
    if row.decimals is not None or printed.decimals < 1 or not printed.text.endswith("0"):
        return None
    return Printed(printed.text[:-1].rstrip("."), printed.decimals - 1, printed.percent)


def _dropped(fewer: Printed) -> str:
    return f"{fewer.text} with its last 0 as padding (declare decimals = {fewer.decimals})"


def _fit_lines(fits: Sequence[ScoreFit]) -> list[str]:
    """Say what was found; an averaging that no size allows is named once."""
    names = dict.fromkeys(fit.averaging for fit in fits)
    tied = [
        name
        for name in names
        if all(f.verdict == "does not fit" and not f.rule for f in fits if f.averaging == name)
    ]
    lines = []
    for n in dict.fromkeys(fit.n for fit in fits):
        here = [f for f in fits if f.n == n and f.averaging not in tied]
        parts = [
            f"{name} {_said([f for f in here if f.averaging == name])}"
            for name in dict.fromkeys(f.averaging for f in here)
        ]
        lines += [f"n = {n}: " + "; ".join(parts)] if parts else []
    if tied:
        lines.append(f"{either(tied)} averaging: none, it ties other numbers to the accuracy")
    return lines


def _said(fits: Sequence[ScoreFit]) -> str:
    words = {"fits": "possible", "does not fit": "none", "not decided": "not decided in the budget"}
    if len({fit.verdict for fit in fits}) == 1:
        return words[fits[0].verdict]
    return ", ".join(f"{words[f.verdict]} with F1 = {f.rule}" for f in fits)


def _fit_numbers(fit: ScoreFit) -> dict[str, Any]:
    return {
        "n": fit.n,
        "averaging": fit.averaging,
        "f1": fit.rule,
        "verdict": fit.verdict,
        "example": [{"tp": tp, "fn": fn, "fp": fp} for tp, fn, fp in fit.example],
    }
