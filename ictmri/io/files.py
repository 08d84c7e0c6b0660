"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError

_PART: Final = ".part"
_ELSEWHERE: Final = "choose another path"
_KINDS: Final = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_plain(path: Path, limit: int, next_step: str) -> bytes:
    """Return the content of a file that somebody handed in.

    Args:
        path: the file.
        limit: bytes that it may have.
        next_step: what to do where it cannot be read.

    Raises:
        InputError: it cannot be read, is larger, or is no plain file: a pipe would be waited for, and a
            device has no end.
    """
    try:
        with open(path, "rb", opener=_at_once) as stream:
            kind = stat.S_IFMT(os.fstat(stream.fileno()).st_mode)
            if kind != stat.S_IFREG:
                problem = f"is {_KINDS.get(kind, 'something else')}, not a file"
                raise InputError(str(path), [problem], next_step)
            content = stream.read(limit + 1) or b""
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], next_step) from None
    if len(content) > limit:
        raise InputError(str(path), [f"more than {limit} bytes"], next_step)
    return content


def _at_once(path: str, flags: int) -> int:
    """Open without waiting until somebody writes into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    Args:
        path: the file.
        mode: permissions of the new file; the umask, and those of a file that is replaced, only narrow
            them.

    Raises:
        OSError: it cannot be written; ``filename`` says which file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL, _narrowed(path, mode)))
    made = part.stat().st_mode
    try:
        yield part
        # Some libraries write another file in its place, with permissions of their own.
        part.chmod(made)
        settle(part)
        part.replace(path)
    except OSError as error:
        # A full disk is reported by a write, which does not know the name of its file.
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def _narrowed(path: Path, mode: int) -> int:
    """Return a mode without what a file that is there denies others; its owner may always write."""
    try:
        return mode & path.stat().st_mode | 0o600
    except OSError:
        return mode


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can open, whatever the umask; return it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a private folder that gets this path, and its usual permissions, when the block succeeds.

    Raises:
        InputError: something is there already.
    """
    if path.is_symlink() or not is_free(path):
        raise InputError(str(path), ["exists and is not empty"], _ELSEWHERE)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent))
    try:
        yield part
        # The umask can only be read by setting it.
        mask = os.umask(0o077)
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def settle(place: Path) -> None:
    """Wait until a file is on the disk, or (POSIX) the names in a folder: both must outlive a power cut."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: Path, name: str = "") -> None:
    """Remove what killed processes left of :func:`replacing`, of one file or of all in a folder.

    No other process may be writing these files now.
    """
    if not folder.is_dir():
        return
    prefix = f".{name}." if name else "."
    for path in folder.iterdir():
        if path.name.startswith(prefix) and path.suffix == _PART and path.is_file():
            path.unlink(missing_ok=True)


def leads_elsewhere(path: str) -> bool:
    """Return whether a relative path, as data name it, is anything but a plain one inside a folder."""
    return any(letter in "\\:" or ord(letter) < 32 for letter in path) or any(
        part in {"", ".", ".."} for part in path.split("/")
    )


def refuse_links(root: Path) -> None:
    """Refuse a folder of somebody's from which a link leads to another one, where files would be changed.

    Raises:
        InputError: there is such a link.
    """
    linked = [path for path in root.rglob("*") if path.is_symlink() and path.is_dir()]
    if linked:
        problems = [f"{path.relative_to(root)} is a link to a folder" for path in linked]
        raise InputError(str(root), problems, "put the folder itself there")


def is_free(place: Path) -> bool:
    """Return whether something may be written here: nothing is there, or an empty folder."""
    return not place.exists() or (place.is_dir() and not any(place.iterdir()))


def check_writable(path: Path) -> None:
    """Find out whether a file or folder can be made or changed, before the work that it is for.

    Raises:
        InputError: it cannot.
    """
    try:
        place = path.resolve()
        while not place.is_dir():
            place = place.parent
            if place.exists() and not place.is_dir():
                problem = f"{place} is a file, no folder can be made in it"
                raise InputError(str(path), [problem], _ELSEWHERE)
        handle, name = tempfile.mkstemp(prefix=".", suffix=_PART, dir=place)
    except RuntimeError:
        raise InputError(str(path), ["is a link that leads to itself"], _ELSEWHERE) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(path)
            raise
        raise InputError(str(path), [f"cannot be written: {error.strerror}"], _ELSEWHERE) from None
    os.close(handle)
    Path(name).unlink()


def check_space(path: Path, n_bytes: float) -> None:
    """Find out whether a disk has room for what will surely be written, before the work that it is for.

    Raises:
        InputError: it has not.
    """
    place = path.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        unit, size = ("GB", 1e9) if n_bytes >= 1e9 else ("MB", 1e6)
        there, needed = f"{free / size:.1f} {unit}", f"{n_bytes / size:.1f} {unit}"
        problem = f"{there} are free there, at least {needed} are needed"
        raise InputError(str(path), [problem], f"free some space, or {_ELSEWHERE}")


def write_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write ``content`` to ``path`` in one step; ``mode`` as for :func:`replacing`."""
    with replacing(path, mode=mode) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write ``text`` as UTF-8 to ``path`` in one step, line ends as they are."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path`` in one step, in the canonical form of this project."""
    write_text(path, canonical_json(value))


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with a fixed layout, so that equal values give equal bytes."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, as ``object_pairs_hook``; a ValueError names a key that stands twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} stands twice in one object")
        found[key] = value
    return found


def stored_zip(files: dict[str, bytes]) -> bytes:
    """Return a zip file that depends on its content alone: not compressed, no dates, in this order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = 0o100644 << 16, 3
            archive.writestr(info, content)
    return stream.getvalue()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file at ``path`` as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
