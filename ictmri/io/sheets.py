"""Tables of any format as text, with what nobody sees in them or a spreadsheet program has spoiled."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from ictmri.extras import need

MAX_BYTES: Final = 2**26
"""Largest table, and largest content of a workbook, in bytes."""
MAX_ROWS: Final = 100_000
_ROUNDS: Final = 10**15
"""From this on Excel does not keep the last digits of a number."""
_UNSEEN: Final = 0.5
"""Height in points, or width in digits, up to which nobody sees a row or column."""
_FORMAT: Final = re.compile(r'(?:"([^"]*)")?(General|#|0+(?:\.0+)?)(\\?[ ])?(?:"([^"]*)")?')
"""A number format with words before or behind the number."""
HIDDEN: Final = "hidden (a row, a column or the sheet, by hand or by a filter)"
MERGED: Final = "given the value of their merged cell"
UNSTORED: Final = "formulas whose values were never stored"
DATES: Final = "dates (a spreadsheet program takes 1-2 for one)"
ROUNDED: Final = "long numbers that a spreadsheet program has rounded"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a file.

    Attributes:
        name: of the sheet, or the keys above it in JSON; empty where a file has one table.
        cells: by number of the row and of the column, from 1: the text of cells that hold any.
        odd: what is odd about a cell.
    """

    name: str
    cells: dict[tuple[int, int], str]
    odd: dict[tuple[int, int], list[str]]


def read_sheets(path: Path) -> Iterator[Sheet]:
    """Yield the tables of a workbook, of JSON in records, by id, or in lists, or of text with separators.

    Raises:
        MissingDependencyError: it is a workbook and there is nothing to read it with.
        ValueError: it is too large or no text; the libraries raise exceptions of their own.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("too large")
    ending = path.suffix.lower()
    if ending in (".xlsx", ".xlsm"):
        yield from _of_workbook(path)
        return
    text = _decoded(path.read_bytes())
    if ending in (".jsonl", ".ndjson"):
        yield _of_records("", [json.loads(line) for line in text.splitlines() if line.strip()])
    elif ending == ".json":
        yield from _of_json(json.loads(text), "")
    else:
        parted = [list(csv.reader(io.StringIO(text, newline=""), delimiter=d)) for d in ",;\t|"]
        yield _of_rows("", max(parted, key=_regular))


def _decoded(content: bytes) -> str:
    """Return text in UTF-8, UTF-16 with its mark, or GB 18030, which Excel in China saves."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030")
    if "\0" in text:
        raise ValueError("no text")
    return text


def _regular(rows: list[list[str]]) -> tuple[float, int]:
    """Return how much rows are a table: the share of rows as wide as most, and that width."""
    widths = Counter(len(row) for row in rows[:200] if any(row))
    count, width = max(((n, width) for width, n in widths.items() if width > 1), default=(0, 0))
    return count / max(widths.total(), 1), width


def _of_json(content: Any, name: str) -> Iterator[Sheet]:
    by_key = isinstance(content, dict)
    parts = content if by_key else {f"fold {n}": value for n, value in enumerate(content)}
    records = [value for value in parts.values() if isinstance(value, dict)]
    deeper = any(isinstance(part, list) for record in records for part in record.values())
    if deeper or (by_key and len(records) < len(parts)):
        for key, value in parts.items():
            if isinstance(value, dict | list):
                yield from _of_json(value, f"{name}/{key}".lstrip("/"))
    elif by_key:
        yield _of_records(name, [{"id": key, **value} for key, value in parts.items()])
    else:
        yield _of_records(name, records or [{"id": value} for value in content])


def _of_records(name: str, records: list[dict[str, Any]]) -> Sheet:
    header = list(dict.fromkeys(key for record in records for key in record))
    return _of_rows(name, [header, *([record.get(key) for key in header] for record in records)])


def _of_rows(name: str, rows: list[list[Any]]) -> Sheet:
    cells = {
        (number, column): text
        for number, row in enumerate(rows, start=1)
        for column, value in enumerate(row, start=1)
        if (text := _text(value))
    }
    return Sheet(name, cells, {})


def _text(value: Any) -> str:
    """Return a value as text: 12.0 as ``12``, a date in the order of ISO 8601, nothing as nothing."""
    if value is None or value != value:  # noqa: PLR0124
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, date):
        return value.isoformat()
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()


def _of_workbook(path: Path) -> Iterator[Sheet]:
    need("build", "Reading an Excel workbook", "openpyxl")
    import openpyxl

    with zipfile.ZipFile(path) as parts:
        if sum(info.file_size for info in parts.infolist()) > MAX_BYTES:
            raise ValueError("too large when unpacked")
    values, formulas = (openpyxl.load_workbook(path, data_only=told) for told in (True, False))
    for sheet in values.worksheets:
        rows = {n for n, row in sheet.row_dimensions.items() if row.hidden or _thin(row.height)}
        columns = {
            place
            for column in sheet.column_dimensions.values()
            if column.hidden or _thin(column.width)
            for place in range(column.min, column.max + 1)
        }
        cells: dict[tuple[int, int], str] = {}
        odd: dict[tuple[int, int], list[str]] = defaultdict(list)
        for at, cell in sheet._cells.items():
            unseen = sheet.sheet_state != "visible" or at[0] in rows or at[1] in columns
            odd[at] += _oddities(cell, formulas[sheet.title]._cells.get(at), unseen=unseen)
            if at[0] <= MAX_ROWS and (text := _as_shown(cell)):
                cells[at] = text
        for area in sheet.merged_cells.ranges:
            first = area.min_row, area.min_col
            for number in range(area.min_row + 1, area.max_row + 1 if first in cells else 0):
                cells[number, area.min_col] = cells[first]
                odd[number, area.min_col] = [*odd[first], MERGED]
        yield Sheet(sheet.title, cells, odd)


def _thin(size: float | None) -> bool:
    return size is not None and size < _UNSEEN


def _oddities(cell: Any, formula: Any, *, unseen: bool) -> list[str]:
    # Excel stores the empty text that a formula gives as one; "n" is a cell without anything.
    if cell.value is None:
        lost = cell.data_type == "n" and formula is not None and formula.data_type == "f"
        return [UNSTORED] if lost else []
    rounded = isinstance(cell.value, int | float) and abs(cell.value) >= _ROUNDS
    told = {HIDDEN: unseen, DATES: isinstance(cell.value, date | time), ROUNDED: rounded}
    return [what for what, true in told.items() if true]


def _as_shown(cell: Any) -> str:
    """Return a cell as a person sees it: 7 in the format 000 is 007, in ``0" months"`` it is 7 months."""
    text, found = _text(cell.value), _FORMAT.fullmatch(cell.number_format or "")
    if not found or not isinstance(cell.value, int | float) or isinstance(cell.value, bool):
        return text
    before, digits, gap, behind = (part or "" for part in found.groups())
    shown = text.zfill(len(digits)) if {*digits} == {"0"} and text.isdecimal() else text
    return f"{before}{shown}{gap[-1:]}{behind}".strip()
