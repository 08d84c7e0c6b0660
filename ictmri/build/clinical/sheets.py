"""Tables of any format as rows of text."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from ictmri.build.clinical.headers import is_guess, read_header
from ictmri.build.clinical.survey import SourceFile, Survey, without_ending
from ictmri.build.clinical.words import read_class
from ictmri.build.clinical.workbooks import (
    MAX_ROWS,
    Grid,
    cell_text,
    read_workbook,
    text_grid,
)
from ictmri.errors import MissingDependencyError

MAX_BYTES: Final = 2**26
"""Largest table in bytes: a cohort's labels are a few kilobytes."""
_HEADER_WITHIN: Final = 20
"""Rows among which the header is looked for: some sheets begin with a title."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table.

    Attributes:
        path: name of its file in the source.
        name: name of the sheet in a workbook; empty elsewhere.
        header_row: number of the header's row, counted from 1; 0 where the table has none.
        header: column names.
        rows: (number of the row in the file, cells) of each row that is not empty.
        grid: where it was read from.
    """

    path: str
    name: str
    header_row: int
    header: list[str]
    rows: list[tuple[int, list[str]]]
    grid: Grid

    @property
    def title(self) -> str:
        """How the table is called in messages."""
        return f"{self.path} [{self.name}]" if self.name else self.path

    @property
    def hidden_rows(self) -> list[int]:
        """Numbers of the rows that the workbook hides."""
        return [number for number, _ in self.rows if number in self.grid.hidden_rows]

    @property
    def hidden_columns(self) -> list[int]:
        """Places of the columns that the workbook hides."""
        return [place for place in range(len(self.header)) if place in self.grid.hidden_columns]

    def odd(self, index: int) -> Counter[str]:
        """Return what a spreadsheet program has made of cells of a column, and how often."""
        cells = ((number, index) for number, _ in self.rows)
        return Counter(what for cell in cells if (what := self.grid.odd.get(cell)))

    def as_shown(self) -> Sheet:
        """Return the table without what the workbook hides."""
        unseen = self.grid.hidden_columns
        rows = [
            (number, ["" if i in unseen else cell for i, cell in enumerate(cells)])
            for number, cells in self.rows
            if number not in self.grid.hidden_rows
        ]
        header = ["" if i in unseen else name for i, name in enumerate(self.header)]
        return replace(self, header=header, rows=rows)

    def column(self, index: int) -> list[str]:
        """Return the cells of a column."""
        return [cells[index] for _, cells in self.rows]


def read_sheets(found: Survey, header_rows: dict[tuple[str, str], int]) -> list[Sheet]:
    """Read every file that may be a table.

    Args:
        found: what the source holds; what is no table is counted there.
        header_rows: number of the header's row by (file, sheet), where a person gave it.

    Raises:
        MissingDependencyError: there is a workbook and nothing to read it with.
    """
    sheets: list[Sheet] = []
    for file in found.tables:
        try:
            grids = list(_grids(file, found))
        except MissingDependencyError:
            raise
        except Exception as error:  # noqa: BLE001
            # Each library has exceptions of its own for damaged files.
            found.aside[f"{file.name}: cannot be read as a table ({type(error).__name__})"] += 1
            continue
        made = [
            sheet
            for grid in grids
            if (sheet := _sheet(file.name, grid, header_rows.get((file.name, grid.name))))
        ]
        if file.lower.endswith(".txt"):
            # Prose has commas too.
            made = [s for s in made if s.header_row == 0 or any(map(read_header, s.header))]
        if not made and not file.lower.endswith((".txt", ".json")):
            found.aside["tables without a row"] += 1
        sheets += made
    return _with_class_of_sheet([_with_class_of_columns(sheet) for sheet in sheets])


def _with_class_of_sheet(sheets: list[Sheet]) -> list[Sheet]:
    """Add a column to tables that are named after classes: a sheet, or a file, for each class."""
    names = [sheet.name or without_ending(sheet.path.rsplit("/", 1)[-1]) for sheet in sheets]
    words = [read_class(name.rsplit(".", 1)[0]) for name in names]
    if len({word.label for word in words if word and word.label}) < 2:
        return sheets
    return [
        _with_column(sheet, "class of the sheet", [name] * len(sheet.rows)) if word else sheet
        for sheet, name, word in zip(sheets, names, words, strict=True)
    ]


def _with_class_of_columns(sheet: Sheet) -> Sheet:
    """Add a column to a table with a column for each class that holds 1 in the rows of the class."""
    places = [i for i, name in enumerate(sheet.header) if read_class(name) and not is_guess(name)]
    marked = [[i for i in places if cells[i] == "1"] for _, cells in sheet.rows]
    zeros = all(cells[i] in ("0", "1") for _, cells in sheet.rows for i in places)
    if len(places) < 3 or not zeros or not all(len(found) == 1 for found in marked):
        return sheet
    return _with_column(sheet, "class of the columns", [sheet.header[i] for (i,) in marked])


def _with_column(sheet: Sheet, name: str, cells: Iterable[str]) -> Sheet:
    rows = [(n, [*row, cell]) for (n, row), cell in zip(sheet.rows, cells, strict=True)]
    return replace(sheet, header=[*sheet.header, name], rows=rows)


def _grids(file: SourceFile, found: Survey) -> Iterator[Grid]:
    if file.path.stat().st_size > MAX_BYTES and not file.lower.endswith(".parquet"):
        raise ValueError("too large")
    if file.lower.endswith((".xlsx", ".xlsm")):
        yield from read_workbook(file.path)
    else:
        yield from (text_grid(name, rows) for name, rows in _text_grids(file, found))


def _text_grids(file: SourceFile, found: Survey) -> Iterator[tuple[str, list[list[str]]]]:
    if file.lower.endswith((".csv", ".tsv", ".txt")):
        yield "", _text_grid(file)
    elif file.lower.endswith((".jsonl", ".ndjson")):
        lines = decoded(file.path.read_bytes()).splitlines()
        yield "", _records([json.loads(line) for line in lines if line.strip()])
    elif file.lower.endswith(".json"):
        yield from _json_grids(json.loads(decoded(file.path.read_bytes())))
    else:
        yield "", _parquet_grid(file, found.embedded.get(file.name, {}))


def decoded(content: bytes) -> str:
    """Return text in UTF-8, UTF-16 with its mark, or GB 18030, which Excel in China saves.

    Raises:
        ValueError: it is no text.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ValueError("no text")


def _text_grid(file: SourceFile) -> list[list[str]]:
    text = decoded(file.path.read_bytes())
    best: list[list[str]] = []
    for delimiter in ",;\t|":
        try:
            grid = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        except csv.Error:
            continue
        if _regular(grid) > _regular(best):
            best = grid
    return best


def _regular(grid: list[list[str]]) -> tuple[float, int]:
    """Return how much a grid is a table: the share of rows as wide as most, and that width."""
    widths = [len(cells) for cells in grid if any(map(str.strip, cells))][:200]
    if not widths:
        return 0.0, 0
    width = max(sorted(set(widths)), key=widths.count)
    return (widths.count(width) / len(widths) if width > 1 else 0.0), width


def _json_grids(content: Any) -> Iterator[tuple[str, list[list[str]]]]:
    if isinstance(content, list):
        yield "", _records(content)
        return
    if not isinstance(content, dict) or not content:
        return
    values = list(content.values())
    if all(isinstance(value, dict) for value in values):
        yield "", _records([{"id": key, **value} for key, value in content.items()])
    elif all(isinstance(value, list) and value and isinstance(value[0], dict) for value in values):
        for key, value in content.items():
            yield key, _records(value)
    elif all(isinstance(value, list) for value in values) and all(map(read_class, content)):
        pairs = [(member, name) for name, members in content.items() for member in members]
        yield "", [["id", "label"], *([_cell(member), name] for member, name in pairs)]
    elif len(values) > 3 and sum(read_class(str(value)) is not None for value in values) * 2 > len(
        values
    ):
        yield "", [["id", "label"], *([key, _cell(value)] for key, value in content.items())]
    else:
        for key, value in content.items():
            if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
                yield key, _records(value)


def _records(records: Iterable[Any]) -> list[list[str]]:
    rows = [record for record in records if isinstance(record, dict)]
    header = list(dict.fromkeys(str(key) for row in rows for key in row))
    return [header, *([_cell(row.get(key)) for key in header] for row in rows)] if header else []


def _parquet_grid(file: SourceFile, embedded: dict[str, list[str]]) -> list[list[str]]:
    import pyarrow.parquet as pq

    source = pq.ParquetFile(file.path)
    if source.metadata.num_rows > MAX_ROWS:
        raise ValueError("too large")
    from ictmri.build.clinical.embedded import image_columns

    files = set(image_columns(file.path))
    plain = [name for name in source.schema_arrow.names if name not in files]
    values = source.read(columns=plain).to_pylist() if plain else [{}] * source.metadata.num_rows
    names = _class_names(source.schema_arrow.metadata or {})
    header = [*plain, *embedded]
    grid = [header]
    for index, row in enumerate(values):
        cells = [_named(row[column], names.get(column, [])) for column in plain]
        grid.append(cells + [embedded[column][index] for column in embedded])
    return grid


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of ClassLabel columns, which ``datasets`` keeps beside the schema."""
    try:
        columns = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: kind["names"] for name, kind in columns.items() if "names" in kind}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(value: Any, names: list[str]) -> str:
    inside = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if inside else _cell(value)


def _cell(value: Any) -> str:
    nested = isinstance(value, dict | list)
    return json.dumps(value, ensure_ascii=False) if nested else cell_text(value)


def _sheet(path: str, grid: Grid, header_row: int | None) -> Sheet | None:
    filled = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(grid.rows, start=1)
        if any(cell.strip() for cell in cells)
    ]
    if not filled:
        return None
    if header_row is None:
        header_row = _header_row(filled)
    head = next((cells for number, cells in filled if number == header_row), None)
    if header_row == 0 or (head and not any(map(read_header, head)) and any(map(read_class, head))):
        # A table without a header: its first row is about a patient.
        header_row = 0
        head = [f"column {place}" for place in range(1, 1 + max(len(c) for _, c in filled))]
    width = max((i + 1 for i, cell in enumerate(head or []) if cell), default=0)
    if width < 2 or head is None:
        return None
    rows = [
        (number, (cells + [""] * width)[:width]) for number, cells in filled if number > header_row
    ]
    rows = [(number, cells) for number, cells in rows if any(cells)]
    return Sheet(path, grid.name, header_row, head[:width], rows, grid) if rows else None


def _header_row(filled: list[tuple[int, list[str]]]) -> int:
    """Return the number of the row that looks most like a header; the first of equals."""
    best, most = 0, -1
    for number, cells in filled[:_HEADER_WITHIN]:
        known = sum(read_header(cell) is not None for cell in cells if cell)
        score = 2 * known + (sum(map(bool, cells)) > 1)
        if score > most:
            best, most = number, score
    return best
