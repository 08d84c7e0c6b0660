"""``predictions.csv``: read against a cohort, refused with every problem at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of
from ictmri.csvfile import read_csv
from ictmri.errors import InputError, nearest
from ictmri.files import sha256_bytes
from ictmri.folds import FoldTable
from ictmri_benchmark.protocol import SUM_TOLERANCE

PROBABILITIES: Final = tuple(f"p_{name}" for name in CLASSES)
HEADERS: Final = (f"case_id,{','.join(PROBABILITIES)}", "case_id,prediction")
_MAX_SEED: Final = 2**31


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of a whole cohort.

    Attributes:
        seeds: the S seeds, ascending; ``(0,)`` where the file has no such column.
        labels: (S, N) predicted labels, cases in the order of the fold table.
        probabilities: (S, N, 4), None where the file holds labels only.
        ties: number of rows whose highest probability is shared; the first class wins.
        sha256: digest of the file.
    """

    seeds: tuple[int, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    ties: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    case_id: str
    seed: int
    values: tuple[float, ...]


def read_predictions(path: Path, cohort: FoldTable) -> Predictions:
    """Read a predictions file.

    Raises:
        InputError: anything is wrong with it; every problem is named with its row.
    """
    file = read_csv(path, HEADERS[0])
    problems = _header_problems(file.header)
    if problems:
        raise InputError(str(path), problems, f"the header is {HEADERS[0]} or {HEADERS[1]}")
    rows, problems = _rows(file.header, file.lines)
    problems += _case_problems(rows, cohort, complete=not problems)
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was scored")
    return _predictions(rows, cohort, sha256_bytes(file.content))


def _header_problems(header: list[str]) -> list[str]:
    known = ("case_id", "seed", *PROBABILITIES, "prediction")
    problems = [
        f"row 1: unknown column {name!r}{nearest(name, known)}"
        for name in header
        if name not in known
    ]
    problems += [f"row 1: column {name!r} twice" for name in set(header) if header.count(name) > 1]
    if "case_id" not in header:
        problems.append("row 1: column 'case_id' is missing")
    given = [name for name in PROBABILITIES if name in header]
    if "prediction" in header and given:
        problems.append("row 1: either 'prediction' or the four probabilities, not both")
    elif "prediction" not in header:
        missing = [name for name in PROBABILITIES if name not in header]
        problems += [f"row 1: column {name!r} is missing" for name in missing]
    return problems


def _rows(header: list[str], lines: list[list[str]]) -> tuple[list[_Row], list[str]]:
    rows: list[_Row] = []
    problems: list[str] = []
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problems.append(f"row {number}: {len(cells)} cells, the header has {len(header)}")
            continue
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        found = list(_row_problems(values))
        problems += [f"row {number}: {problem}" for problem in found]
        if not found:
            rows.append(_row(number, values))
    if not rows and not problems:
        problems = ["no predictions: the file has a header only"]
    return rows, problems


def _row_problems(values: dict[str, str]) -> Iterator[str]:
    if not values["case_id"]:
        yield "case_id is empty"
    seed = values.get("seed", "0")
    if not (seed.isascii() and seed.isdecimal() and len(seed) < 11 and int(seed) < _MAX_SEED):
        yield f"seed {seed[:30]!r} is not a whole number from 0 on"
    if "prediction" in values:
        name = values["prediction"]
        if name not in CLASSES:
            hint = nearest(name[:50].lower(), CLASSES) or f"; one of {', '.join(CLASSES)}"
            yield f"unknown class {name[:50]!r}{hint}"
        return
    wrong = [
        f"{column} is {values[column][:30]!r}, not a probability from 0 to 1"
        for column in PROBABILITIES
        if not 0 <= _number(values[column]) <= 1
    ]
    yield from wrong
    if not wrong:
        total = math.fsum(_number(values[column]) for column in PROBABILITIES)
        if abs(total - 1) > SUM_TOLERANCE:
            yield f"the probabilities sum to {total:.6g}, not 1"


def _number(text: str) -> float:
    """Return the number, NaN where the text is none in plain ASCII."""
    if not text.isascii() or "_" in text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def _row(number: int, values: dict[str, str]) -> _Row:
    seed = int(values.get("seed", "0"))
    if "prediction" in values:
        return _Row(number, values["case_id"], seed, (float(label_of(values["prediction"])),))
    numbers = tuple(float(values[column]) for column in PROBABILITIES)
    return _Row(number, values["case_id"], seed, numbers)


def _case_problems(rows: list[_Row], cohort: FoldTable, *, complete: bool) -> list[str]:
    """Name unknown, repeated and, where every row could be read, missing cases of each seed."""
    known = set(cohort.case_ids)
    unused = sorted(known - {row.case_id for row in rows})
    seen: dict[tuple[int, str], int] = {}
    problems: list[str] = []
    for row in rows:
        if row.case_id not in known:
            hint = nearest(row.case_id[:50], unused or known)
            problems.append(
                f"row {row.number}: no case {row.case_id[:50]!r} in cohort {cohort.name}{hint}"
            )
        elif (row.seed, row.case_id) in seen:
            first = seen[row.seed, row.case_id]
            problems.append(
                f"row {row.number}: case {row.case_id!r} stands in row {first} already"
                + (f" (seed {row.seed})" if row.seed else "")
            )
        else:
            seen[row.seed, row.case_id] = row.number
    if complete:
        problems += _missing(seen, cohort)
    return problems


def _missing(seen: dict[tuple[int, str], int], cohort: FoldTable) -> list[str]:
    problems = []
    seeds = sorted({seed for seed, _ in seen})
    for seed in seeds:
        missing = [case_id for case_id in cohort.case_ids if (seed, case_id) not in seen]
        where = f" for seed {seed}" if len(seeds) > 1 else ""
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        if missing:
            problems.append(f"{len(missing)} cases are missing{where}: {shown}")
    return problems


def _predictions(rows: list[_Row], cohort: FoldTable, digest: str) -> Predictions:
    seeds = tuple(sorted({row.seed for row in rows}))
    places = {case_id: place for place, case_id in enumerate(cohort.case_ids)}
    values = np.zeros((len(seeds), len(places), len(rows[0].values)))
    for row in rows:
        values[seeds.index(row.seed), places[row.case_id]] = row.values
    if values.shape[-1] == 1:
        return Predictions(seeds, values[..., 0].astype(np.int64), None, 0, digest)
    ties = int(((values == values.max(axis=-1, keepdims=True)).sum(axis=-1) > 1).sum())
    return Predictions(seeds, values.argmax(axis=-1), values, ties, digest)
