"""States that a command goes on from: as they were written, or set aside and made again.

Everything that is kept of unfinished work is read back through this module, so that a disk that lost or
changed it costs that part of the work and nothing else.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from ictmri.errors import InputError, visible_lines
from ictmri.io.files import canonical_json, sha256_bytes, sha256_file, write_json

T = TypeVar("T")

DAMAGED: Final = ".damaged"
"""Ending of what was set aside."""
AGAIN: Final = "run the same command again"


def kept(path: Path, read: Callable[[Path], T]) -> T | None:
    """Return what a state holds; None where there is none, or where it is damaged and now set aside.

    Args:
        path: the file.
        read: reads it; whatever it raises means that the file is damaged, but for what the system refuses.
    """
    if not path.is_file():
        return None
    try:
        return read(path)
    except Exception as error:  # noqa: BLE001 - each format has exceptions of its own
        set_aside(path, _reason(error))
        return None


def needed(path: Path, read: Callable[[Path], T], next_step: str) -> T:
    """Return what a finished state holds, where it cannot be made again on the spot.

    Raises:
        InputError: it is damaged.
    """
    try:
        return read(path)
    except Exception as error:  # noqa: BLE001 - each format has exceptions of its own
        raise InputError(str(path), [f"is damaged: {_reason(error)}"], next_step) from None


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged state, so that it is made again, and say so."""
    aside = path.with_name(path.name + DAMAGED)
    try:
        path.replace(aside)
    except FileNotFoundError:
        return  # another process of the same training was first
    told = (
        f"warning: {path} is damaged ({reason}): set aside as {aside.name}, this part is done again"
    )
    sys.stderr.write(f"{visible_lines(told)}\n")


def json_mapping(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds a mapping.

    Raises:
        ValueError: it holds something else.
    """
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise TypeError("holds no mapping")
    return value


def write_record(path: Path, facts: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Record that a part of the work is finished; written after the files that it is about.

    Args:
        path: the record.
        facts: what is to be known of it later, as JSON.
        files: what was made, in the record's folder or below.
    """
    digests = {file.relative_to(path.parent).as_posix(): sha256_file(file) for file in files}
    content = {"facts": dict(facts), "files": digests}
    write_json(path, content | {"sha256": _digest(json.loads(canonical_json(content)))})


def facts_in(path: Path) -> dict[str, Any]:
    """Return the facts of a record, without a look at its files.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    facts: dict[str, Any] = _record(path)["facts"]
    return facts


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the facts of a record whose files are as they were written; None where the part is to do."""
    record = kept(path, _record)
    if record is None:
        return None
    whole = True
    for name, digest in record["files"].items():
        file = path.parent / name
        if not file.is_file():
            whole = False
        elif sha256_file(file) != digest:
            set_aside(file, "its bytes are not those that were written")
            whole = False
    if not whole:
        path.unlink(missing_ok=True)
    return record["facts"] if whole else None


def _record(path: Path) -> dict[str, Any]:
    content = json_mapping(path)
    if content.pop("sha256") != _digest(content):
        raise ValueError("its words are not those that were written")
    return content


def _digest(content: dict[str, Any]) -> str:
    return sha256_bytes(canonical_json(content).encode())


def _reason(error: Exception) -> str:
    """Say in a line why a state could not be read.

    Raises:
        MemoryError, OSError: that is not the file's fault.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error
    lines = str(error).splitlines()
    if isinstance(error, KeyError):
        return f"{lines[0]} is missing"
    return lines[0][:200] if lines else "it ends too early"
