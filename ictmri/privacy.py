"""The allow-list: what may stand in a cohort folder, byte by byte; everything else is a finding.

A list of what is forbidden is never complete, so this one says what is allowed: the header fields of a
volume that describe its geometry, pseudonyms that this package made, words of fixed vocabularies,
numbers. It is checked on what was written, not on what was meant to be written.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.manifest import FILE_NAME
from ictmri.volumes import SYNTHETIC_MARK

if TYPE_CHECKING:
    from ictmri.cohort import Cohort

_SUBTYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9 +/(),.-]{0,47}")
_LONG_NUMBER: Final = re.compile(r"\d{5}")
_CASE: Final = re.compile(r"[A-Za-z0-9_.-]+-\d{4,}")
_PATIENT: Final = re.compile(r"[A-Za-z0-9_.-]+-p\d{4,}")
_FILES: Final = re.compile(
    r"README\.md|croissant\.json|folds\.csv|findings\.json|acquisition\.csv|CHANGES\.md"
    r"|datasheet\.md|eval\.yaml|participants\.csv|privacy\.json|LICENSE|\.gitattributes"
    r"|checklists/[a-z0-9-]+\.yaml|boxes/[a-z0-9-]+\.jsonl|qc/process\.csv"
    r"|data/(default|processed|truth)/fold\d+-\d{5}-of-\d{5}\.parquet"
)
_PARQUET_KEYS: Final = {b"ARROW:schema", b"huggingface"}
_TEXT_FIELDS: Final = {
    "data_type": (4, 10),
    "db_name": (14, 18),
    "descrip": (148, 80),
    "aux_file": (228, 24),
    "intent_name": (328, 16),
}
"""Free text of a NIfTI-1 header: name -> (offset, bytes)."""
_GZIP_HEAD: Final = 10


def is_plain_subtype(text: str) -> bool:
    """Return True for a short name of a diagnosis: a few words, no number that could be an id."""
    return bool(_SUBTYPE.fullmatch(text)) and not _LONG_NUMBER.search(text)


def leaks(cohort: Cohort) -> list[str]:
    """Return one line for everything in a cohort folder that is not on the allow-list."""
    return [*_unknown_files(cohort.root), *_in_data(cohort), *_in_acquisition(cohort.root)]


def volume_leaks(content: bytes) -> list[str]:
    """Return what a gzipped NIfTI-1 volume holds besides geometry and voxels.

    Looks at the gzip header (name, time, comment), the free text of the NIfTI header, the extensions
    and whatever follows the voxels.
    """
    if content[:3] != b"\x1f\x8b\x08":
        return ["not a gzipped volume"]
    found = []
    if content[3] != 0:
        found.append("its gzip header holds a name or a comment")
    if content[4:8] != b"\0\0\0\0":
        found.append("its gzip header holds a time")
    stream = zlib.decompressobj(wbits=31)
    volume = stream.decompress(content)
    if stream.unused_data:
        found.append("bytes follow the gzip stream")
    return found + _header_leaks(volume)


def _header_leaks(volume: bytes) -> list[str]:
    if len(volume) < 352 or struct.unpack_from("<i", volume)[0] != 348:
        return ["not a little-endian NIfTI-1 volume"]
    found = [
        f"header field {name} is not empty"
        for name, (offset, size) in _TEXT_FIELDS.items()
        if volume[offset : offset + size].strip(b"\0") not in (b"", SYNTHETIC_MARK)
    ]
    if volume[348] or struct.unpack_from("<f", volume, 108)[0] != 352.0:
        found.append("it has header extensions")
    shape = struct.unpack_from("<8h", volume, 40)
    voxels = 1
    for length in shape[1 : 1 + shape[0]]:
        voxels *= length
    if len(volume) != 352 + voxels * struct.unpack_from("<h", volume, 72)[0] // 8:
        found.append("bytes follow the voxels")
    return found


def _unknown_files(root: Path) -> list[str]:
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [
        f"file {name!r} is not one that this package writes"
        for name in sorted(names)
        if name != FILE_NAME and not _FILES.fullmatch(name)
    ]


def _in_data(cohort: Cohort) -> Iterator[str]:
    import pyarrow.parquet as pq

    for config in cohort.manifest.configs:
        for path in (path for paths in cohort.parquet_files(config).values() for path in paths):
            extra = set(pq.read_metadata(path).metadata or {}) - _PARQUET_KEYS
            if extra:
                yield f"{path.name}: metadata {sorted(extra)}"
        for row in cohort.rows(config):
            for text in _in_row(row):
                yield f"{config}: case {row['case_id']}: {text}"


def _in_row(row: dict[str, Any]) -> Iterator[str]:
    if not _CASE.fullmatch(row["case_id"]):
        yield "its case id is no pseudonym"
    if "patient_id" in row and not _PATIENT.fullmatch(row["patient_id"]):
        yield "its patient id is no pseudonym"
    if row.get("subtype") and not is_plain_subtype(row["subtype"]):
        yield "its subtype is not the short name of a diagnosis"
    for column, value in row.items():
        if isinstance(value, dict):
            if not re.fullmatch(
                rf"{re.escape(row['case_id'])}(_mask)?\.nii\.gz", value["path"] or ""
            ):
                yield f"{column}: its file name is not the case id"
            for text in volume_leaks(value["bytes"]):
                yield f"{column}: {text}"


def _in_acquisition(root: Path) -> Iterator[str]:
    path = root / "acquisition.csv"
    if not path.is_file():
        return
    vocabulary = re.compile(r"-?[0-9.e+-]*|[23]D|[a-z ]{2,20}")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        if any(not vocabulary.fullmatch(cell) for cell in line.split(",")[1:]):
            yield f"acquisition.csv: row {number} holds more than numbers"
