"""Tables of any format as columns of text, with what nobody sees in them or a program has spoiled."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from ictmri.build.ages import Unit, read_age, read_unit
from ictmri.build.clinical.embedded import image_columns
from ictmri.build.clinical.images import SourceImage
from ictmri.build.clinical.mapping import ColumnMapping, TableMapping
from ictmri.build.clinical.source import Inventory, SourceFile
from ictmri.build.clinical.vocabulary import ClassWord, passed_over, read_class, read_header
from ictmri.build.identity import spoiled_id
from ictmri.errors import MissingDependencyError

MAX_BYTES: Final = 2**26
"""Largest table, and largest content of a workbook, in bytes: a cohort's labels are a few kilobytes."""
MAX_ROWS: Final = 100_000
_HEADER_WITHIN: Final = 20
"""Rows among which the header is looked for: some sheets begin with a title."""
_ROUNDS: Final = 10**15
"""From this on Excel does not keep the last digits of a number."""
_UNSEEN: Final = 0.5
"""Height in points, or width in digits, up to which nobody sees a row or column."""
_FORMAT: Final = re.compile(r'(?:"([^"]*)")?(General|#|0+(?:\.0+)?)(\\?[ ])?(?:"([^"]*)")?')
"""A number format with words before or behind the number."""
HIDDEN: Final = "hidden (a row, a column or the sheet, by hand or by a filter)"
MERGED: Final = "given the value of their merged cell"
UNSTORED: Final = "formulas whose values were never stored"
ERRORS: Final = "errors of a spreadsheet program (#N/A, #REF! and such)"
DATES: Final = "dates (a spreadsheet program takes 1-2 for one)"
ROUNDED: Final = "long numbers that a spreadsheet program has rounded"
_Cells = dict[tuple[int, int], tuple[str, list[str]]]
"""By number of the row and of the column, from 1: the text, and what is odd about it."""


@dataclass(eq=False, slots=True)
class ClinicalTable:
    """A table of the source, and what it is proposed to tell.

    Attributes:
        path: name of its file in the source; with the ``sheet`` of a workbook.
        header_row: number of the header's row, counted from 1; 0 where the table has none.
        numbers: number of each row in the file.
        columns: cells by header.
        odd: by header, what is odd about cells, and how often.
        fields: header of the column of each field of the mapping.
        able: headers of columns that can be the id, and that can name files.
        words: by header, what each word of the column means as a class.
        unit: of ages, where no cell says it; years where None.
        ids: what names the patient of each row, with the class where only that makes ids differ.
        files: the image that a row names, by place of the row.
        joined: places of the rows that are about a patient with an image.
        open: what is not clear: a field, the question, choices.
    """

    path: str
    sheet: str
    header_row: int
    numbers: list[int]
    columns: dict[str, list[str]]
    odd: dict[str, Counter[str]]
    fields: dict[str, str] = field(default_factory=dict)
    able: dict[str, list[str]] = field(default_factory=dict)
    words: dict[str, dict[str, ClassWord | None]] = field(default_factory=dict)
    unit: Unit | None = None
    ids: list[str] = field(default_factory=list)
    files: dict[int, SourceImage] = field(default_factory=dict)
    joined: list[int] = field(default_factory=list)
    open: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """How the table is called in messages."""
        return f"{self.path} [{self.sheet}]" if self.sheet else self.path

    def cells(self, name: str) -> list[str]:
        """Return the cells of a field's column, empty ones where the table has no such column."""
        return self.columns.get(self.fields.get(name, ""), [""] * len(self.numbers))

    def as_mapping(self) -> dict[str, Any]:
        """Return the table as it stands in a mapping file."""
        columns = {name: self.fields.get(name) for name in ColumnMapping.model_fields}
        columns["age_unit"] = columns["age_unit"] or self.unit
        sheet = self.sheet or None
        return {
            "path": self.path,
            "sheet": sheet,
            "header_row": self.header_row,
            "columns": columns,
        }

    def word(self, name: str, row: int) -> ClassWord | None:
        """Return what a row's word for the class, or for the subtype, means."""
        return self.words.get(self.fields.get(name, ""), {}).get(self.cells(name)[row])

    def age(self, row: int) -> float | None:
        """Return the age of a row in years, NaN where it is unknown, None where it is not understood."""
        told = self.cells("age_unit")[row]
        unit = read_unit(told) or self.unit
        if told and (read_unit(told) is None or unit != (self.unit or unit)):
            return None
        return read_age(self.cells("age")[row], unit)


def read_tables(
    found: Inventory, given: Sequence[TableMapping], *, seen_only: bool
) -> list[ClinicalTable]:
    """Read every file that may be a table.

    Args:
        found: what the source holds; what is no table is counted there.
        given: what a person said of tables, the row of their header among it.
        seen_only: leave out what a workbook hides.

    Raises:
        MissingDependencyError: there is a workbook and nothing to read it with.
    """
    rows = {(table.path, table.sheet): table.header_row for table in given}
    tables: list[ClinicalTable] = []
    for file in found.tables:
        try:
            grids = list(_grids(file, found.embedded.get(file.name, {})))
        except MissingDependencyError:
            raise
        except Exception as error:  # noqa: BLE001 - each library has exceptions of its own
            found.aside[f"{file.name}: cannot be read as a table ({type(error).__name__})"] += 1
            continue
        for sheet, cells in grids:
            seen = {at: cell for at, cell in cells.items() if not (seen_only and HIDDEN in cell[1])}
            known = rows.get((file.name, sheet or None), rows.get((file.name, None)))
            table = _table(file.name, sheet, seen, known)
            # Prose has commas too.
            prose = file.lower.endswith(".txt") and table and table.header_row
            if table and (not prose or any(map(read_header, table.columns))):
                tables.append(table)
    titles = {id(table): table.sheet or Path(table.path).stem for table in tables}
    words = {key: word for key, title in titles.items() if (word := read_class(title))}
    for table in tables if len({word.label for word in words.values()} - {""}) > 1 else ():
        if id(table) in words:
            table.columns["class of the sheet"] = [titles[id(table)]] * len(table.numbers)
    return tables


def _table(path: str, sheet: str, cells: _Cells, header_row: int | None) -> ClinicalTable | None:
    rows: dict[int, dict[int, str]] = defaultdict(dict)
    for (number, place), (text, _) in sorted(cells.items()):
        if text:
            rows[number][place] = text
    if header_row is None:
        first = list(rows)[:_HEADER_WITHIN]
        known = {n: sum(read_header(cell) is not None for cell in rows[n].values()) for n in first}
        header_row = max(first, key=lambda n: 2 * known[n] + (len(rows[n]) > 1), default=0)
    head = rows.get(header_row, {})
    if not any(map(read_header, head.values())) and any(map(read_class, head.values())):
        # A table without a header: its first row is about a patient.
        header_row, head = 0, {}
    width = max(head or (place for row in rows.values() for place in row), default=0)
    numbers = [number for number in rows if number > header_row and min(rows[number]) <= width]
    if width < 2 or not numbers or (header_row and not head):
        return None
    names: dict[int, str] = {}
    for place in range(1, width + 1):
        name = head.get(place, f"column {place}")
        names[place] = f"{name} ({place})" if name in names.values() else name
    columns = {name: [rows[n].get(place, "") for n in numbers] for place, name in names.items()}
    odd = {
        name: Counter(what for n in numbers for what in cells.get((n, place), ("", []))[1])
        for place, name in names.items()
    }
    # A column for each class that holds 1 in the rows of the class tells the class too.
    classes = [name for name in columns if read_class(name) and not passed_over(name)]
    marks = list(zip(*(columns[name] for name in classes), strict=True))
    if len(classes) > 2 and all(row.count("1") == 1 and {*row} == {"0", "1"} for row in marks):
        columns["class of the columns"] = [classes[row.index("1")] for row in marks]
    return ClinicalTable(path, sheet, header_row, numbers, columns, odd)


def _grids(file: SourceFile, embedded: dict[str, list[str]]) -> Iterator[tuple[str, _Cells]]:
    if file.lower.endswith(".parquet"):
        yield "", _of_records(_parquet_records(file.path, embedded))
        return
    if file.path.stat().st_size > MAX_BYTES:
        raise ValueError("too large")
    if file.lower.endswith((".xlsx", ".xlsm")):
        yield from _of_workbook(file.path)
        return
    text = decoded(file.path.read_bytes())
    if file.lower.endswith((".jsonl", ".ndjson")):
        yield "", _of_records(json.loads(line) for line in text.splitlines() if line.strip())
    elif file.lower.endswith(".json"):
        content = json.loads(text)
        if isinstance(content, dict) and all(isinstance(v, dict) for v in content.values()):
            content = [{"id": key, **value} for key, value in content.items()]
        for name, records in content.items() if isinstance(content, dict) else [("", content)]:
            yield str(name), _of_records(records if isinstance(records, list) else ())
    else:
        parted = [list(csv.reader(io.StringIO(text, newline=""), delimiter=d)) for d in ",;\t|"]
        best = max(parted, key=_regular)
        yield "", _of_rows(best)


def decoded(content: bytes) -> str:
    """Return text in UTF-8, UTF-16 with its mark, or GB 18030, which Excel in China saves.

    Raises:
        ValueError: it is no text.
    """
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


def _of_rows(rows: Iterable[Iterable[Any]]) -> _Cells:
    return {
        (number, place): _cell(_text(value))
        for number, row in enumerate(rows, start=1)
        for place, value in enumerate(row, start=1)
    }


def _cell(text: str, *odd: str) -> tuple[str, list[str]]:
    """Return a cell and what is odd about it; errors of a spreadsheet program count as empty."""
    told = [what for what in odd if what]
    if spoiled_id(text):
        told.append(ERRORS if text.startswith("#") else ROUNDED)
    return ("" if ERRORS in told else text), told


def _of_records(records: Iterable[Any]) -> _Cells:
    rows = [record for record in records if isinstance(record, dict)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    return _of_rows([header, *([row.get(key) for key in header] for row in rows)])


def _parquet_records(path: Path, embedded: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the rows of a parquet file, with the names of their images, and of classes for codes."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if file.metadata.num_rows > MAX_ROWS:
        raise ValueError("too large")
    plain = [name for name in file.schema_arrow.names if name not in image_columns(path)]
    kept = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    rows: list[dict[str, Any]] = [{} for _ in range(file.metadata.num_rows)]
    for name in plain:
        # A ClassLabel of the library datasets: its names stand beside the schema.
        kind = kept.get("info", {}).get("features", {}).get(name, {})
        classes = dict(enumerate(kind.get("names", []))) if isinstance(kind, dict) else {}
        for row, value in zip(rows, file.read([name])[name].to_pylist(), strict=True):
            row[name] = classes.get(value, value) if classes else value
    for name, paths in embedded.items():
        for row, value in zip(rows, paths, strict=True):
            row[name] = value
    return rows


def _text(value: Any) -> str:
    """Return a value as text: 12.0 as ``12``, a date in the order of ISO 8601, nothing as nothing."""
    if value is None or value != value:  # noqa: PLR0124
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    whole = isinstance(value, float) and value.is_integer()
    return (
        value.isoformat()
        if isinstance(value, date)
        else str(int(value) if whole else value).strip()
    )


def _of_workbook(path: Path) -> Iterator[tuple[str, _Cells]]:
    try:
        import openpyxl
    except ImportError:
        raise MissingDependencyError("Reading an Excel workbook", "build") from None
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
        cells: _Cells = {}
        for (number, place), cell in sheet._cells.items():
            unseen = sheet.sheet_state != "visible" or number in rows or place in columns
            formula = formulas[sheet.title]._cells.get((number, place))
            odd = _oddity(cell, formula), HIDDEN if unseen and cell.value is not None else ""
            if number <= MAX_ROWS:
                cells[number, place] = _cell(_as_shown(cell), *odd)
        for area in sheet.merged_cells.ranges:
            text, odd_ = cells.get((area.min_row, area.min_col), ("", []))
            for number in range(area.min_row + 1, min(area.max_row, MAX_ROWS) + 1 if text else 0):
                cells[number, area.min_col] = text, [*odd_, MERGED]
        yield sheet.title, cells


def _thin(size: float | None) -> bool:
    return size is not None and size < _UNSEEN


def _oddity(cell: Any, formula: Any) -> str:
    # Excel stores the empty text that a formula gives as one; "n" is a cell without anything.
    if cell.value is None and cell.data_type == "n":
        return UNSTORED if formula is not None and formula.data_type == "f" else ""
    if isinstance(cell.value, date | time):
        return DATES
    return ROUNDED if isinstance(cell.value, int | float) and abs(cell.value) >= _ROUNDS else ""


def _as_shown(cell: Any) -> str:
    """Return a cell as a person sees it: 7 in the format 000 is 007, in ``0" months"`` it is 7 months."""
    text = _text(cell.value)
    found = _FORMAT.fullmatch(cell.number_format or "")
    if not found or not isinstance(cell.value, int | float) or isinstance(cell.value, bool):
        return text
    before, digits, gap, behind = (part or "" for part in found.groups())
    if digits.strip("0") == "" and text.isdecimal():
        text = text.zfill(len(digits))
    return f"{before}{text}{gap[-1:]}{behind}".strip()
