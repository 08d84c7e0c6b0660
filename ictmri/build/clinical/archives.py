"""Archives from a stranger: unpacked whole and inside their folder, or refused."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ictmri.errors import InputError
from ictmri.io.files import write_json
from ictmri.io.states import json_mapping, kept

ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")
FOREIGN: Final = (".7z", ".rar", ".001", ".z01", ".part1", ".zst")
"""Archives, and parts of archives, that the owner has to unpack."""
MAX_FILE: Final = 2**31
"""Largest member in bytes: twice the largest volume that is read, in double precision."""
MAX_TOTAL: Final = 2**36
"""Largest content of one archive in bytes (64 GiB)."""
MAX_MEMBERS: Final = 200_000
_CHUNK: Final = 2**20
_QUICK: Final = 2**26
"""Archives of fewer bytes are unpacked before anybody would look at a progress bar."""
_ASK: Final = "do not use this file; tell the people who keep the repository"


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """Return True for a file name of an archive that :func:`unpack` opens."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, into: Path, wanted: Callable[[str], bool]) -> int:
    """Unpack an archive; a folder that is there already is taken as it is.

    Names are checked before anything is written, sizes are counted while it is: what a header says of
    its size is not believed. Links and devices are never made.

    Args:
        archive: a zip or tar file.
        into: the folder that will hold its members.
        wanted: says by name which members are unpacked.

    Returns:
        The number of members that were not wanted, or are no files.

    Raises:
        InputError: the archive is damaged, encrypted, too large, or made to write elsewhere.
    """
    note = into.with_name(f"{into.name}.json")
    stamp = stamp_of(archive)
    known = kept(note, json_mapping) if into.is_dir() else None
    if known is not None and known.get("archive") == stamp and isinstance(known.get("left"), int):
        return int(known["left"])
    part = into.with_name(f"{into.name}.part")
    for folder in (part, into):
        shutil.rmtree(folder, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        left = _write_all(archive, part, wanted)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        shutil.rmtree(part)
        raise _damaged(archive, error) from None
    except OSError as error:
        shutil.rmtree(part)
        if error.errno is not None:
            raise
        raise _damaged(archive, error) from None
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    write_json(note, {"archive": stamp, "left": left})
    part.rename(into)
    return left


def stamp_of(path: Path) -> list[str | int]:
    """Return what tells a file from any other, and from an earlier one at its place."""
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(archive.name, [f"damaged archive ({error})"], "download it again")


def _write_all(archive: Path, part: Path, wanted: Callable[[str], bool]) -> int:
    from tqdm import tqdm

    zipped = archive.name.lower().endswith(".zip")
    written, left, total = set[str](), 0, 0
    members = (_of_zip if zipped else _of_tar)(archive)
    quick = archive.stat().st_size < _QUICK
    shown = tqdm(members, desc=archive.name, unit="file", disable=quick)
    for count, member in enumerate(shown, start=1):
        if count > MAX_MEMBERS:
            raise InputError(archive.name, [f"holds more than {MAX_MEMBERS} files"], _ASK)
        name = _inside(archive, member.name)
        stream = member.open() if wanted(name) else None
        if stream is None:
            left += 1
            continue
        if name.casefold() in written:
            raise InputError(archive.name, ["two of its files have the same name"], _ASK)
        written.add(name.casefold())
        room = min(MAX_FILE, MAX_TOTAL - total, shutil.disk_usage(part).free)
        if member.size > room:
            raise _too_large(archive, part)
        with stream:
            total += _copy(stream, part / name, room, archive)
    return left


def _copy(stream: IO[bytes], target: Path, room: int, archive: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > room:
                raise _too_large(archive, target.parent)
            out.write(chunk)
    return size


def _too_large(archive: Path, place: Path) -> InputError:
    free = shutil.disk_usage(place).free / 2**30
    return InputError(
        archive.name,
        [
            f"too large when unpacked: more than {MAX_FILE / 2**30:.0f} GiB in a file, "
            f"{MAX_TOTAL / 2**30:.0f} GiB in all, or the {free:.0f} GiB that are free"
        ],
        "free some space, or unpack it yourself and give the folder with --source",
    )


def _inside(archive: Path, name: str) -> str:
    """Return a member's path if it stays inside."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    bad = not parts or path.is_absolute() or ".." in parts or ":" in parts[0]
    if bad or any(ord(letter) < 32 for letter in name):
        raise InputError(
            archive.name, ["it would write outside its own folder: not unpacked"], _ASK
        )
    return "/".join(parts)


def _of_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise InputError(
                    path.name,
                    ["it is locked with a password"],
                    "unpack it yourself and give the folder with --source",
                )
            kind = stat.S_IFMT(info.external_attr >> 16)
            usual = kind in (0, stat.S_IFREG)
            yield _Member(
                _zip_name(info),
                info.file_size,
                lambda info=info: archive.open(info) if usual else None,  # type: ignore[misc]  # noqa: B023
            )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; Windows in China writes GB 18030 where the format says code page 437."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    raw = info.filename.encode("cp437", "replace")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def _of_tar(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            yield _Member(
                info.name,
                info.size,
                lambda info=info: archive.extractfile(info) if info.isreg() else None,  # type: ignore[misc]
            )
