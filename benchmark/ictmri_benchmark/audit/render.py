"""The audit as text: a table of all rows, then each row's checks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from ictmri_benchmark.audit.texts import listed, percent, probability

_WIDTH: Final = 108
_WORDS: Final = {
    "consistent": "consistent",
    "smaller-test-set": "smaller set",
    "not-consistent": "not consistent",
    "not-enough-information": "unknown",
}
_HEAD: Final = (
    "row",
    "accuracy",
    "k/n",
    "mean of folds",
    "p",
    "one test set",
    "R=acc",
    "F1=H",
    "badge",
)


def render(content: dict[str, Any]) -> str:
    """Return the whole text of an audit."""
    lines = [render_table(content)]
    for row in content["rows"]:
        lines += ["", render_row(row)]
    return "\n".join([*lines, "", *_wrapped(content["limits"]), *_wrapped(content["next_step"])])


def render_table(content: dict[str, Any]) -> str:
    """Return the table of all rows, and what fits each table jointly."""
    joint = [_joint(table) for table in content["tables"]]
    return "\n".join([*_table(content["rows"]), *([""] if joint else []), *joint])


def render_row(row: dict[str, Any]) -> str:
    """Return the badge and the checks of one row."""
    return "\n".join(_details(row))


def _table(rows: list[dict[str, Any]]) -> list[str]:
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    by_code = {check["check"]: check for check in row["checks"]}
    fold_mean, p = _fold_mean(by_code["C2"])
    numbers = by_code["C5"]["numbers"]
    name = row["name"]
    return (
        name if len(name) <= 24 else name[:23] + "…",
        row["printed"].get("accuracy", "-"),
        _pooled(by_code["C1"]),
        fold_mean,
        p,
        _test_sets(by_code["C3"]),
        _recall(by_code["C4"]),
        {True: "yes", False: "no"}.get(numbers.get("f1_is_harmonic_mean"), "-"),
        _WORDS[row["badge"]["code"]] + ", uneven folds" * row["badge"]["uneven_folds"],
    )


def _pooled(check: dict[str, Any]) -> str:
    numbers = check["numbers"]
    if not numbers:
        return "-"
    return f"{numbers['counts'][0]}/{numbers['n']}" if numbers["counts"] else f"no k/{numbers['n']}"


def _fold_mean(check: dict[str, Any]) -> tuple[str, str]:
    """Return the most even solution, as percentages of the groups of folds, and its p."""
    if check["verdict"] in ("not asked", "not decided"):
        return "-", "-"
    found = check["numbers"].get("most_even")
    if found is None:
        return "no solution", "-"
    rates = [
        f"{g['folds']} x " * (g["folds"] > 1)
        + percent(Fraction(g["correct"], g["folds"] * g["size"]))
        for g in found["groups"]
    ]
    p = found["fisher_p"]
    return ", ".join(rates), "-" if p is None else probability(p)


def _test_sets(check: dict[str, Any]) -> str:
    numbers = check["numbers"]
    if not numbers:
        return "-"
    usual = numbers["usual_shares"][:2]
    shown = sorted({*numbers["smallest"][:2], *usual})
    return listed([*shown, *[0] * (numbers["count"] > len(shown))], len(shown)) or "none"


def _recall(check: dict[str, Any]) -> str:
    numbers = check["numbers"]
    return "-" if not numbers else "yes" if numbers["equal"] else numbers["difference_points"]


def _joint(table: dict[str, Any]) -> str:
    fit = listed(table["test_sets"]) + (", ..." if table["count"] > 5 else "")
    found = f"n = {fit}" if table["test_sets"] else "no n"
    return f"{table['table']}: {table['rows']} rows, one test set up to {table['limit']}: {found}"


def _details(row: dict[str, Any]) -> Iterator[str]:
    yield row["name"]
    yield f"  {row['badge']['text']}"
    yield from _wrapped(row["badge"]["because"], "  ")
    for check in row["checks"]:
        yield f"  {check['check']} {check['title']}: {check['verdict']}"
        for line in check["evidence"]:
            yield from _wrapped(line, "     ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
