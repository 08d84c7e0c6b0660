"""``ictmri audit``: all rows of a file, what one test set could give all of a table, and both as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final

from ictmri.io.files import canonical_json
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.tables import Table
from ictmri_benchmark.audit.badges import badge, smaller_sets
from ictmri_benchmark.audit.checks import checks
from ictmri_benchmark.audit.matrices import BUDGET
from ictmri_benchmark.audit.printed import Printed, listed, percent, probability
from ictmri_benchmark.audit.relations import JOINT_LIMIT, fitting_sizes
from ictmri_benchmark.audit.rows import Row, read_rows
from ictmri_benchmark.audit.ways import ways

SCHEMA: Final = "ictmri/audit/1"
ALL_ROWS: Final = "all rows"
LIMITS: Final = (
    "Arithmetic shows what printed numbers cannot be. It says nothing about why, and that numbers fit does "
    "not show that they came about as declared."
)
NEXT_STEP: Final = (
    "To turn a reported row into a verified one, submit its out-of-fold predictions: "
    "ictmri submit predictions.csv --entry entry.yaml (benchmark/RULES.md); the evaluator computes every "
    "number."
)

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


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit; ``content`` follows the schema ``ictmri/audit/1``."""

    content: dict[str, Any]

    def to_json(self) -> str:
        """Return the canonical JSON text: equal inputs give equal bytes."""
        return canonical_json(self.content)

    def table(self) -> Table:
        """Return the checks of all rows as words, a row each."""
        joint = tuple(map(_joint, self.content["tables"]))
        return Table(_HEAD, tuple(map(_cells, self.content["rows"])), names=len(_HEAD), notes=joint)

    def render(self) -> str:
        """Return the audit as text for the terminal."""
        lines = [render_table(self.content)]
        for row in self.content["rows"]:
            lines += ["", render_row(row)]
        last = [*_wrapped(self.content["limits"]), *_wrapped(self.content["next_step"])]
        return "\n".join([*lines, "", *last])


def audit(path: AnyPath, budget: int = BUDGET, *, quiet: bool = True) -> Audit:
    """Audit the rows of a file.

    Args:
        path: the rows; see :mod:`ictmri_benchmark.audit.rows` for its columns.
        budget: steps for each search of confusion matrices.
        quiet: no progress bar.

    Raises:
        InputError: the file is not valid.
    """
    path = at_home(path)
    from tqdm import tqdm

    rows, digest = read_rows(path)
    shown = tqdm(rows, unit="row", delay=2, disable=True if quiet else None)
    return Audit(
        {
            "schema": SCHEMA,
            "rows_sha256": digest,
            "budget": budget,
            "rows": [_audited(row, _following(rows, row), budget) for row in shown],
            "tables": [_of_one_test_set(name, accuracies) for name, accuracies in _tables(rows)],
            "limits": LIMITS,
            "next_step": NEXT_STEP,
        }
    )


def _audited(row: Row, following: Row | None, budget: int) -> dict[str, Any]:
    tried = ways(row, budget)
    smaller = smaller_sets(row, tried, budget)
    return {
        "name": row.name,
        "tables": list(row.tables),
        "printed": {name: printed.text for name, printed in row.printed.items()},
        "declared": _declared(row),
        "badge": asdict(badge(row, tried, smaller)),
        "checks": [asdict(check) for check in checks(row, following, tried, smaller)],
    }


def _declared(row: Row) -> dict[str, Any]:
    printed = next(iter(row.printed.values()))
    folds = row.fold_sizes
    return {
        "unit": "percent" if printed.percent else "fraction",
        "decimals": row.decimals,
        "n": row.n,
        "folds": None if folds is None else {str(size): count for size, count in folds.items()},
        "aggregation": row.aggregation,
        "averaging": row.averaging,
        "class_counts": row.class_counts and list(row.class_counts),
        "classes": row.n_classes,
    }


def _following(rows: list[Row], row: Row) -> Row | None:
    """Return the next row of the same table."""
    later = (r for r in rows if r.number > row.number)
    return next((r for r in later if not row.tables or {*r.tables} & {*row.tables}), None)


def _tables(rows: list[Row]) -> Iterator[tuple[str, list[Printed]]]:
    """Yield the accuracies of each table and of the whole file, where there are several."""
    names = dict.fromkeys(name for row in rows for name in row.tables)
    groups = {name: [row for row in rows if name in row.tables] for name in names}
    for name, members in {**groups, ALL_ROWS: rows}.items():
        accuracies = [row.printed["accuracy"] for row in members if "accuracy" in row.printed]
        if len(accuracies) > 1:
            yield name, accuracies


def _of_one_test_set(name: str, accuracies: list[Printed]) -> dict[str, Any]:
    """Return the sizes of one test set that fit all accuracies."""
    sizes = fitting_sizes([p.interval() for p in accuracies], JOINT_LIMIT)
    return {
        "table": name,
        "rows": len(accuracies),
        "limit": JOINT_LIMIT,
        "test_sets": sizes[:5],
        "count": len(sizes),
    }


def render_table(content: dict[str, Any]) -> str:
    """Return the table of all rows, and what fits each table jointly."""
    joint = [_joint(table) for table in content["tables"]]
    return "\n".join([*_table(content["rows"]), *([""] if joint else []), *joint])


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


def render_row(row: dict[str, Any]) -> str:
    """Return the badge and the checks of one row."""
    lines = [row["name"], f"  {row['badge']['text']}", *_wrapped(row["badge"]["because"], "  ")]
    for check in row["checks"]:
        lines.append(f"  {check['check']} {check['title']}: {check['verdict']}")
        for line in check["evidence"]:
            lines += _wrapped(line, "     ")
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
