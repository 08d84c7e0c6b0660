"""``ictmri audit``: all rows of a file, and what one test set could give all of a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.io.files import canonical_json
from ictmri_benchmark.audit.badges import Badge, badge, smaller_sets
from ictmri_benchmark.audit.checks import Check, checks
from ictmri_benchmark.audit.feasibility import BUDGET
from ictmri_benchmark.audit.pooled import JOINT_LIMIT, common_sizes
from ictmri_benchmark.audit.rounding import Printed
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


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit; ``content`` follows the schema ``ictmri/audit/1``."""

    content: dict[str, Any]

    def to_json(self) -> str:
        """Return the canonical JSON text: equal inputs give equal bytes."""
        return canonical_json(self.content)

    def render(self) -> str:
        """Return the audit as text for the terminal."""
        from ictmri_benchmark.audit.render import render

        return render(self.content)


def audit(path: Path, budget: int = BUDGET, *, quiet: bool = True) -> Audit:
    """Audit the rows of a file.

    Args:
        path: the rows; see :mod:`ictmri_benchmark.audit.rows` for its columns.
        budget: steps for each search of confusion matrices.
        quiet: no progress bar.

    Raises:
        InputError: the file is not valid.
    """
    from tqdm import tqdm

    rows, digest = read_rows(path)
    shown = tqdm(rows, unit="row", delay=2, disable=True if quiet else None)
    return Audit(
        {
            "schema": SCHEMA,
            "rows_sha256": digest,
            "budget": budget,
            "rows": [_audited(row, _following(rows, row), budget) for row in shown],
            "tables": [_joint(name, accuracies) for name, accuracies in _tables(rows)],
            "limits": LIMITS,
            "next_step": NEXT_STEP,
        }
    )


def _audited(row: Row, following: Row | None, budget: int) -> dict[str, Any]:
    tried = ways(row, budget)
    smaller = smaller_sets(row, tried, budget)
    found = badge(row, tried, smaller)
    return {
        "name": row.name,
        "tables": list(row.tables),
        "printed": {name: printed.text for name, printed in row.printed.items()},
        "declared": _declared(row),
        "badge": _badge(found),
        "checks": [_check(check) for check in checks(row, following, tried, smaller)],
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


def _badge(found: Badge) -> dict[str, Any]:
    return {
        "code": found.code,
        "text": found.text,
        "because": found.because,
        "uneven_folds": found.uneven,
        "test_sets": list(found.sizes),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "check": check.code,
        "title": check.title,
        "verdict": check.verdict,
        "evidence": list(check.evidence),
        "numbers": check.numbers,
    }


def _following(rows: list[Row], row: Row) -> Row | None:
    """Return the next row of the same table."""
    return next(
        (
            r
            for r in rows
            if r.number > row.number and (not row.tables or {*r.tables} & {*row.tables})
        ),
        None,
    )


def _tables(rows: list[Row]) -> Iterable[tuple[str, list[Printed]]]:
    """Yield the accuracies of each table and of the whole file, where there are several."""
    names = dict.fromkeys(name for row in rows for name in row.tables)
    groups = {name: [row for row in rows if name in row.tables] for name in names}
    for name, members in {**groups, ALL_ROWS: rows}.items():
        accuracies = [row.printed["accuracy"] for row in members if "accuracy" in row.printed]
        if len(accuracies) > 1:
            yield name, accuracies


def _joint(name: str, accuracies: list[Printed]) -> dict[str, Any]:
    """Return the sizes of one test set that fit all accuracies."""
    sizes = common_sizes((p.interval() for p in accuracies), JOINT_LIMIT)
    return {
        "table": name,
        "rows": len(accuracies),
        "limit": JOINT_LIMIT,
        "test_sets": sizes[:5],
        "count": len(sizes),
    }
