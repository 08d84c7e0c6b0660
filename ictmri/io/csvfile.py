"""CSV files that people hand in: read as text, or refused with what they really are."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ictmri.errors import InputError, nearest
from ictmri.io.files import read_plain

MAX_BYTES: Final = 64 * 2**20
_EXCEL: Final = "open it and save it as CSV (UTF-8, commas)"
_MAGIC: Final = {
    b"PK\x03\x04": ("an Excel or zip file saved under this name", _EXCEL),
    b"\xd0\xcf\x11\xe0": ("an old Excel file saved under this name", _EXCEL),
    b"\x1f\x8b": ("a gzip file", "unpack it: gunzip"),
    b"\xff\xfe": ("UTF-16 text", _EXCEL),
    b"\xfe\xff": ("UTF-16 text", _EXCEL),
    b"PAR1": ("a Parquet file", "pandas.read_parquet({name!r})"),
    b"ARROW1": ("a Feather file", "pandas.read_feather({name!r})"),
    b"\x89HDF": ("an HDF5 file", "pandas.read_hdf({name!r})"),
    b"\x93NUMPY": (
        "an array of NumPy",
        "hand it to ictmri_benchmark.evaluate(numpy.load({name!r}), COHORT), or write it with its cases",
    ),
    b"\x80\x04": ("a pickle", "it is not opened, for it can run code"),
    b"\x80\x05": ("a pickle", "it is not opened, for it can run code"),
    b"%PDF": ("a PDF", _EXCEL),
    b"<": ("a web page or XML", "download the file itself"),
    b"[": ("JSON", "pandas.read_json({name!r})"),
    b"{": ("JSON", "pandas.read_json({name!r}{lines})"),
}
"""How files begin that are no CSV: what they are, and how to make one of them."""
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_BLANK: Final = " \t"
MAX_ROWS: Final = 1_000_000
_MAX_COLUMNS: Final = 100
_MAX_ROW: Final = 2**20
_MAX_LINES: Final = 2**21
_SHOWN: Final = 30
_SEARCHED: Final = 1000
_SAVE: Final = "save it as CSV (UTF-8, commas)"


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file.

    Attributes:
        path: where it lies.
        content: its bytes.
        header: the cells of its first line, stripped; none where that is empty.
        max_rows: how many rows after the header it may have, not counting those of empty cells.
    """

    path: Path
    content: bytes
    header: list[str]
    max_rows: int = MAX_ROWS

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows after the header that hold something, blanks around cells removed.

        With each comes the line on which it begins; a cell in quotation marks may go over several lines.
        Nothing is kept, so whoever stops has read no further.

        Raises:
            InputError: from here on it is no comma-separated text, or there are too many rows.
        """
        found = _parsed(self.path, self.content)
        next(found)
        for count, numbered in enumerate(found):
            if count == self.max_rows:
                problem = f"row {numbered[0]}: at most {self.max_rows} rows are taken"
                raise InputError(str(self.path), [problem], "leave out what does not belong there")
            yield numbered

    def header_problems(self, known: Collection[str], needed: Iterable[str]) -> list[str]:
        """Name the columns that are unknown, stand twice, or are missing."""
        problems = [
            f"row 1: unknown column {shown(name)}{nearest(name[:50], known)}"
            for name in self.header
            if name not in known
        ]
        problems += [
            f"row 1: column {name!r} twice"
            for name, count in Counter(self.header).items()
            if count > 1 and name in known
        ]
        missing = (name for name in needed if name not in self.header)
        return problems + [f"row 1: column {name!r} is missing" for name in missing]


def read_csv(path: Path, example: str, max_rows: int = MAX_ROWS) -> CsvFile:
    """Read a CSV file as far as its header.

    Args:
        path: the file.
        example: the header that it should have, for the message where it has none.
        max_rows: rows that it may have.

    Raises:
        InputError: it cannot be read, is empty, or is something else than comma-separated UTF-8 text.
    """
    return parse_csv(path, _content(path), example, max_rows)


def parse_csv(path: Path, content: bytes, example: str, max_rows: int = MAX_ROWS) -> CsvFile:
    """Read the content of a CSV file as far as its header; ``path`` is its name in messages.

    Raises:
        InputError: see :func:`read_csv`.
    """
    _check_separator(path, content)
    header = next(_parsed(path, content), None)
    if header is None:
        raise InputError(str(path), ["the file is empty"], f"begin with the header {example}")
    number, cells = header
    if number > 1:
        return CsvFile(path, content, [], max_rows)
    if len(cells) > _MAX_COLUMNS:
        raise InputError(str(path), [f"row 1: {len(cells)} columns"], f"the header is {example}")
    return CsvFile(path, content, cells, max_rows)


def shown(cell: str, length: int = _SHOWN) -> str:
    """Return a cell for a message: short, in quotes, and with what the eye would not tell."""
    text = repr(cell[:length]) + ("..." if len(cell) > length else "")
    odd = next((c for c in cell[:_SEARCHED] if not (c.isascii() and c.isprintable())), "")
    if not odd:
        return text
    return f"{text} (with U+{ord(odd):04X}, {unicodedata.name(odd, 'a control character')})"


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as CSV with plain line ends, cells in quotation marks only where they must be."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _content(path: Path) -> bytes:
    content = read_plain(path, MAX_BYTES, "give a CSV file")
    begins = content[:_SEARCHED].lstrip()
    for magic, (what, step) in _MAGIC.items():
        if begins.startswith(magic):
            lines = ", lines=True" if b"}\n{" in content else ""
            fix = step.format(name=path.name, lines=lines)
            fix += _written(path) if fix.startswith("pandas") else ""
            raise InputError(str(path), [f"this is {what}, not a CSV"], fix)
    place = content.find(b"\0")
    if place >= 0:
        raise InputError(str(path), [f"row {_row(content, place)}: holds NUL bytes"], _SAVE)
    return content


def _check_separator(path: Path, content: bytes) -> None:
    """Refuse a table whose first line has other marks between its cells than commas."""
    line = content[:_MAX_ROW].lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip()
    if b"," in line or line.startswith((b"#", b"sep=")):
        return
    for mark, name in _SEPARATORS.items():
        if mark.encode() in line:
            decimal = ", decimal=','" if mark == ";" and b"," in content else ""
            step = f"pandas.read_csv({path.name!r}, sep={mark!r}{decimal})"
            problem = f"row 1: the columns are separated by {name}, not commas"
            raise InputError(str(path), [problem], step + _written(path))


def _written(path: Path) -> str:
    """Return the end of the line of pandas that makes a CSV file beside a file of another kind."""
    name = f"{path.stem}{'' if path.suffix != '.csv' else '-commas'}.csv"
    return f".to_csv({name!r}, index=False)"


def _row(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _parsed(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not empty with the line on which it begins."""
    lines = _Lines(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""))
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    begins = 1
    try:
        for cells in reader:
            stripped = [cell.strip(_BLANK) for cell in cells]
            if any(stripped):
                yield begins, stripped
            begins = reader.line_num + 1
            lines.characters = 0
    except UnicodeDecodeError:
        raise InputError(str(path), [_not_text(content)], _SAVE) from None
    except csv.Error as error:
        raise InputError(str(path), [f"row {begins}: {_told(error)}"], _SAVE) from None


class _Lines:
    """The lines of a file; so long a row, or so many lines, are no table.

    Attributes:
        characters: of the row so far; the reader of the rows sets it back.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._number = self.characters = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(_MAX_ROW + 1)
        self._number += 1
        self.characters += len(line)
        if self.characters > _MAX_ROW:
            raise csv.Error(f"more than {_MAX_ROW} characters; is a quotation mark left open?")
        if self._number > _MAX_LINES:
            raise csv.Error(f"more than {_MAX_LINES} lines")
        if not line:
            raise StopIteration
        return line


def _not_text(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"row {_row(content, error.start)}: not UTF-8 text (byte {error.start})"
    return "not UTF-8 text"


def _told(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end of data" in said:
        return "a quotation mark opens here and is never closed"
    if "expected after" in said:
        return "text follows a closing quotation mark; inside a cell it is written twice"
    if "field larger" in said:
        limit = csv.field_size_limit()
        return f"a cell of more than {limit} characters; is a quotation mark left open?"
    return said if said.startswith("more than") else f"not a CSV file ({said})"
