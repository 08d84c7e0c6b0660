"""Images inside parquet files: written out as files, so that they are read like all others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from ictmri.build.clinical.archives import MAX_FILE
from ictmri.errors import InputError

_MAGICS: Final = {b"\x1f\x8b": ".nii.gz", b"NRRD": ".nrrd", b"ObjectType": ".mha"}


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
        problem = f"damaged parquet file ({error})"
        raise InputError(path.name, [problem], "download it again") from None
    binary = (pa.binary(), pa.large_binary())
    return [
        column.name
        for column in schema
        if column.type in binary
        or (pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0)
    ]


def write_images(path: Path, into: Path, columns: list[str]) -> dict[str, list[str]]:
    """Write the images of a parquet file, unless that was done before.

    Args:
        path: the parquet file.
        into: the folder that will hold them, in a folder by column.
        columns: its columns that hold files.

    Returns:
        By column, the path below ``into`` of each row's image; empty where the row has none.
    """
    import pyarrow.parquet as pq

    made = (into / ".whole").is_file()
    if not made:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
    names: dict[str, list[str]] = {column: [] for column in columns}
    batches = pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_size=1, columns=columns)
    for row, batch in enumerate(batches):
        for column, value in batch.to_pylist()[0].items():
            file = value if isinstance(value, dict) else {"bytes": value}
            content = file["bytes"] or b""
            ending = _ending(content)
            # The number of the row comes last: other tables find an image by the name that it had.
            own = re.split(r"[/\\]", file.get("path") or "")[-1]
            stem = re.sub(r"(\.nii)?(\.gz)?$|\.nrrd$|\.mha$", "", own, flags=re.IGNORECASE)
            name = f"{_safe(column)}/{_safe(stem) or f'row{row:05d}'}{ending}" if ending else ""
            if name in names[column] and name:
                name = f"{_safe(column)}/{_safe(stem)}-row{row:05d}{ending}"
            names[column].append(name)
            if name and not made:
                (into / name).parent.mkdir(exist_ok=True)
                (into / name).write_bytes(content)
    (into / ".whole").touch()
    return {column: found for column, found in names.items() if any(found)}


def _ending(content: bytes) -> str:
    """Return the ending of a volume by its first bytes, an empty string for what is no volume."""
    single = content[344:348] in (b"n+1\0", b"n+2\0") or content[4:8] in (b"n+1\0", b"n+2\0")
    endings = (ending for magic, ending in _MAGICS.items() if content.startswith(magic))
    return "" if len(content) > MAX_FILE else next(endings, ".nii" if single else "")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ")[:100]
