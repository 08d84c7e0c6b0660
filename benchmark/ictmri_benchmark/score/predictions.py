"""``predictions.csv``: read against a cohort, refused with every problem at once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.csvfile import CsvFile, parse_csv, read_csv, shown
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.score.mistakes import (
    FILE,
    HEADERS,
    PERCENT,
    PROBABILITIES,
    Places,
    Told,
    cell_problem,
    class_problem,
    header_problems,
    label_meant,
    missing_cases,
    tell_classes,
    tell_probabilities,
    tell_unknown_cases,
    width_problem,
)
from ictmri_benchmark.score.protocol import ROUNDED_SUM, SUM_TOLERANCE

MAX_SEEDS: Final = 1000
_MAX_SEED: Final = 2**31
_MAX_COLUMNS: Final = 20
_MAX_NUMBER: Final = 100
_MAX_NAME: Final = 200
_DIGITS: Final = frozenset("0123456789.+-eE")
_UNSIGNED: Final = frozenset("0123456789.")
_SURELY: Final = float(SUM_TOLERANCE) - 1e-9
_EXACT: Final = Context(prec=1000)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of a whole cohort.

    Attributes:
        seeds: the S seeds, ascending; ``(0,)`` where the file has no such column.
        labels: (S, N) predicted labels, cases in the order of the fold table.
        probabilities: (S, N, K) of the K classes, None where the file holds labels only.
        ties: number of rows whose highest probability is shared; the first class wins.
        sha256: digest of the file.
        notes: how it was read where that is not as it stands there, for whoever sees the scores.
    """

    seeds: tuple[int, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    ties: int
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows, column by column: objects would take ten times the memory.

    Attributes:
        lines: where each begins in the file.
        seeds: seed of each.
        places: its case's place in the fold table, -1 where there is no such case.
        values: its probabilities, or its label, one row after the other; NaN where they cannot be read.
        wrong: whether its probabilities are no distribution.
        unknown: line and name of cases that the cohort does not have.
        classes: how classes are written, and the lines of each.
    """

    lines: array[int] = field(default_factory=lambda: array("q"))
    seeds: array[int] = field(default_factory=lambda: array("q"))
    places: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    wrong: array[int] = field(default_factory=lambda: array("b"))
    unknown: list[tuple[int, str]] = field(default_factory=list)
    classes: dict[str, array[int]] = field(default_factory=dict)


def read_predictions(
    path: Path,
    cohort: FoldTable,
    *,
    content: bytes | None = None,
    folds: Collection[int] | None = None,
    normalize: bool = False,
    places: Places = FILE,
) -> Predictions:
    """Read a predictions file.

    Class names are taken in any case, and so are the labels 0 to 3 where 0 is among them: their order is
    published. Without a 0 they may be counted from 1, so they are refused.

    Args:
        path: the file.
        cohort: its cases.
        content: what stands in the file, where it is known; ``path`` is then its name in messages.
        folds: the folds whose cases are needed and kept, all where None.
        normalize: divide the probabilities of each case by their sum, which is 1 but for rounding to two
            decimals, or 100; noted in the predictions.
        places: what header and rows are called in messages.

    Raises:
        InputError: anything is wrong with it; every kind of problem is named in one line, with the first
            row and the number of others.
    """
    most = MAX_SEEDS * len(cohort.rows)
    if content is None:
        file = read_csv(path, HEADERS[0], max_rows=most)
    else:
        file = parse_csv(path, content, HEADERS[0], max_rows=most)
    _check_header(file, cohort, places.header)
    wanted = np.flatnonzero([folds is None or fold in folds for fold in cohort.folds])
    told = Told(places)
    rows, problems = _rows(file, cohort, told)
    labelled, notes = "prediction" in file.header, []
    given = np.array(rows.values).reshape(len(rows.lines), 1 if labelled else len(PROBABILITIES))
    if labelled:
        notes = tell_classes(told, rows.classes)
    elif normalize:
        given, notes = _normalized(given, rows, told)
    else:
        tell_probabilities(told, given, np.array(rows.lines), np.array(rows.wrong, dtype=bool))
    problems += _case_problems(rows, cohort, wanted, told)
    problems = [*told.lines(), *problems]
    if problems:
        raise InputError(str(path), problems, "correct this; nothing was scored")
    digest = sha256_bytes(file.content)
    return _predictions(rows, given, len(cohort.rows), wanted, digest, notes)


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


def _check_header(file: CsvFile, cohort: FoldTable, place: str) -> None:
    if len(file.header) > _MAX_COLUMNS:
        most = f"{len(PROBABILITIES) + 2} are needed at most"
        problems = [f"{place}: {len(file.header)} columns, {most}"]
    else:
        first: list[str] = []
        with suppress(InputError):  # what is wrong with the rows is told when they are read
            first = next((cells for _, cells in file.rows()), first)
        problems = header_problems(file.header, first, set(cohort.case_ids), place)
    if problems:
        raise InputError(str(file.path), problems, f"the header is {HEADERS[0]} or {HEADERS[1]}")


def _rows(file: CsvFile, cohort: FoldTable, told: Told) -> tuple[_Rows, list[str]]:
    """Read the rows as far as they can be read, and say why no further."""
    rows = _Rows()
    places = {case_id: place for place, case_id in enumerate(cohort.case_ids)}
    classes = "prediction" in file.header
    order = [file.header.index(name) for name in (("prediction",) if classes else PROBABILITIES)]
    case, seeded = file.header.index("case_id"), "seed" in file.header
    seed = file.header.index("seed") if seeded else 0
    try:
        for line, cells in file.rows():
            if len(cells) != len(file.header):
                told.add(*_at(line, width_problem(cells, file.header)))
                continue
            name, number = cells[case], _seed(cells[seed]) if seeded else 0
            if number is None:
                whole = f"is not a whole number from 0 to {_MAX_SEED - 1}"
                told.add("seed", line, f"seed {shown(cells[seed])} {whole}")
                continue
            if not name:
                told.add("empty", line, "case_id is empty")
            elif name not in places:
                rows.unknown.append((line, name[:_MAX_NAME]))
            rows.lines.append(line)
            rows.seeds.append(number)
            rows.places.append(places.get(name, -1))
            given = [cells[place] for place in order]
            if classes:
                _add_class(rows, given[0], line, told)
            else:
                _add_probabilities(rows, given, line, told)
    except InputError as error:
        return rows, error.problems
    if not rows.lines and not told.kinds:
        return rows, ["no predictions: the file has a header only"]
    return rows, []


def _at(line: int, kind_and_text: tuple[str, str]) -> tuple[str, int, str]:
    return kind_and_text[0], line, kind_and_text[1]


def _seed(text: str) -> int | None:
    """Return a seed, None where the text is none."""
    plain = text.isascii() and text.isdecimal() and len(text) < 11
    return int(text) if plain and int(text) < _MAX_SEED else None


def _add_class(rows: _Rows, text: str, line: int, told: Told) -> None:
    label = label_meant(text)
    rows.values.append(math.nan if label is None else label)
    if label is not None:
        rows.classes.setdefault(text, array("q")).append(line)
    else:
        told.add(*_at(line, class_problem(text)))


def _add_probabilities(rows: _Rows, cells: Sequence[str], line: int, told: Told) -> None:
    if (plain := _plain_probabilities(cells)) is not None:
        rows.values.extend(plain)
        rows.wrong.append(False)
        return
    numbers = [_number(cell) for cell in cells]
    if None in numbers:
        place = numbers.index(None)
        told.add(*_at(line, cell_problem(PROBABILITIES[place], cells[place])))
        rows.values.extend([math.nan] * len(cells))
        rows.wrong.append(False)
        return
    known = [number for number in numbers if number is not None]
    inside = all(0 <= number <= 1 for number in known)
    total = reduce(_EXACT.add, known) if inside else Decimal(0)
    rows.values.extend(map(_near, known))
    rows.wrong.append(abs(_EXACT.subtract(total, Decimal(1))) > SUM_TOLERANCE)


def _plain_probabilities(cells: Sequence[str]) -> list[float] | None:
    """Return what nearly all rows hold, numbers that surely sum to 1; None where it takes exact ones."""
    text = "".join(cells)
    if len(text) > _MAX_NUMBER or not _UNSIGNED.issuperset(text):
        return None
    try:
        found = list(map(float, cells))
    except ValueError:
        return None
    surely = max(found) < 1 and abs(sum(found) - 1) < _SURELY
    return found if surely else None


def _near(number: Decimal) -> float:
    """Return the nearest float that is a probability where, and only where, the number is one."""
    near = float(number)
    if number < 0 <= near:
        return -math.ulp(0)
    return math.nextafter(1, 2) if number > 1 >= near else near


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


def _normalized(
    given: NDArray[np.float64], rows: _Rows, told: Told
) -> tuple[NDArray[np.float64], list[str]]:
    """Return probabilities divided by their sums, and a note of it; what that cannot mend is told."""
    readable = ~np.isnan(given).any(axis=1)
    if not readable.any():
        return given, []
    with np.errstate(invalid="ignore", divide="ignore"):
        # Added one by one: the same on every machine.
        totals = reduce(np.add, given.T)
        whole = PERCENT if np.median(totals[readable]) > math.sqrt(PERCENT) else 1.0
        fits = (given >= 0).all(axis=1) & (np.abs(totals / whole - 1) <= ROUNDED_SUM + 1e-9)
        tell_probabilities(told, given, np.array(rows.lines), readable & ~fits, whole)
        ends = f"{totals[readable].min():.6g} to {totals[readable].max():.6g}"
        note = f"normalized: the probabilities of each case were divided by their sum, {ends}"
        return given / totals[:, None], [note]


def _case_problems(
    rows: _Rows, cohort: FoldTable, wanted: NDArray[np.int64], told: Told
) -> list[str]:
    """Tell unknown and repeated cases; return what is wrong with the whole."""
    used = set(rows.places)
    unused = [case_id for place, case_id in enumerate(cohort.case_ids) if place not in used]
    unread = told.kinds & {"seed", "empty", "width", "names", "commas"}
    tell_unknown_cases(told, rows.unknown, cohort, unused)
    _tell_repeated(rows, cohort, told)
    seeds = np.unique(rows.seeds)
    if len(seeds) > MAX_SEEDS:
        return [f"column seed: {len(seeds)} seeds, more than {MAX_SEEDS}"]
    if unread:
        return []
    missing = {int(seed): _missing(rows, seed, wanted) for seed in seeds}
    missing = {seed: cases for seed, cases in missing.items() if len(cases) > len(rows.unknown)}
    if not missing:
        return []
    (seed, cases), *others = missing.items()
    where = f" for seed {seed}" if len(seeds) > 1 else ""
    where += f" (and some for {len(others)} more)" if others else ""
    return [missing_cases(cohort, cases.tolist(), where)]


def _tell_repeated(rows: _Rows, cohort: FoldTable, told: Told) -> None:
    lines, seeds, places = (np.array(column) for column in (rows.lines, rows.seeds, rows.places))
    order = np.lexsort((lines, places, seeds))
    order = order[places[order] >= 0]
    same = (np.diff(seeds[order]) == 0) & (np.diff(places[order]) == 0)
    again = order[1:][same]
    if not len(again):
        return
    row = again.min()
    alike = (seeds == seeds[row]) & (places == places[row])
    said = (
        f"case_id {cohort.case_ids[places[row]]!r} stands in "
        f"{told.places.row(int(lines[alike].min()))} already"
    )
    said += (
        f" (seed {seeds[row]})"
        if seeds[row]
        else "; one row a case, or a column seed that tells runs apart"
    )
    told.add("repeated", int(lines[row]), said, len(again))


def _missing(rows: _Rows, seed: int, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the cases that a seed has no row of."""
    return np.setdiff1d(wanted, np.array(rows.places)[np.array(rows.seeds) == seed])


def _same_runs(seeds: Sequence[int], values: NDArray[np.float64]) -> list[str]:
    """Say where two seeds have the same predictions: most often one run that was written twice."""
    first: dict[str, int] = {}
    digests = (sha256_bytes(each.tobytes()) for each in values)
    same = [(first.setdefault(d, seed), seed) for seed, d in zip(seeds, digests, strict=True)]
    pairs = [f"{one} and {other}" for one, other in same if one != other]
    return [f"seeds {', '.join(pairs[:5])} have the same predictions"] if pairs else []


def _predictions(
    rows: _Rows,
    given: NDArray[np.float64],
    n_cases: int,
    wanted: NDArray[np.int64],
    digest: str,
    notes: Sequence[str],
) -> Predictions:
    seeds, layers = np.unique(rows.seeds, return_inverse=True)
    values = np.zeros((len(seeds), n_cases, given.shape[1]))
    values[layers, rows.places] = given
    values = values[:, wanted]
    names = tuple(int(seed) for seed in seeds)
    told = (*notes, *_same_runs(names, values))
    if values.shape[-1] == 1:
        return Predictions(names, values[..., 0].astype(np.int64), None, 0, digest, told)
    ties = int(((values == values.max(axis=-1, keepdims=True)).sum(axis=-1) > 1).sum())
    return Predictions(names, values.argmax(axis=-1), values, ties, digest, told)
