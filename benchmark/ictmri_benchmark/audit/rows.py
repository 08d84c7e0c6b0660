"""``ROWS.csv``: reported numbers and what is declared about them, read and checked as a whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.io.csvfile import read_csv
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.audit.fold_means import stratified_sizes
from ictmri_benchmark.audit.printed import Printed
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
    problems = file.header_problems(COLUMNS, ["name"])
    if not set(REPORTED) & set(file.header):
        problems.append(f"row 1: none of the columns {', '.join(REPORTED)}")
    if problems:
        raise InputError(str(path), problems, f"a header is {EXAMPLE}; ictmri audit --help")
    rows: list[Row] = []
    for number, cells in file.rows():
        if len(cells) != len(file.header):
            problems.append(f"row {number}: {len(cells)} cells, the header has {len(file.header)}")
            continue
        values, found = _parsed(dict(zip(file.header, map(str.strip, cells), strict=True)))
        found = found or list(_problems_together(values))
        problems += [f"row {number}, {problem}" for problem in found]
        if not found:
            rows.append(_row(number, values))
    for name, count in Counter(row.name for row in rows).items():
        if count > 1:
            numbers = ", ".join(str(row.number) for row in rows if row.name == name)
            problems.append(f"rows {numbers}, name: {name!r} stands {count} times")
    if not rows and not problems:
        problems = ["no row: the file has a header only"]
    if problems:
        raise InputError(str(path), problems, "correct these cells; an unknown one is left empty")
    return rows, sha256_bytes(file.content)


def _parsed(texts: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the cells that are not empty, and ``column: what is wrong`` of the others."""
    values: dict[str, Any] = {}
    problems = []
    for column, text in texts.items():
        try:
            if text.startswith(("=", "@")):
                raise ValueError(f"{text[:30]!r} is a spreadsheet formula; save its value")
            if text:
                values[column] = _PARSERS[column](text)
        except ValueError as error:
            problems.append(f"{column}: {error}")
    if not texts["name"]:
        problems.append("name: is empty; give the row a name")
    return values, problems


def _name(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text[:30]!r} holds characters that cannot be shown")
    if len(text) > _MAX_NAME:
        raise ValueError(f"{len(text)} characters, at most {_MAX_NAME}")
    return text


def _number(text: str) -> str:
    """Return the number as it is printed: its digits carry meaning."""
    shown = repr(text[:30])
    if _VALUE.fullmatch(text):
        if float(text) > 100:
            raise ValueError(f"{shown} is more than 100")
        return text
    if text.endswith("%"):
        raise ValueError(f"{shown} has a percent sign; write the number and unit = percent")
    if re.fullmatch(r"\d{1,3},\d{1,20}", text):
        raise ValueError(f"{shown} has a decimal comma; write {text.replace(',', '.')[:30]}")
    if text.startswith("-"):
        raise ValueError(f"{shown} is negative")
    decimals = f"at most {_MAX_DIGITS} decimals"
    raise ValueError(f"{shown} is not a number as printed, like 92.00 or 0.92 ({decimals})")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= 12 and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"{text[:30]!r} is not a whole number from {least} to {most}")

    return parse


def _word(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            hint = nearest(text[:50].lower(), choices) or f"; one of {', '.join(choices)}, or empty"
            raise ValueError(f"{text[:30]!r} is unknown{hint}")
        return text

    return parse


def _folds(text: str) -> int | dict[int, int]:
    """Return the number of folds or, where their sizes are given, the number of folds by size."""
    if not _SIZES.fullmatch(text):
        raise ValueError(
            f"{text[:30]!r} is neither a number of folds (5) nor their sizes (49+50x4)"
        )
    sizes: Counter[int] = Counter()
    if "+" in text or "x" in text:
        for part in text.split("+"):
            size, _, times = part.partition("x")
            if not int(size) or not int(times or 1):
                raise ValueError(f"{text[:30]!r} holds a 0")
            sizes[int(size)] += int(times or 1)
    n_folds = sizes.total() or int(text)
    if not 1 <= n_folds <= _MAX_FOLDS:
        raise ValueError(f"{n_folds} folds; from 1 to {_MAX_FOLDS}")
    return dict(sizes) or n_folds


def _class_counts(text: str) -> tuple[int, ...]:
    if not _COUNTS.fullmatch(text):
        raise ValueError(
            f"{text[:30]!r} is not a sum of at least two class sizes, like 120+60+40+29"
        )
    counts = tuple(map(int, text.split("+")))
    if not 1 <= sum(counts) <= MAX_N:
        raise ValueError(f"the classes hold {sum(counts)} cases; from 1 to {MAX_N}")
    return counts


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "name": _name,
    "table": _name,
    **dict.fromkeys(REPORTED, _number),
    "decimals": _whole(0, _MAX_DIGITS),
    "n": _whole(1, MAX_N),
    "folds": _folds,
    "class_counts": _class_counts,
    "classes": _whole(2, 1000),
    "unit": _word("percent", "fraction"),
    "aggregation": _word("pooled", "fold-mean"),
    "averaging": _word("macro", "weighted", "micro"),
}


def _problems_together(values: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with cells that do not go together."""
    given = {name: values[name] for name in REPORTED if name in values}
    if not given:
        yield f"{', '.join(REPORTED)}: all are empty; nothing is reported"
    small = {name for name, text in given.items() if 0 < float(text) <= 1}
    large = {name for name, text in given.items() if float(text) > 1}
    unit, decimals = values.get("unit"), values.get("decimals")
    if not unit and small and large:
        yield f"unit: {', '.join(given)} are on both sides of 1; fill in percent or fraction"
    if unit == "fraction" and large:
        yield f"unit: {', '.join(sorted(large))} above 1 cannot be a fraction"
    for name, text in given.items():
        if decimals is not None and text.partition(".")[2][decimals:].strip("0"):
            yield f"decimals: {decimals}, but {name} is printed as {text}"
    totals = _totals(values)
    if len(set(totals.values())) > 1:
        said = ", ".join(f"{column} {total}" for column, total in totals.items())
        yield f"{', '.join(totals)}: the numbers of cases differ ({said})"
    folds, n = values.get("folds"), next(iter(totals.values()), None)
    if isinstance(folds, int) and n is not None and folds > n:
        yield f"folds: {folds} folds for {n} cases"
    classes, counts = values.get("classes"), values.get("class_counts")
    if classes and counts and classes != len(counts):
        yield f"classes: {classes}, but class_counts holds {len(counts)}"


def _totals(values: dict[str, Any]) -> dict[str, int]:
    """Return by column the number of all cases that it tells, if any."""
    totals = {"n": values["n"]} if "n" in values else {}
    if isinstance(values.get("folds"), dict):
        totals["folds"] = sum(size * times for size, times in values["folds"].items())
    if "class_counts" in values:
        totals["class_counts"] = sum(values["class_counts"])
    return totals


def _row(number: int, values: dict[str, Any]) -> Row:
    given = {name: values[name] for name in REPORTED if name in values}
    unit = values.get("unit") or ("percent" if any(float(t) > 1 for t in given.values()) else "")
    decimals, counts = values.get("decimals"), values.get("class_counts")
    n = next(iter(_totals(values).values()), None)
    return Row(
        number=number,
        name=values["name"],
        tables=tuple(t.strip() for t in values.get("table", "").split(";") if t.strip()),
        printed={
            name: Printed(
                text,
                len(text.partition(".")[2]) if decimals is None else decimals,
                unit == "percent",
            )
            for name, text in given.items()
        },
        decimals=decimals,
        n=n,
        fold_sizes=_fold_sizes(values.get("folds"), n),
        aggregation=values.get("aggregation"),
        averaging=values.get("averaging"),
        class_counts=counts,
        n_classes=len(counts) if counts else values.get("classes", len(CLASSES)),
    )


def _fold_sizes(folds: int | dict[int, int] | None, n: int | None) -> dict[int, int] | None:
    """Return the number of folds by size, None where they are not known; empty for one test set."""
    if isinstance(folds, int):
        # One fold is one test set, of however many cases.
        folds = stratified_sizes(n, folds) if n else ({} if folds == 1 else None)
    return {} if folds is not None and sum(folds.values()) == 1 else folds
