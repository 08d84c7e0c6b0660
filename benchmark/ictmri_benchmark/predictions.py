"""``predictions.csv``: read against a cohort, refused with every problem at once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of
from ictmri.csvfile import CsvFile, read_csv, shown
from ictmri.errors import InputError, nearest
from ictmri.files import sha256_bytes
from ictmri.folds import FoldTable
from ictmri_benchmark.protocol import SUM_TOLERANCE

PROBABILITIES: Final = tuple(f"p_{name}" for name in CLASSES)
HEADERS: Final = (f"case_id,{','.join(PROBABILITIES)}", "case_id,prediction")
MAX_SEEDS: Final = 1000
_MAX_SEED: Final = 2**31
_MAX_COLUMNS: Final = 20
_HINTS: Final = 20
"""Problems that get the nearest spelling: no more than are shown, for it is slow to find."""
_NUMBER: Final = re.compile(
    r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|-(0+\.?0*|\.0+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE
)
_SUM: Final = f"{', '.join(PROBABILITIES[:-1])} and {PROBABILITIES[-1]}"


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
        InputError: anything is wrong with it; every problem is named with its row and column.
    """
    file = read_csv(path, HEADERS[0])
    problems = _header_problems(file.header)
    if problems:
        raise InputError(str(path), problems, f"the header is {HEADERS[0]} or {HEADERS[1]}")
    rows, problems = _rows(file)
    problems += _seed_problems(rows) or _case_problems(rows, cohort, complete=not problems)
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was scored")
    return _predictions(rows, cohort, sha256_bytes(file.content))


def _header_problems(header: list[str]) -> list[str]:
    if len(header) > _MAX_COLUMNS:
        return [f"row 1: {len(header)} columns, {len(PROBABILITIES) + 2} are needed at most"]
    known = ("case_id", "seed", *PROBABILITIES, "prediction")
    problems = [
        f"row 1: unknown column {shown(name)}{nearest(name[:50], known)}"
        for name in header
        if name not in known
    ]
    problems += [
        f"row 1: column {name!r} twice"
        for name, count in Counter(header).items()
        if count > 1 and name in known
    ]
    if "case_id" not in header:
        problems.append("row 1: column 'case_id' is missing")
    given = [name for name in PROBABILITIES if name in header]
    if "prediction" in header and given:
        problems.append("row 1: either 'prediction' or the four probabilities, not both")
    elif "prediction" not in header:
        missing = [name for name in PROBABILITIES if name not in header]
        problems += [f"row 1: column {name!r} is missing" for name in missing]
    return problems


def _rows(file: CsvFile) -> tuple[list[_Row], list[str]]:
    rows: list[_Row] = []
    problems: list[str] = []
    for number, cells in file.rows():
        if not any(cells):
            continue
        if len(cells) != len(file.header):
            problems.append(f"row {number}: {_width_problem(cells, file.header)}")
            continue
        values = dict(zip(file.header, cells, strict=True))
        found = list(_row_problems(values))
        problems += [f"row {number}: {problem}" for problem in found]
        if not found:
            rows.append(_row(number, values))
    if not rows and not problems:
        problems = ["no predictions: the file has a header only"]
    return rows, problems


def _width_problem(cells: Sequence[str], header: Sequence[str]) -> str:
    hint = f" ({','.join(header)})"
    if len(cells) == len(header) + len(PROBABILITIES):
        hint += "; write decimals with a point, not a comma"
    return f"{len(cells)} cells, the header has {len(header)}{hint}"


def _row_problems(values: dict[str, str]) -> Iterator[str]:
    if not values["case_id"]:
        yield "case_id is empty"
    seed = values.get("seed", "0")
    if not (seed.isascii() and seed.isdecimal() and len(seed) < 11 and int(seed) < _MAX_SEED):
        yield f"seed {shown(seed)} is not a whole number from 0 to {_MAX_SEED - 1}"
    if "prediction" in values:
        name = values["prediction"]
        if name not in CLASSES:
            hint = nearest(name[:50].lower(), CLASSES) or f"; one of {', '.join(CLASSES)}"
            yield f"unknown class {shown(name)} in column prediction{hint}"
        return
    wrong = [
        f"{column} is {shown(values[column])}, not a probability from 0 to 1"
        for column in PROBABILITIES
        if not 0 <= _number(values[column]) <= 1
    ]
    yield from wrong
    if not wrong:
        total = math.fsum(_number(values[column]) for column in PROBABILITIES)
        if abs(total - 1) > SUM_TOLERANCE:
            yield f"{_SUM} sum to {total:.6g}, not 1"


def _number(text: str) -> float:
    """Return the number, NaN where the text is none in plain digits; a zero may have a minus."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def _row(number: int, values: dict[str, str]) -> _Row:
    seed = int(values.get("seed", "0"))
    if "prediction" in values:
        return _Row(number, values["case_id"], seed, (float(label_of(values["prediction"])),))
    numbers = tuple(float(values[column]) for column in PROBABILITIES)
    return _Row(number, values["case_id"], seed, numbers)


def _seed_problems(rows: list[_Row]) -> list[str]:
    seeds = {row.seed for row in rows}
    return (
        [f"column seed: {len(seeds)} seeds, more than {MAX_SEEDS}"]
        if len(seeds) > MAX_SEEDS
        else []
    )


def _case_problems(rows: list[_Row], cohort: FoldTable, *, complete: bool) -> list[str]:
    """Name unknown, repeated and, where every row could be read, missing cases of each seed."""
    known = set(cohort.case_ids)
    unused = sorted(known - {row.case_id for row in rows})
    seen: dict[tuple[int, str], int] = {}
    problems: list[str] = []
    for row in rows:
        if row.case_id not in known:
            wanted = unused or cohort.case_ids
            hint = nearest(row.case_id[:50], wanted) if len(problems) < _HINTS else ""
            problems.append(
                f"row {row.number}: case_id: no case {shown(row.case_id)} in cohort {cohort.name}{hint}"
            )
        elif (row.seed, row.case_id) in seen:
            first = seen[row.seed, row.case_id]
            problems.append(
                f"row {row.number}: case_id {row.case_id!r} stands in row {first} already"
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
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        if missing:
            count = "1 case is" if len(missing) == 1 else f"{len(missing)} cases are"
            problems.append(f"column case_id: {count} missing{where}: {listed}")
    return problems


def _predictions(rows: list[_Row], cohort: FoldTable, digest: str) -> Predictions:
    seeds = tuple(sorted({row.seed for row in rows}))
    layer = {seed: place for place, seed in enumerate(seeds)}
    places = {case_id: place for place, case_id in enumerate(cohort.case_ids)}
    values = np.zeros((len(seeds), len(places), len(rows[0].values)))
    for row in rows:
        values[layer[row.seed], places[row.case_id]] = row.values
    if values.shape[-1] == 1:
        return Predictions(seeds, values[..., 0].astype(np.int64), None, 0, digest)
    ties = int(((values == values.max(axis=-1, keepdims=True)).sum(axis=-1) > 1).sum())
    return Predictions(seeds, values.argmax(axis=-1), values, ties, digest)
