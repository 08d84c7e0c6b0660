"""``ROWS.csv``: reported numbers and what is declared about them, read and checked as a whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.io.csvfile import read_csv
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.audit.fold_means import stratified_sizes
from ictmri_benchmark.audit.rounding import Printed
from ictmri_benchmark.score.metrics import PRINTED

REPORTED: Final = tuple(metric.plain for metric in PRINTED)
DECLARED: Final = (
    "unit",
    "decimals",
    "n",
    "folds",
    "aggregation",
    "averaging",
    "class_counts",
    "classes",
)
COLUMNS: Final = ("name", "table", *REPORTED, *DECLARED)
EXAMPLE: Final = "name,precision,recall,f1,accuracy,n,folds,averaging,class_counts"
WORDS: Final = {
    "unit": ("percent", "fraction"),
    "aggregation": ("pooled", "fold-mean"),
    "averaging": ("macro", "weighted", "micro"),
}
MAX_N: Final = 10**9
MAX_ROWS: Final = 200
_MAX_FOLDS: Final = 1000
_MAX_DIGITS: Final = 20
_MAX_NAME: Final = 80
_VALUE: Final = re.compile(r"(?a:\d{1,3}(\.\d{1,20})?|\.\d{1,20})")
_SIZES: Final = re.compile(r"(?a:\d{1,10}(x\d{1,4})?(\+\d{1,10}(x\d{1,4})?)*)")
_COUNTS: Final = re.compile(r"(?a:\d{1,10}(\+\d{1,10})+)")


@dataclass(frozen=True, slots=True)
class Row:
    """One reported row.

    Attributes:
        number: its line in the file.
        tables: groups of rows that are asked jointly whether one test set fits them all.
        printed: the reported metrics; one that is not reported is left out.
        decimals: declared number of digits that carry meaning, None = those that are printed.
        n: declared number of cases, None = unknown.
        fold_sizes: number of folds by size, None = unknown; empty where the cases are one test set.
        aggregation: ``pooled``, ``fold-mean``, None = unknown.
        averaging: ``macro``, ``weighted``, ``micro``, None = unknown.
        class_counts: cases by class, None = unknown.
        n_classes: number of classes.
    """

    number: int
    name: str
    tables: tuple[str, ...] = ()
    printed: dict[str, Printed] = field(default_factory=dict)
    decimals: int | None = None
    n: int | None = None
    fold_sizes: dict[int, int] | None = None
    aggregation: str | None = None
    averaging: str | None = None
    class_counts: tuple[int, ...] | None = None
    n_classes: int = len(CLASSES)


def read_rows(path: Path) -> tuple[list[Row], str]:
    """Read the file of rows.

    Returns:
        The rows, and the SHA-256 of the file.

    Raises:
        InputError: anything is wrong with it; every problem is named with its row and column.
    """
    file = read_csv(path, EXAMPLE, MAX_ROWS)
    problems = _header_problems(file.header)
    if problems:
        raise InputError(str(path), problems, f"a header is {EXAMPLE}; ictmri audit --help")
    rows: list[Row] = []
    for number, cells in file.rows():
        if len(cells) != len(file.header):
            problems.append(f"row {number}: {len(cells)} cells, the header has {len(file.header)}")
            continue
        values = dict(zip(file.header, (cell.strip() for cell in cells), strict=True))
        found = list(_problems(values))
        problems += [f"row {number}, {problem}" for problem in found]
        if not found:
            rows.append(_row(number, values))
    problems += _repeated(rows)
    if not rows and not problems:
        problems = ["no row: the file has a header only"]
    if problems:
        raise InputError(str(path), problems, "correct these cells; an unknown one is left empty")
    return rows, sha256_bytes(file.content)


def _header_problems(header: list[str]) -> list[str]:
    problems = [
        f"row 1: unknown column {name[:50]!r}{nearest(name[:50], COLUMNS)}"
        for name in header
        if name not in COLUMNS
    ]
    problems += [
        f"row 1: column {n[:50]!r} twice" for n, count in Counter(header).items() if count > 1
    ]
    if "name" not in header:
        problems.append("row 1: column 'name' is missing")
    if not set(REPORTED) & set(header):
        problems.append(f"row 1: none of the columns {', '.join(REPORTED)}")
    return problems


def _repeated(rows: list[Row]) -> list[str]:
    places: dict[str, list[int]] = {}
    for row in rows:
        places.setdefault(row.name, []).append(row.number)
    return [
        f"rows {', '.join(map(str, numbers))}, name: {name!r} stands {len(numbers)} times"
        for name, numbers in places.items()
        if len(numbers) > 1
    ]


def _problems(values: dict[str, str]) -> Iterator[str]:
    """Yield ``column: what is wrong`` for every cell of a row, then for cells that do not go together."""
    before = 0
    for column, text in values.items():
        check = _CHECKS.get(column)
        problem = _formula(text) or (check(text) if check and text else "")
        if problem:
            before += 1
            yield f"{column}: {problem}"
    if not values["name"]:
        before += 1
        yield "name: is empty; give the row a name"
    if not before:
        yield from _together(values)


def _formula(text: str) -> str:
    return (
        f"{text[:30]!r} is a spreadsheet formula; save its value"
        if text[:1] in "=@" and text
        else ""
    )


def _name(text: str) -> str:
    if not text.isprintable():
        return f"{text[:30]!r} holds characters that cannot be shown"
    return f"{len(text)} characters, at most {_MAX_NAME}" if len(text) > _MAX_NAME else ""


def _value(text: str) -> str:
    shown = repr(text[:30])
    if _VALUE.fullmatch(text):
        return f"{shown} is more than 100" if float(text) > 100 else ""
    if text.endswith("%"):
        return f"{shown} has a percent sign; write the number and unit = percent"
    if re.fullmatch(r"\d{1,3},\d{1,20}", text):
        return f"{shown} has a decimal comma; write {text.replace(',', '.')[:30]}"
    if text.startswith("-"):
        return f"{shown} is negative"
    return (
        f"{shown} is not a number as printed, like 92.00 or 0.92 (at most {_MAX_DIGITS} decimals)"
    )


def _whole(least: int, most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text.isascii() and text.isdecimal() and len(text) <= 12 and least <= int(text) <= most:
            return ""
        return f"{text[:30]!r} is not a whole number from {least} to {most}"

    return check


def _word(column: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        choices = WORDS[column]
        hint = nearest(text[:50].lower(), choices) or f"; one of {', '.join(choices)}, or empty"
        return "" if text in choices else f"{text[:30]!r} is unknown{hint}"

    return check


def _folds(text: str) -> str:
    if not _SIZES.fullmatch(text):
        return f"{text[:30]!r} is neither a number of folds (5) nor their sizes (49+50x4)"
    parts = [part.partition("x") for part in text.split("+")]
    count = sum(int(times or 1) for _, _, times in parts)
    sized = "+" in text or "x" in text
    if sized and not all(int(size) and int(times or 1) for size, _, times in parts):
        return f"{text[:30]!r} holds a 0"
    n_folds = count if sized else int(text)
    return "" if 1 <= n_folds <= _MAX_FOLDS else f"{n_folds} folds; from 1 to {_MAX_FOLDS}"


def _class_counts(text: str) -> str:
    if not _COUNTS.fullmatch(text):
        return f"{text[:30]!r} is not a sum of at least two class sizes, like 120+60+40+29"
    total = sum(map(int, text.split("+")))
    return "" if 1 <= total <= MAX_N else f"the classes hold {total} cases; from 1 to {MAX_N}"


_CHECKS: Final[dict[str, Callable[[str], str]]] = {
    "name": _name,
    "table": _name,
    **dict.fromkeys(REPORTED, _value),
    "decimals": _whole(0, _MAX_DIGITS),
    "n": _whole(1, MAX_N),
    "folds": _folds,
    "class_counts": _class_counts,
    "classes": _whole(2, 1000),
    **{column: _word(column) for column in WORDS},
}


def _together(values: dict[str, str]) -> Iterator[str]:
    given = {name: values[name] for name in REPORTED if values.get(name)}
    if not given:
        yield f"{', '.join(REPORTED)}: all are empty; nothing is reported"
    small = {name for name, text in given.items() if 0 < float(text) <= 1}
    large = {name for name, text in given.items() if float(text) > 1}
    unit = values.get("unit", "")
    if not unit and small and large:
        yield f"unit: {', '.join(given)} are on both sides of 1; fill in percent or fraction"
    if unit == "fraction" and large:
        yield f"unit: {', '.join(sorted(large))} above 1 cannot be a fraction"
    decimals = values.get("decimals", "")
    for name, text in given.items():
        if decimals and text.partition(".")[2][int(decimals) :].strip("0"):
            yield f"decimals: {decimals}, but {name} is printed as {text}"
    yield from _sizes_together(values)


def _sizes_together(values: dict[str, str]) -> Iterator[str]:
    sizes, counts = _sizes(values.get("folds", "")), _counts(values.get("class_counts", ""))
    known = {
        "n": int(values["n"]) if values.get("n") else None,
        "folds": sum(size * times for size, times in sizes.items()) if sizes else None,
        "class_counts": sum(counts) if counts else None,
    }
    totals = {column: total for column, total in known.items() if total is not None}
    if len(set(totals.values())) > 1:
        said = ", ".join(f"{column} {total}" for column, total in totals.items())
        yield f"{', '.join(totals)}: the numbers of cases differ ({said})"
    folds = values.get("folds", "")
    n = next(iter(totals.values()), None)
    if folds.isdecimal() and n is not None and int(folds) > n:
        yield f"folds: {folds} folds for {n} cases"
    classes = values.get("classes", "")
    if classes and counts and int(classes) != len(counts):
        yield f"classes: {classes}, but class_counts holds {len(counts)}"


def _sizes(text: str) -> dict[int, int]:
    """Return the number of folds by size; empty where only their number is given."""
    sizes: Counter[int] = Counter()
    if "+" in text or "x" in text:
        for part in text.split("+"):
            size, _, times = part.partition("x")
            sizes[int(size)] += int(times or 1)
    return dict(sizes)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("+"))) if text else ()


def _row(number: int, values: dict[str, str]) -> Row:
    given = {name: values[name] for name in REPORTED if values.get(name)}
    unit = values.get("unit") or ("percent" if any(float(t) > 1 for t in given.values()) else "")
    decimals = values.get("decimals", "")
    folds, counts = values.get("folds", ""), _counts(values.get("class_counts", ""))
    sizes = _sizes(folds)
    total = sum(counts) or sum(size * times for size, times in sizes.items())
    n = int(values["n"]) if values.get("n") else (total or None)
    return Row(
        number=number,
        name=values["name"],
        tables=tuple(t.strip() for t in values.get("table", "").split(";") if t.strip()),
        printed={
            name: Printed(
                text,
                int(decimals) if decimals else len(text.partition(".")[2]),
                unit == "percent",
            )
            for name, text in given.items()
        },
        decimals=int(decimals) if decimals else None,
        n=n,
        fold_sizes=_fold_sizes(folds, sizes, n),
        aggregation=values.get("aggregation") or None,
        averaging=values.get("averaging") or None,
        class_counts=counts or None,
        n_classes=len(counts) or int(values.get("classes") or len(CLASSES)),
    )


def _fold_sizes(folds: str, sizes: dict[int, int], n: int | None) -> dict[int, int] | None:
    if not folds:
        return None
    found = sizes or (stratified_sizes(n, int(folds)) if n else None)
    if found is None:
        return {} if int(folds) == 1 else None
    return {} if sum(found.values()) == 1 else found
