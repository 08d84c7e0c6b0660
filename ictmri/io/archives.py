"""Archives and parquet files from a stranger: unpacked whole and inside their folder, or refused."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from ictmri.errors import InputError

ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".parquet")
MAX_FILE: Final = 2**31
"""Largest member in bytes: twice the largest volume that is read, in double precision."""
MAX_TOTAL: Final = 2**36
"""Largest content of one archive in bytes (64 GiB)."""
MAX_MEMBERS: Final = 200_000
_QUICK: Final = 2**26
"""Archives of fewer bytes are unpacked before anybody would look at a progress bar."""
_DAMAGED: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
_ASK: Final = "do not use this file; tell the people who keep the repository"
_UNPACK: Final = "unpack it yourself and give the folder with --source"
_MAGICS: Final = {b"\x1f\x8b": ".nii.gz", b"NRRD": ".nrrd", b"ObjectType": ".mha"}
_Member = tuple[str, int, Callable[[], IO[bytes] | None]]
"""Name, size, and what opens it: nothing for a link or a device."""


def unpack(archive: Path, into: Path, wanted: Callable[[str], bool]) -> int:
    """Unpack an archive: a zip or tar file, or a parquet file as if it were one.

    Links and devices are never made. A parquet file becomes the volumes that it holds, and
    ``rows.jsonl`` with their names.

    Args:
        archive: the file.
        into: the folder that will hold its members.
        wanted: says by name which members are unpacked.

    Returns:
        The number of members that were not wanted, or are no files.

    Raises:
        InputError: the archive is damaged, encrypted, too large, or made to write elsewhere.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    try:
        if archive.suffix.lower() == ".parquet":
            return _write_rows(archive, into)
        return _write_members(archive, into, wanted)
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        # The libraries' own OSErrors about damage have no number.
        if not isinstance(error, _DAMAGED) and getattr(error, "errno", 0) is not None:
            raise
        problem = f"damaged archive ({error})"
        raise InputError(archive.name, [problem], "download it again") from None


def _write_members(archive: Path, into: Path, wanted: Callable[[str], bool]) -> int:
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
        total += size
        free = shutil.disk_usage(into).free
        # Neither library hands out more bytes of a member than its header says.
        if size > min(MAX_FILE, free) or total > MAX_TOTAL:
            problem = (
                f"too large when unpacked: more than {MAX_FILE / 2**30:.0f} GiB in a file, "
                f"{MAX_TOTAL / 2**30:.0f} GiB in all, or the {free / 2**30:.0f} GiB that are free"
            )
            raise InputError(archive.name, [problem], f"free some space, or {_UNPACK}")
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        with stream, (into / name).open("xb") as out:
            shutil.copyfileobj(stream, out)
    return left


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
    with _opened(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise InputError(path.name, ["it is locked with a password"], _UNPACK)
            usual = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            if not info.is_dir():
                opened = partial(archive.open, info) if usual else lambda: None
                yield info.filename, info.file_size, opened


def _opened(path: Path) -> zipfile.ZipFile:
    # Windows in China writes GB 18030 where the format says code page 437.
    for encoding in ("utf-8", "gb18030"):
        with suppress(UnicodeDecodeError):
            return zipfile.ZipFile(path, metadata_encoding=encoding)
    return zipfile.ZipFile(path)


def _of_tar(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if not info.isdir():
                opened = partial(archive.extractfile, info)
                yield info.name, info.size, opened if info.isreg() else lambda: None


def _write_rows(path: Path, into: Path) -> int:
    """Write the rows of a parquet file as JSON lines, and the volumes in them as files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        problem = f"damaged parquet file ({error})"
        raise InputError(path.name, [problem], "download it again") from None
    # A ClassLabel of the library datasets: its names stand beside the schema.
    kept = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    features = kept.get("info", {}).get("features", {})
    with (into / "rows.jsonl").open("w", encoding="utf-8") as out:
        for number, batch in enumerate(file.iter_batches(batch_size=1)):
            row = batch.to_pylist()[0]
            for column, value in row.items():
                kind, name = features.get(column), f"{_safe(path.stem)}-row{number:05d}"
                if isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value):
                    row[column] = _write_volume(value, into / _safe(column), name)
                elif isinstance(kind, dict) and "names" in kind:
                    row[column] = dict(enumerate(kind["names"])).get(value, value)
            out.write(json.dumps(row, ensure_ascii=False, default=_as_text) + "\n")
    return 0


def _as_text(value: Any) -> str:
    return "" if isinstance(value, bytes) else str(value)


def _write_volume(value: Any, folder: Path, name: str) -> str:
    """Write a volume under its own name, or else this one; return its path for the row."""
    file = value if isinstance(value, dict) else {"bytes": value}
    content, own = file["bytes"] or b"", file.get("path") or ""
    single = content[344:348] in (b"n+1\0", b"n+2\0") or content[4:8] in (b"n+1\0", b"n+2\0")
    endings = (ending for magic, ending in _MAGICS.items() if content.startswith(magic))
    ending = next(endings, ".nii" if single else "")
    if not ending or len(content) > MAX_FILE:
        return "" if content else own
    folder.mkdir(exist_ok=True)
    # Other tables find a volume by the name that it had.
    stem = _safe(re.sub(r"(\.nii)?(\.gz)?$|\.nrrd$|\.mha$", "", re.split(r"[/\\]", own)[-1]))
    stem = stem if stem and not (folder / f"{stem}{ending}").exists() else f"{stem}{name}"
    (folder / f"{stem}{ending}").write_bytes(content)
    return f"{folder.name}/{stem}{ending}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ")[:100]
