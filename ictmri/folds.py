"""The fold table: which case is tested in which fold, and how a new cohort gets its folds.

A fold table is a small CSV that a person can read, ``case_id,patient_id,label,fold`` with the label
as a class name. Its SHA-256 is part of every report, so that an entry cannot be scored on other folds
than the ones it was made for.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from ictmri.classes import CLASSES, label_of
from ictmri.errors import MAX_PROBLEMS, InputError, nearest
from ictmri.io.csvfile import MAX_BYTES, csv_text, shown
from ictmri.io.files import read_plain, sha256_bytes, write_text

COLUMNS: Final = ("case_id", "patient_id", "label", "fold")
CASE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids become names of files, so they hold nothing that leads to another folder."""
DEFAULT_N_FOLDS: Final = 5
_MAX_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One case of a fold table."""

    case_id: str
    patient_id: str
    label: str
    fold: int


@dataclass(frozen=True, slots=True)
class FoldTable:
    """The folds of a cohort.

    Attributes:
        name: the cohort's dataset name.
        rows: one row a case, in the order of the file.
        sha256: digest of the file's bytes.
        groups: by kind (``sex``, ``age``) the group of each row, empty where unknown; not in the file.
        data_sha256: digest of the cohort's data, empty where it is not known; not in the file.
    """

    name: str
    rows: tuple[FoldRow, ...]
    sha256: str
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False)
    data_sha256: str = field(default="", compare=False)

    @property
    def case_ids(self) -> list[str]:
        """Case ids in the order of the file."""
        return [row.case_id for row in self.rows]

    @property
    def labels(self) -> list[int]:
        """Integer labels in the order of the file."""
        return [label_of(row.label) for row in self.rows]

    @property
    def folds(self) -> list[int]:
        """Fold numbers in the order of the file."""
        return [row.fold for row in self.rows]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return max(row.fold for row in self.rows) + 1

    @property
    def labels_sha256(self) -> str:
        """Digest of the case ids with their labels, whatever their order and folds."""
        lines = sorted(f"{row.case_id},{row.label}" for row in self.rows)
        return sha256_bytes("\n".join(lines).encode())


def format_folds(rows: Sequence[FoldRow]) -> str:
    """Return the text of a fold table: header, then one row a case."""
    return csv_text(COLUMNS, ((row.case_id, row.patient_id, row.label, row.fold) for row in rows))


def public_folds(table: FoldTable) -> str:
    """Return ids and folds as CSV without a word about anybody: ``case_id,fold`` in the order of the ids.

    Case ids are dealt at random, so neither they nor their order tell a label.
    """
    return csv_text(("case_id", "fold"), sorted((row.case_id, row.fold) for row in table.rows))


def write_folds(path: Path, rows: Sequence[FoldRow]) -> str:
    """Write a fold table and return its SHA-256."""
    text = format_folds(rows)
    write_text(path, text)
    return sha256_bytes(text.encode())


def read_folds(path: Path, name: str, *, expected_sha256: str | None = None) -> FoldTable:
    """Read a fold table and check it.

    Args:
        path: the CSV file.
        name: the cohort's dataset name.
        expected_sha256: digest that the file must have; not checked where None.

    Raises:
        InputError: the file is not the expected one, or not a valid fold table.
    """
    content = read_plain(path, MAX_BYTES, "restore the file, or build the cohort again")
    digest = sha256_bytes(content)
    if expected_sha256 is not None and digest != expected_sha256:
        raise InputError(
            str(path),
            [
                f"the fold table of {name!r} was edited or reordered: its SHA-256 is "
                f"{digest[:12]}..., published is {expected_sha256[:12]}..."
            ],
            f"restore the file, or build the cohort {name!r} again",
        )
    rows, problems = _parse(content)
    if problems:
        raise InputError(str(path), problems, "restore the file, or build the cohort again")
    return FoldTable(name=name, rows=tuple(rows), sha256=digest)


def _parse(content: bytes) -> tuple[list[FoldRow], list[str]]:
    try:
        table = list(csv.reader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        return [], [f"not a UTF-8 CSV file ({error})"]
    if not table or tuple(table[0]) != COLUMNS:
        return [], [f"the header must be {','.join(COLUMNS)}"]
    rows: list[FoldRow] = []
    problems: list[str] = []
    for number, cells in enumerate(table[1:], start=2):
        problem = _row_problem(cells)
        if problem:
            problems.append(f"row {number}: {problem}")
        else:
            rows.append(FoldRow(cells[0], cells[1], cells[2], int(cells[3])))
    return rows, problems or _table_problems(rows)


def _row_problem(cells: list[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} cells instead of {len(COLUMNS)}"
    if not CASE_ID.fullmatch(cells[0]):
        return f"case_id {shown(cells[0])}: up to 64 letters, digits, '.', '_' and '-'"
    if cells[2] not in CLASSES:
        return f"unknown class {shown(cells[2])}{nearest(cells[2][:50], CLASSES)}"
    is_fold = cells[3].isascii() and cells[3].isdecimal() and len(cells[3]) <= _MAX_DIGITS
    return "" if is_fold else f"fold {shown(cells[3])} is not a number"


def _table_problems(rows: Sequence[FoldRow]) -> list[str]:
    if not rows:
        return ["no cases"]
    problems = [
        f"case {case_id!r} stands {count} times"
        for case_id, count in Counter(row.case_id for row in rows).items()
        if count > 1
    ]
    patient_folds: dict[str, set[int]] = {}
    for row in rows:
        patient_folds.setdefault(row.patient_id, set()).add(row.fold)
    problems += [
        f"patient {patient_id!r} is in folds {sorted(folds)}"
        for patient_id, folds in patient_folds.items()
        if len(folds) > 1
    ]
    used = {row.fold for row in rows}
    empty = (f"fold {fold} is empty" for fold in range(max(used) + 1) if fold not in used)
    return [*problems, *islice(empty, MAX_PROBLEMS)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that waits for its fold; sex and age may be unknown (empty, NaN)."""

    case_id: str
    patient_id: str
    label: str
    subtype: str = ""
    sex: str = ""
    age: float = float("nan")


def check_n_folds(n_folds: int, n_cases: int) -> None:
    """Check that cases can be dealt into so many folds.

    Raises:
        InputError: fewer than 2 folds, or more folds than cases.
    """
    if not 2 <= n_folds <= n_cases:
        problem = f"{n_folds} folds for {n_cases} cases"
        step = f"choose 2 to {n_cases} folds" if n_cases > 1 else "a cohort has at least 2 cases"
        raise InputError("--n-folds", [problem], step)


def assign_folds(
    candidates: Sequence[Candidate], n_folds: int, *, earlier: Mapping[str, int] | None = None
) -> list[FoldRow]:
    """Deal a cohort into folds, class by class.

    Inside a class the cases are sorted by subtype, sex and age and dealt in turn, so that each fold
    gets its share of all three; the next class goes on where the last one stopped, so that fold sizes
    differ by at most one. A class with fewer cases than folds is missing from some of them.

    Args:
        candidates: all cases.
        n_folds: number of folds.
        earlier: folds of an earlier version by case id; they stay, and only new cases are dealt, each to
            the fold that has fewest of its class, then fewest cases.

    Raises:
        InputError: fewer than 2 folds, or more folds than cases.
    """
    check_n_folds(n_folds, len(candidates))
    order = sorted(candidates, key=_dealing_order)
    fold_of = (
        _added(order, n_folds, earlier)
        if earlier
        else {candidate.case_id: position % n_folds for position, candidate in enumerate(order)}
    )
    return [
        FoldRow(c.case_id, c.patient_id, c.label, fold_of[c.case_id])
        for c in sorted(candidates, key=lambda c: c.case_id)
    ]


def _added(order: Sequence[Candidate], n_folds: int, earlier: Mapping[str, int]) -> dict[str, int]:
    fold_of = {c.case_id: earlier[c.case_id] for c in order if c.case_id in earlier}
    sizes = Counter(fold_of.values())
    of_class = Counter((c.label, fold_of[c.case_id]) for c in order if c.case_id in fold_of)
    for new in order:
        if new.case_id not in fold_of:
            fold = min(range(n_folds), key=lambda k: (of_class[new.label, k], sizes[k], k))
            fold_of[new.case_id] = fold
            of_class[new.label, fold] += 1
            sizes[fold] += 1
    return fold_of


def _dealing_order(candidate: Candidate) -> tuple[int, str, str, float, str]:
    age = -1.0 if candidate.age != candidate.age else candidate.age
    return (label_of(candidate.label), candidate.subtype, candidate.sex, age, candidate.case_id)


def describe_folds(rows: Sequence[FoldRow]) -> list[str]:
    """Say in a few lines what the fold rule did, and where a class is too small for it."""
    n_folds = max(row.fold for row in rows) + 1
    sizes = Counter(row.fold for row in rows)
    shown = ", ".join(str(sizes[fold]) for fold in range(n_folds))
    lines = [f"{len(rows)} cases in {n_folds} folds of {shown}, stratified by class"]
    for name in CLASSES:
        folds = [row.fold for row in rows if row.label == name]
        if not folds:
            lines.append(f"class {name}: no case in this cohort")
        elif len(folds) < n_folds:
            where = ", ".join(str(fold) for fold in sorted(set(folds)))
            lines.append(
                f"class {name}: {len(folds)} case{'s' if len(folds) > 1 else ''} for {n_folds} "
                f"folds, tested only in fold {where}; whoever tests there trains with fewer or none"
            )
    return lines
