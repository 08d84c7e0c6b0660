"""Archives from a stranger: unpacked whole and inside their folder, or refused."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ictmri.errors import InputError
from ictmri.io.states import kept

ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")
MAX_FILE: Final = 2**31
"""Largest member in bytes: twice the largest volume that is read, in double precision."""
MAX_TOTAL: Final = 2**36
"""Largest content of one archive in bytes (64 GiB)."""
MAX_MEMBERS: Final = 200_000
_CHUNK: Final = 2**20
_QUICK: Final = 2**26
"""Archives of fewer bytes are unpacked before anybody would look at a progress bar."""
_DAMAGED: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
_ASK: Final = "do not use this file; tell the people who keep the repository"
_UNPACK: Final = "unpack it yourself and give the folder with --source"
_Member = tuple[str, int, Callable[[], IO[bytes] | None]]
"""Name, size as the archive says it, and what opens it: nothing for a link or a device."""


def unpack(archive: Path, into: Path, wanted: Callable[[str], bool]) -> int:
    """Unpack an archive, unless that was done before.

    Names are checked before anything is written, sizes are counted while it is: what a header says of
    its size is not believed. Links and devices are never made.

    Args:
        archive: a zip or tar file.
        into: the folder that will hold its members, and a note that it holds them all.
        wanted: says by name which members are unpacked.

    Returns:
        The number of members that were not wanted, or are no files.

    Raises:
        InputError: the archive is damaged, encrypted, too large, or made to write elsewhere.
    """
    left = kept(into / ".left", lambda note: int(note.read_text(encoding="utf-8")))
    if left is not None:
        return left
    part = into.with_name(f"{into.name}.part")
    for folder in (part, into):
        shutil.rmtree(folder, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        left = _write_all(archive, part, wanted)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        # The libraries' own OSErrors about damage have no number.
        if not isinstance(error, _DAMAGED) and getattr(error, "errno", 0) is not None:
            raise
        problem = f"damaged archive ({error})"
        raise InputError(archive.name, [problem], "download it again") from None
    (part / ".left").write_text(str(left), encoding="utf-8")
    part.rename(into)
    return left


def _write_all(archive: Path, part: Path, wanted: Callable[[str], bool]) -> int:
    from tqdm import tqdm

    members = (_of_zip if archive.name.lower().endswith(".zip") else _of_tar)(archive)
    quick = archive.stat().st_size < _QUICK
    written, left, total = set[str](), 0, 0
    for raw, size, opened in tqdm(members, desc=archive.name, unit="file", disable=quick):
        name = _inside(archive, raw)
        stream = opened() if wanted(name) else None
        if len(written) + left >= MAX_MEMBERS:
            raise InputError(archive.name, [f"holds more than {MAX_MEMBERS} files"], _ASK)
        if stream is None:
            left += 1
            continue
        if name.casefold() in written:
            raise InputError(archive.name, ["two of its files have the same name"], _ASK)
        written.add(name.casefold())
        room = min(MAX_FILE, MAX_TOTAL - total, shutil.disk_usage(part).free)
        with stream:
            total += _copy(stream, part / name, room, archive, size)
    return left


def _copy(stream: IO[bytes], target: Path, room: int, archive: Path, said: int = 0) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as out:
        while max(size, said) <= room and (chunk := stream.read(_CHUNK)):
            size += len(chunk)
            out.write(chunk if size <= room else b"")
    if max(size, said) > room:
        free = shutil.disk_usage(target.parent).free / 2**30
        problem = (
            f"too large when unpacked: more than {MAX_FILE / 2**30:.0f} GiB in a file, "
            f"{MAX_TOTAL / 2**30:.0f} GiB in all, or the {free:.0f} GiB that are free"
        )
        raise InputError(archive.name, [problem], f"free some space, or {_UNPACK}")
    return size


def _inside(archive: Path, name: str) -> str:
    """Return a member's path if it stays inside."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    bad = not parts or path.is_absolute() or ".." in parts or ":" in parts[0]
    if bad or any(ord(letter) < 32 for letter in name):
        problem = "it would write outside its own folder: not unpacked"
        raise InputError(archive.name, [problem], _ASK)
    return "/".join(parts)


def _of_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise InputError(path.name, ["it is locked with a password"], _UNPACK)
            name, usual = info.filename, stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            if not (info.flag_bits & 0x800 or name.isascii()):
                # Windows in China writes GB 18030 where the format says code page 437.
                raw = name.encode("cp437", "replace")
                name = _decoded(raw, "utf-8") or _decoded(raw, "gb18030") or name
            if not info.is_dir():
                yield name, info.file_size, partial(archive.open, info) if usual else lambda: None


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _of_tar(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if not info.isdir():
                opened = partial(archive.extractfile, info)
                yield info.name, info.size, opened if info.isreg() else lambda: None
