"""CSV files that people hand in: read as text, or refused with what they really are."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ictmri.errors import InputError

MAX_BYTES: Final = 64 * 2**20
_MAGIC: Final = {
    b"PK\x03\x04": "an Excel or zip file saved under this name",
    b"\xd0\xcf\x11\xe0": "an old Excel file saved under this name",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_BLANK: Final = " \t"
_SHOWN: Final = 30
_SAVE: Final = "save it as CSV (UTF-8, commas)"


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file.

    Attributes:
        content: its bytes.
        header: the cells of its first line, stripped.
        lines: the cells of the rows after the header.
        numbers: for each of ``lines``, the line of the file on which it begins; a cell in quotation marks
            may go over several lines.
    """

    content: bytes
    header: list[str]
    lines: list[list[str]]
    numbers: list[int] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows after the header with their line numbers, blanks around cells removed."""
        for number, cells in zip(self.numbers, self.lines, strict=True):
            yield number, [cell.strip(_BLANK) for cell in cells]


def read_csv(path: Path, example: str) -> CsvFile:
    """Read a CSV file.

    Args:
        path: the file.
        example: the header that it should have, for the message where it has none.

    Raises:
        InputError: it cannot be read, is empty, or is something else than comma-separated UTF-8 text.
    """
    content = _content(path)
    text = _text(path, content)
    if not text.strip():
        raise InputError(str(path), ["the file is empty"], f"begin with the header {example}")
    numbered = _parsed(path, text)
    header = [cell.strip(_BLANK) for cell in numbered[0][1]]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(str(path), ["row 1: the columns are not separated by commas"], _SAVE)
    rows = numbered[1:]
    return CsvFile(content, header, [cells for _, cells in rows], [number for number, _ in rows])


def shown(cell: str, length: int = _SHOWN) -> str:
    """Return a cell for a message: short, in quotes, and with what the eye would not tell."""
    text = repr(cell[:length]) + ("..." if len(cell) > length else "")
    odd = next((c for c in cell if not (c.isascii() and c.isprintable())), "")
    if not odd:
        return text
    return f"{text} (with U+{ord(odd):04X}, {unicodedata.name(odd, 'a control character')})"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], "give a CSV file") from None
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise InputError(str(path), [f"this is {what}, not a CSV"], _SAVE)
    if len(content) > MAX_BYTES:
        raise InputError(str(path), [f"more than {MAX_BYTES} bytes"], "give a smaller CSV file")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        found = f"row {number}: not UTF-8 text (byte {error.start})"
        raise InputError(str(path), [found], _SAVE) from None
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise InputError(str(path), [f"row {number}: holds NUL bytes"], _SAVE)
    return text


def _parsed(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return the cells of each row with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for cells in reader:
            rows.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(str(path), [f"row {begins}: {_told(error)}"], _SAVE) from None
    return rows


def _told(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end of data" in said:
        return "a quotation mark opens here and is never closed"
    if "expected after" in said:
        return "text follows a closing quotation mark; inside a cell it is written twice"
    if "field larger" in said:
        limit = csv.field_size_limit()
        return f"a cell of more than {limit} characters; is a quotation mark left open?"
    return f"not a CSV file ({said})"
