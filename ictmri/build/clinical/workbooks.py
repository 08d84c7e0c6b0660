"""Excel workbooks as grids of text, with what a person does not see in them or a program has spoiled."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from ictmri.build.identity import spoiled_id
from ictmri.errors import MissingDependencyError

MAX_XML: Final = 2**26
"""Largest content of a workbook, unpacked, in bytes: a cohort's labels are a few kilobytes."""
MAX_ROWS: Final = 100_000
MAX_COLUMNS: Final = 500
_DIGITS: Final = 15
"""Digits of a number that Excel keeps."""

_UNSEEN: Final = 0.5
"""Height in points, or width in digits, up to which nobody sees a row or column."""
_FORMAT: Final = re.compile(r'(?:"([^"]*)")?(General|#|0+(?:\.0+)?)(\\?[ ])?(?:"([^"]*)")?')
"""A number format with words before or behind the number."""

UNSTORED: Final = "formulas whose values were never stored"
ERRORS: Final = "errors of a spreadsheet program (#N/A, #REF! and such)"
DATES: Final = "dates (a spreadsheet program takes 1-2 for one)"
ROUNDED: Final = "long numbers that a spreadsheet program has rounded"

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a table as text.

    Attributes:
        name: of the sheet in a workbook; empty elsewhere.
        rows: the cells, from the first row on.
        hidden: the sheet is hidden.
        hidden_rows: numbers of hidden rows, from 1; also those that a filter hides.
        hidden_columns: places of hidden columns, from 0.
        merged: number of cells that took the value of the merged cell that they belong to.
        odd: what a spreadsheet program has made of cells, by number of the row and place of the column.
    """

    name: str
    rows: list[list[str]]
    hidden: bool = False
    hidden_rows: frozenset[int] = frozenset()
    hidden_columns: frozenset[int] = frozenset()
    merged: int = 0
    odd: Mapping[Place, str] = field(default_factory=dict)


def text_grid(name: str, rows: list[list[str]]) -> Grid:
    """Return rows of text as a grid; error values of a spreadsheet program in it count as empty."""
    odd = {
        (number, place): ERRORS if cell.startswith("#") else ROUNDED
        for number, cells in enumerate(rows, start=1)
        for place, cell in enumerate(cells)
        if spoiled_id(cell.strip())
    }
    errors = {place for place, what in odd.items() if what == ERRORS}
    whole = [
        ["" if (number, place) in errors else cell for place, cell in enumerate(cells)]
        for number, cells in enumerate(rows, start=1)
    ]
    return Grid(name, whole, odd=odd)


def read_workbook(path: Path) -> Iterator[Grid]:
    """Yield the sheets of a workbook.

    Raises:
        MissingDependencyError: openpyxl is not installed.
        ValueError: it is too large.
    """
    try:
        import openpyxl
    except ImportError:
        raise MissingDependencyError("Reading an Excel workbook", "build") from None
    with zipfile.ZipFile(path) as parts:
        xml = (info.file_size for info in parts.infolist() if info.filename.endswith(".xml"))
        if sum(xml) > MAX_XML:
            raise ValueError("too large when unpacked")
    values = openpyxl.load_workbook(path, data_only=True)
    formulas = openpyxl.load_workbook(path)
    for sheet in values.worksheets:
        yield _grid(sheet, formulas[sheet.title])


def _grid(sheet: Any, formulas: Any) -> Grid:
    cells: dict[Place, str] = {}
    odd: dict[Place, str] = {}
    for (number, column), cell in sorted(sheet._cells.items()):
        if number > MAX_ROWS or column > MAX_COLUMNS:
            continue
        place = (number, column - 1)
        what = _oddity(cell, formulas._cells.get((number, column)))
        odd |= {place: what} if what else {}
        cells[place] = "" if what in (UNSTORED, ERRORS) else _shown(cell)
    merged = _fill_merged(sheet, cells)
    columns = sheet.column_dimensions.values()
    return Grid(
        sheet.title,
        _rows(cells),
        hidden=sheet.sheet_state != "visible",
        hidden_rows=frozenset(
            number
            for number, row in sheet.row_dimensions.items()
            if row.hidden or (row.height is not None and row.height < _UNSEEN)
        ),
        hidden_columns=frozenset(
            place
            for column in columns
            if column.hidden or column.width < _UNSEEN
            for place in range(column.min - 1, column.max)
        ),
        merged=merged,
        odd=odd,
    )


def _rows(cells: Mapping[Place, str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for (number, place), text in sorted(cells.items()):
        rows += [[] for _ in range(number - len(rows))]
        rows[-1] += [""] * (place - len(rows[-1])) + [text]
    return rows


def _oddity(cell: Any, formula: Any) -> str:
    if cell.data_type == "e":
        return ERRORS
    if cell.value is None:
        # Excel stores the empty text that a formula gives as one; "n" is a cell without anything.
        computed = formula is not None and formula.data_type == "f"
        return UNSTORED if computed and cell.data_type == "n" else ""
    if isinstance(cell.value, date | datetime | time):
        return DATES
    number = isinstance(cell.value, int | float) and not isinstance(cell.value, bool)
    if number and abs(cell.value) >= 10**_DIGITS:
        return ROUNDED
    told = spoiled_id(cell_text(cell.value))
    return (ERRORS if cell_text(cell.value).startswith("#") else ROUNDED) if told else ""


def _shown(cell: Any) -> str:
    """Return a cell as a person sees it: 7 in the format 000 is 007, in ``0" months"`` it is 7 months."""
    text = cell_text(cell.value)
    found = _FORMAT.fullmatch(cell.number_format or "")
    if not found or not isinstance(cell.value, int | float) or isinstance(cell.value, bool):
        return text
    before, digits, gap, behind = (part or "" for part in found.groups())
    if len(digits) > 1 and digits.strip("0") == "" and text.isdecimal():
        text = text.zfill(len(digits))
    return f"{before}{text}{gap[-1:]}{behind}".strip()


def cell_text(value: Any) -> str:
    """Return a value as text: 12.0 as ``12``, a date in the order of ISO 8601, nothing as nothing."""
    if value is None or value != value:  # noqa: PLR0124
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value).strip()


def _fill_merged(sheet: Any, cells: dict[Place, str]) -> int:
    """Give the value of cells merged over rows to each of these rows; return how many cells it filled."""
    count = 0
    for merged in sheet.merged_cells.ranges:
        first = (merged.min_row, merged.min_col - 1)
        for number in range(merged.min_row + 1, min(merged.max_row, MAX_ROWS) + 1):
            if cells.get(first):
                cells[number, first[1]] = cells[first]
                count += 1
    return count
