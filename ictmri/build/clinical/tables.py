"""The tables of a source, and what their columns mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ictmri.build.ages import Unit, read_age, read_unit
from ictmri.build.clinical import vocabulary as words
from ictmri.build.clinical.mapping import FIELDS, ClinicalMapping, TableMapping
from ictmri.build.clinical.source import Inventory
from ictmri.build.clinical.vocabulary import ClassWord, read_class, read_header
from ictmri.build.identity import spoiled_id
from ictmri.errors import MissingDependencyError
from ictmri.io.sheets import HIDDEN, ROUNDED, Sheet, read_sheets

_HEADER_WITHIN: Final = 20
"""Rows among which the header is looked for: some sheets begin with a title."""
ERRORS: Final = "errors of a spreadsheet program (#N/A, #REF! and such)"


@dataclass(eq=False)
class ClinicalTable:
    """A table of the source, and what it is proposed to tell.

    Attributes:
        place: its file and sheet in the source, the row of its header (0 where it has none).
        columns: by header and number of the row in the file, the text of its cells.
        odd: by header and what is odd about cells there, how often.
        given: the class of words as a person said.
        fields: header of the column of each field of the mapping.
        able: headers of columns that can be the id, and that can name files.
        unit: of ages, where no cell says it; years where None.
        open: what is not clear: a field, the question, choices.
    """

    place: TableMapping
    columns: dict[str, dict[int, str]]
    odd: Counter[tuple[str, str]]
    given: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)
    able: dict[str, list[str]] = field(default_factory=dict)
    unit: Unit | None = None
    open: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """How the table is called in messages."""
        return self.place.title

    @cached_property
    def rows(self) -> list[Row]:
        """Its rows."""
        return [Row(self, number) for number in next(iter(self.columns.values()))]

    @property
    def joined(self) -> list[Row]:
        """The rows that are about a patient with an image."""
        return [row for row in self.rows if row.key]

    @property
    def fold(self) -> tuple[int | None, str]:
        """The fold and the part (train, val, test) that its file or sheet is named after."""
        return words.read_split(f"{self.place.path} {self.place.sheet or ''}")

    def words(self, header: str) -> dict[str, ClassWord | None]:
        """Return what the words of a column mean as classes."""
        return {
            word: read_class(word, self.given)
            for word in sorted({*self.columns[header].values()} - {""})
        }

    def as_mapping(self) -> dict[str, Any]:
        """Return the table as it stands in a mapping file."""
        columns = {name: self.fields.get(name) for name in FIELDS}
        columns["age_unit"] = columns["age_unit"] or self.unit
        return self.place.model_dump() | {"columns": columns}


@dataclass(eq=False, slots=True)
class Row:
    """A row of a table: its number, the id of its patient, and the key of one who has an image."""

    table: ClinicalTable
    number: int
    id: str = ""
    key: str = ""

    def cell(self, name: str) -> str:
        """Return the cell of a field; nothing where the table has no such column."""
        header = self.table.fields.get(name)
        return self.table.columns[header][self.number] if header else ""

    def word(self, name: str) -> ClassWord | None:
        """Return what the row's word for the class, or for the subtype, means."""
        return read_class(self.cell(name), self.table.given)

    @property
    def age(self) -> float | None:
        """The age in years, NaN where it is unknown, None where it is not understood."""
        told = self.cell("age_unit")
        unit = read_unit(told) or self.table.unit
        if told and (read_unit(told) is None or unit != (self.table.unit or unit)):
            return None
        return read_age(self.cell("age"), unit)


def read_tables(found: Inventory, given: ClinicalMapping) -> list[ClinicalTable]:
    """Read every file that may be a table.

    Args:
        found: what the source holds; what is no table is counted there.
        given: what a person said: rows of headers, classes of words, whether what is hidden is left out.

    Raises:
        MissingDependencyError: there is a workbook and nothing to read it with.
    """
    headers = {(table.path, table.sheet): table.header_row for table in given.tables or ()}
    tables: list[ClinicalTable] = []
    for file in found.tables:
        try:
            sheets = list(read_sheets(file.path))
        except MissingDependencyError:
            raise
        except Exception as error:  # noqa: BLE001 - each library has exceptions of its own
            found.aside[f"{file.name}: cannot be read as a table ({type(error).__name__})"] += 1
            continue
        for sheet in sheets:
            name = sheet.name or None
            known = headers.get((file.name, name), headers.get((file.name, None)))
            place = TableMapping(path=file.name, sheet=name, header_row=known)
            if table := _table(place, sheet, given):
                tables.append(table)
    titles = {table: table.place.sheet or Path(table.place.path).stem for table in tables}
    named = {table: word.label for table, text in titles.items() if (word := read_class(text))}
    for table in named if len({*named.values()} - {""}) > 1 else ():
        told = {row.number: titles[table] for row in table.rows}
        table.columns["class of the sheet"] = told
    return tables


def _table(place: TableMapping, sheet: Sheet, given: ClinicalMapping) -> ClinicalTable | None:
    """Return the table of a sheet, None where it holds none."""
    rows: dict[int, dict[int, str]] = defaultdict(dict)
    odd = {at: [*what] for at, what in sheet.odd.items()}
    for at, text in sorted(sheet.cells.items()):
        if HIDDEN in odd.get(at, ()) and given.hidden == "leave-out":
            odd.pop(at)
            continue
        spoiled = (ERRORS if text.startswith("#") else ROUNDED) if spoiled_id(text) else ""
        odd.setdefault(at, []).extend(filter(None, [spoiled]))
        if spoiled != ERRORS:
            rows[at[0]][at[1]] = text
    first = list(rows)[:_HEADER_WITHIN]
    known = {n: sum(read_header(text) is not None for text in rows[n].values()) for n in first}
    likely = max(first, key=lambda n: 2 * known[n] + (len(rows[n]) > 1), default=0)
    header = likely if place.header_row is None else place.header_row
    columns = sorted({column for cells in rows.values() for column in cells})
    head = rows.get(header, {})
    if not any(map(read_header, head.values())) and any(map(read_class, head.values())):
        # A table without a header: its first row is about a patient.
        header, head = 0, {}
    if len(columns) == 1:
        header = first[0] if known[first[0]] else 0
        head = {columns[0]: "id"}
    names: dict[int, str] = {}
    for column in columns:
        name = head.get(column) or f"column {column}"
        names[column] = f"{name} ({column})" if name in names.values() else name
    body = {number: cells for number, cells in rows.items() if number > header}
    table = ClinicalTable(
        place.model_copy(update={"header_row": header}),
        {names[c]: {n: cells.get(c, "") for n, cells in body.items()} for c in columns},
        Counter((names[c], x) for (n, c), what in odd.items() for x in what if n > header),
        given.classes,
    )
    # Prose has commas too; one column is a list of ids, if it is named after a fold.
    prose = place.path.lower().endswith(".txt") and header and not known.get(header)
    if not body or prose or (len(columns) == 1 and table.fold[0] is None):
        return None
    # A column for each class that holds 1 in the rows of the class tells the class too.
    classes = [name for name in table.columns if read_class(name) and not words.passed_over(name)]
    marks = {n: [table.columns[name][n] for name in classes] for n in body}
    once = sorted("1" + "0" * (len(classes) - 1))
    if len(classes) > 2 and all(sorted(row) == once for row in marks.values()):
        chosen = {n: classes[row.index("1")] for n, row in marks.items()}
        table.columns["class of the columns"] = chosen
    return table
