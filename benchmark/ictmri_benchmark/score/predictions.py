"""``predictions.csv``: read against a cohort, refused with every problem at once."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of
from ictmri.errors import MAX_PROBLEMS, InputError, nearest
from ictmri.folds import FoldTable
from ictmri.io.csvfile import CsvFile, parse_csv, read_csv, shown
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.score.protocol import SUM_TOLERANCE

PROBABILITIES: Final = tuple(f"p_{name}" for name in CLASSES)
HEADERS: Final = (f"case_id,{','.join(PROBABILITIES)}", "case_id,prediction")
MAX_SEEDS: Final = 1000
_MAX_SEED: Final = 2**31
_MAX_COLUMNS: Final = 20
_HINTS: Final = 20
"""Problems that get the nearest spelling: no more than are shown, for it is slow to find."""
_MAX_NUMBER: Final = 100
_DIGITS: Final = frozenset("0123456789.+-eE")
_EXACT: Final = Context(prec=1000)
_SUM: Final = f"{', '.join(PROBABILITIES[:-1])} and {PROBABILITIES[-1]}"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of a whole cohort.

    Attributes:
        seeds: the S seeds, ascending; ``(0,)`` where the file has no such column.
        labels: (S, N) predicted labels, cases in the order of the fold table.
        probabilities: (S, N, K) of the K classes, None where the file holds labels only.
        ties: number of rows whose highest probability is shared; the first class wins.
        sha256: digest of the file.
    """

    seeds: tuple[int, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    ties: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that could be read, column by column: objects would take ten times the memory.

    Attributes:
        numbers: where each stands in the file.
        seeds: seed of each.
        places: its case's place in the fold table.
        values: its probabilities, or its label, one row after the other.
        unknown: row and name of cases that the cohort does not have.
    """

    numbers: array[int] = field(default_factory=lambda: array("q"))
    seeds: array[int] = field(default_factory=lambda: array("q"))
    places: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    unknown: list[tuple[int, str]] = field(default_factory=list)


def read_predictions(
    path: Path,
    cohort: FoldTable,
    *,
    content: bytes | None = None,
    folds: Collection[int] | None = None,
) -> Predictions:
    """Read a predictions file.

    Args:
        path: the file.
        cohort: its cases.
        content: what stands in the file, where it is known; ``path`` is then its name in messages.
        folds: the folds whose cases are needed and kept, all where None.

    Raises:
        InputError: anything is wrong with it; every problem is named with its row and column, and the
            reading stops after some hundred of them.
    """
    most = MAX_SEEDS * len(cohort.rows)
    if content is None:
        file = read_csv(path, HEADERS[0], max_rows=most)
    else:
        file = parse_csv(path, content, HEADERS[0], max_rows=most)
    wanted = np.flatnonzero([folds is None or fold in folds for fold in cohort.folds])
    problems = _header_problems(file)
    if problems:
        raise InputError(str(path), problems, f"the header is {HEADERS[0]} or {HEADERS[1]}")
    rows, problems = _rows(file, cohort)
    seeds = np.unique(rows.seeds)
    if len(seeds) > MAX_SEEDS:
        problems.append(f"column seed: {len(seeds)} seeds, more than {MAX_SEEDS}")
    else:
        problems += _case_problems(rows, cohort, wanted, complete=not problems)
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was scored")
    return _predictions(rows, len(cohort.rows), wanted, sha256_bytes(file.content))


def format_predictions(read: Predictions, case_ids: Sequence[str]) -> str:
    """Return predictions as text in one form: by seed, then case; the shortest exact numbers."""
    seeded = read.seeds != (0,)
    values = ("prediction",) if read.probabilities is None else PROBABILITIES
    lines = [",".join(["case_id", *(["seed"] if seeded else []), *values])]
    for place, seed in enumerate(read.seeds):
        for case, name in enumerate(case_ids):
            if read.probabilities is None:
                cells = [CLASSES[read.labels[place, case]]]
            else:
                cells = [repr(abs(float(p))) for p in read.probabilities[place, case]]
            lines.append(",".join([name, *([str(seed)] if seeded else []), *cells]))
    return "\n".join(lines) + "\n"


def _header_problems(file: CsvFile) -> list[str]:
    if len(file.header) > _MAX_COLUMNS:
        return [f"row 1: {len(file.header)} columns, {len(PROBABILITIES) + 2} are needed at most"]
    labels = "prediction" in file.header
    needed = ("case_id", *(() if labels else PROBABILITIES))
    problems = file.header_problems(("case_id", "seed", *PROBABILITIES, "prediction"), needed)
    if labels and set(PROBABILITIES) & set(file.header):
        problems.append("row 1: either 'prediction' or probabilities, not both")
    return problems


def _rows(file: CsvFile, cohort: FoldTable) -> tuple[_Rows, list[str]]:
    places = {case_id: place for place, case_id in enumerate(cohort.case_ids)}
    rows = _Rows()
    problems: list[str] = []
    for number, cells in file.rows():
        if len(problems) + len(rows.unknown) >= MAX_PROBLEMS:
            break
        if len(cells) != len(file.header):
            problems.append(f"row {number}: {_width_problem(cells, file.header)}")
            continue
        values = dict(zip(file.header, cells, strict=True))
        found = list(_row_problems(values))
        problems += [f"row {number}: {problem}" for problem in found]
        place = places.get(values["case_id"])
        if found:
            continue
        if place is None:
            rows.unknown.append((number, values["case_id"]))
            continue
        rows.numbers.append(number)
        rows.seeds.append(int(values.get("seed", "0")))
        rows.places.append(place)
        rows.values.extend(_values(values))
    if not rows.numbers and not rows.unknown and not problems:
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
    numbers = [_number(values[column]) for column in PROBABILITIES]
    for column, number in zip(PROBABILITIES, numbers, strict=True):
        if number is None or not 0 <= number <= 1:
            yield f"{column} is {shown(values[column])}, not a probability from 0 to 1"
    known = [number for number in numbers if number is not None and 0 <= number <= 1]
    if len(known) == len(numbers):
        total = reduce(_EXACT.add, known)
        if abs(_EXACT.subtract(total, Decimal(1))) > SUM_TOLERANCE:
            yield f"{_SUM} sum to {total:.6g}, not 1"


def _number(text: str) -> Decimal | None:
    """Return the number exactly as it is written, None where the text is none in plain digits.

    Looking at each character first costs no more for a long cell, as a pattern that tries again would.
    """
    if len(text) > _MAX_NUMBER or not _DIGITS.issuperset(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _values(values: dict[str, str]) -> Iterator[float]:
    if "prediction" in values:
        yield label_of(values["prediction"])
    else:
        yield from (float(values[column]) for column in PROBABILITIES)


def _case_problems(
    rows: _Rows, cohort: FoldTable, wanted: NDArray[np.int64], *, complete: bool
) -> list[str]:
    """Name unknown, repeated and, where every row could be read, missing cases of each seed."""
    used, case_ids = set(rows.places), cohort.case_ids
    unused = [case_id for place, case_id in enumerate(case_ids) if place not in used]
    problems = []
    for count, (number, name) in enumerate(rows.unknown):
        hint = nearest(name[:50], unused or case_ids) if count < _HINTS else ""
        problems.append(
            f"row {number}: case_id: no case {shown(name)} in cohort {cohort.name}{hint}"
        )
    problems += islice(_repeated(rows, cohort), MAX_PROBLEMS)
    if complete:
        problems += islice(_missing(rows, cohort, wanted), MAX_PROBLEMS)
    return problems


def _repeated(rows: _Rows, cohort: FoldTable) -> Iterator[str]:
    case_ids, seeds, places = cohort.case_ids, np.array(rows.seeds), np.array(rows.places)
    order = np.lexsort((places, seeds))
    same = (np.diff(seeds[order]) == 0) & (np.diff(places[order]) == 0)
    first = np.maximum.accumulate(np.where(np.append(False, same), 0, np.arange(len(order))))
    again = np.flatnonzero(np.append(False, same))
    for place in again[np.argsort(order[again])]:
        row, before = int(order[place]), int(order[first[place]])
        case_id, seed = case_ids[rows.places[row]], rows.seeds[row]
        yield (
            f"row {rows.numbers[row]}: case_id {case_id!r} stands in row {rows.numbers[before]} already"
            + (f" (seed {seed})" if seed else "")
        )


def _missing(rows: _Rows, cohort: FoldTable, wanted: NDArray[np.int64]) -> Iterator[str]:
    case_ids, folds = cohort.case_ids, np.array(cohort.folds)
    all_seeds, places = np.array(rows.seeds), np.array(rows.places)
    seeds = np.unique(all_seeds)
    for seed in seeds:
        there = np.zeros(len(case_ids), dtype=bool)
        there[places[all_seeds == seed]] = True
        missing = wanted[~there[wanted]]
        if len(missing):
            count = "1 case is" if len(missing) == 1 else f"{len(missing)} cases are"
            where = f" for seed {seed}" if len(seeds) > 1 else ""
            listed = ", ".join(case_ids[place] for place in missing[:5])
            dots = ", ..." if len(missing) > 5 else ""
            # Whole folds are most often those that were not run yet.
            gone = sorted(set(folds[missing].tolist()) - set(folds[there].tolist()))
            whole = np.isin(folds[missing], gone).all() and there.any()
            which = f" (all of fold {', '.join(map(str, gone))})" if gone and whole else ""
            yield f"column case_id: {count} missing{where}{which}: {listed}{dots}"


def _predictions(rows: _Rows, n_cases: int, wanted: NDArray[np.int64], digest: str) -> Predictions:
    seeds, layers = np.unique(rows.seeds, return_inverse=True)
    given = np.array(rows.values).reshape(len(rows.numbers), -1)
    values = np.zeros((len(seeds), n_cases, given.shape[1]))
    values[layers, rows.places] = given
    values = values[:, wanted]
    names = tuple(int(seed) for seed in seeds)
    if values.shape[-1] == 1:
        return Predictions(names, values[..., 0].astype(np.int64), None, 0, digest)
    ties = int(((values == values.max(axis=-1, keepdims=True)).sum(axis=-1) > 1).sum())
    return Predictions(names, values.argmax(axis=-1), values, ties, digest)
