"""Images inside parquet files: written out as files, so that they are read like all others."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ictmri.build.clinical.archives import MAX_FILE, stamp_of
from ictmri.errors import InputError
from ictmri.io.files import write_json
from ictmri.io.states import json_mapping, kept

_MAGICS: Final = {b"\x1f\x8b": ".nii.gz", b"NRRD": ".nrrd", b"ObjectType": ".mha"}
_WHOLE: Final = ".whole.json"


def image_columns(path: Path) -> list[str]:
    """Return the columns of a parquet file that hold files: binary, or ``{bytes, path}``.

    Raises:
        InputError: it is no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            path.name, [f"damaged parquet file ({error})"], "download it again"
        ) from None
    return [field.name for field in schema if _holds_files(field.type)]


def _holds_files(kind: Any) -> bool:
    import pyarrow as pa

    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return binary or (pa.types.is_struct(kind) and "bytes" in {field.name for field in kind})


def write_images(path: Path, into: Path, columns: list[str]) -> dict[str, list[str]]:
    """Write the images of a parquet file.

    Args:
        path: the parquet file.
        into: the folder that will hold them, in a folder by column.
        columns: its columns that hold files.

    Returns:
        By column, the path below ``into`` of each row's image; empty where the row has none.
    """
    whole, stamp = into / _WHOLE, stamp_of(path)
    known = kept(whole, json_mapping)
    made = known is not None and known.get("stamp") == stamp
    if not made:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
    names: dict[str, list[str]] = {}
    taken: Counter[tuple[str, str]] = Counter()
    for row, values in enumerate(_rows(path, columns)):
        for column, value in values.items():
            content, source = _content(value)
            ending = _ending(content)
            name = f"{_safe(column)}/{_stem(source, row, column, taken)}{ending}" if ending else ""
            names.setdefault(column, []).append(name)
            if name and not made:
                (into / name).parent.mkdir(exist_ok=True)
                (into / name).write_bytes(content)
    if not made:
        write_json(whole, {"stamp": stamp})
    return {column: found for column, found in names.items() if any(found)}


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_size=1, columns=columns):
        yield from batch.to_pylist()


def _content(value: Any) -> tuple[bytes, str]:
    if isinstance(value, dict):
        return value.get("bytes") or b"", value.get("path") or ""
    return value or b"", ""


def _ending(content: bytes) -> str:
    """Return the ending of a volume by its first bytes, an empty string for what is no volume."""
    if len(content) > MAX_FILE:
        return ""
    for magic, ending in _MAGICS.items():
        if content.startswith(magic):
            return ending
    single = content[344:348] in (b"n+1\0", b"n+2\0") or content[4:8] in (b"n+1\0", b"n+2\0")
    return ".nii" if single else ""


def _stem(source: str, row: int, column: str, taken: Counter[tuple[str, str]]) -> str:
    base = re.split(r"[/\\]", source)[-1]
    stem = _safe(re.sub(r"(\.nii)?(\.gz)?$|\.nrrd$|\.mha$", "", base, flags=re.IGNORECASE))
    if not stem:
        return f"row{row:05d}"
    taken[column, stem] += 1
    return stem if taken[column, stem] == 1 else f"{stem}-row{row:05d}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ")[:100]
