"""CSV files that people hand in: read as text, or refused with what they really are."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.errors import InputError

_MAGIC: Final = {
    b"PK\x03\x04": "an Excel or zip file saved under this name",
    b"\xd0\xcf\x11\xe0": "an old Excel file saved under this name",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file.

    Attributes:
        content: its bytes.
        header: the cells of its first line, stripped.
        lines: the cells of the lines after the header; the first of them is line 2.
    """

    content: bytes
    header: list[str]
    lines: list[list[str]]


def read_csv(path: Path, example: str) -> CsvFile:
    """Read a CSV file.

    Args:
        path: the file.
        example: the header that it should have, for the message where it has none.

    Raises:
        InputError: it cannot be read, is empty, or is something else than comma-separated UTF-8 text.
    """
    save = "save it as CSV (UTF-8, commas)"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], "give a CSV file") from None
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise InputError(str(path), [f"this is {what}, not a CSV"], save)
    try:
        text = content.decode("utf-8-sig")
        if not text.strip():
            raise InputError(str(path), ["the file is empty"], f"begin with the header {example}")
        if "\0" in text:
            raise InputError(str(path), ["holds NUL bytes"], save)
        lines = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    except UnicodeDecodeError as error:
        raise InputError(str(path), [f"not UTF-8 text (byte {error.start})"], save) from None
    except csv.Error as error:
        raise InputError(str(path), [f"not a CSV file ({error})"], save) from None
    header = [cell.strip() for cell in lines[0]]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(str(path), ["row 1: the columns are not separated by commas"], save)
    return CsvFile(content, header, lines[1:])
