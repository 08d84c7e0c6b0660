"""The allow-list: what may stand in a cohort folder, byte by byte; everything else is a finding.

A list of what is forbidden is never complete, so this one says what is allowed: the header fields of a
volume that describe its geometry, pseudonyms that this package made, words of fixed vocabularies,
numbers. It is checked on what was written, not on what was meant to be written.
"""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ictmri.cohort import ACQUISITION, Cohort
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.io.volumes import SYNTHETIC_MARK
from ictmri.manifest import FILE_NAME, Manifest
from ictmri.release.records import DETECTORS
from ictmri.tumours import tumour_name

_HEADER: Final = 348
_VOXELS: Final = 352
"""Bytes of a NIfTI-1 header, and where the voxels begin in a file without extensions."""
_SUBTYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9 +/(),.-]{0,47}")
_LONG_NUMBER: Final = re.compile(r"\d{5}")
_CASE: Final = re.compile(r"[A-Za-z0-9_.-]+-\d{4,}")
_PATIENT: Final = re.compile(r"[A-Za-z0-9_.-]+-p\d{4,}")
_FILES: Final = re.compile(
    r"README\.md|croissant\.json|folds\.csv|findings\.json|acquisition\.csv|CHANGES\.md"
    r"|datasheet\.md|eval\.yaml|participants\.csv|privacy\.json|LICENSE|\.gitattributes"
    rf"|checklists/[a-z0-9-]+\.yaml|boxes/({'|'.join(DETECTORS)})\.jsonl|qc/process\.csv"
    r"|data/(default|processed|truth)/fold\d+-\d{5}-of-\d{5}\.parquet"
)
_PARQUET_KEYS: Final = {b"ARROW:schema", b"huggingface"}
_TEXT_FIELDS: Final = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
"""Free text of a NIfTI-1 header."""
VENDORS: Final = (
    *("siemens", "ge", "philips", "canon"),
    *("toshiba", "hitachi", "fujifilm", "united imaging"),
)
"""Makers of scanners whose names may stand in ``acquisition.csv``."""
LARGEST: Final = {
    "field_strength_t": 15.0,
    "repetition_time_ms": 60_000.0,
    "echo_time_ms": 2_000.0,
    "inversion_time_ms": 20_000.0,
    "flip_angle_deg": 360.0,
    "slice_thickness_mm": 50.0,
}
"""Largest number that each column of ``acquisition.csv`` may hold; a larger one may be an id or a date."""
_NUMBER: Final = re.compile(r"(-?[0-9][0-9.]*(e[+-]?[0-9]+)?)?|[23]D|nan|-?inf")


def is_plain_subtype(text: str) -> bool:
    """Return True for what can be a short name of a diagnosis: a few words, no number that could be an id.

    It may be the name of a person as well: what is published stands on a list, see :mod:`ictmri.tumours`.
    """
    return bool(_SUBTYPE.fullmatch(text)) and not _LONG_NUMBER.search(text)


def leaks(cohort: Cohort) -> list[str]:
    """Return one line for everything in a cohort folder that is not on the allow-list."""
    found = [*_unknown_files(cohort.root), *_in_data(cohort), *acquisition_leaks(cohort.root)]
    found += _mask_names(cohort)
    return found + ([*_in_release(cohort)] if "release" in cohort.manifest.steps else [])


def own_subtypes(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of tumours that the owner of a cohort added to the list when it was built."""
    given = manifest.generator.get("subtypes", [])
    return tuple(name for name in given if isinstance(name, str) and is_plain_subtype(name))


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
    try:
        volume = stream.decompress(content)
    except zlib.error:
        return [*found, "its gzip stream is damaged"]
    if not stream.eof:
        found.append("its gzip stream is cut off")
    if stream.unused_data:
        found.append("bytes follow the gzip stream")
    return found + _header_leaks(volume)


def _header_leaks(volume: bytes) -> list[str]:
    import nibabel as nib

    header = (
        nib.Nifti1Header(volume[:_HEADER], "<", check=False) if len(volume) >= _VOXELS else None
    )
    if header is None or header["sizeof_hdr"] != _HEADER:
        return ["not a little-endian NIfTI-1 volume"]
    found = [
        f"header field {name} is not empty"
        for name in _TEXT_FIELDS
        if header[name].tobytes().strip(b"\0") not in (b"", SYNTHETIC_MARK)
    ]
    if volume[_HEADER] or header["vox_offset"] != _VOXELS:
        found.append("it has header extensions")
    n_axes, *shape = map(int, header["dim"])
    if len(volume) != _VOXELS + math.prod(shape[:n_axes]) * int(header["bitpix"]) // 8:
        found.append("bytes follow the voxels")
    return found


def _unknown_files(root: Path) -> list[str]:
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [
        f"file {name!r} is not one that this package writes"
        for name in sorted(names)
        if name != FILE_NAME and not _FILES.fullmatch(name)
    ]


def _mask_names(cohort: Cohort) -> list[str]:
    names = {f"{case_id}.nii.gz" for case_id in cohort.folds().case_ids}
    settings = cohort.manifest.steps.get("process", {}).get("settings", {})
    return [
        f"manifest.json names a mask, {name!r}, of no case"
        for name in settings.get("own_masks", {})
        if name not in names
    ]


def _in_data(cohort: Cohort) -> Iterator[str]:
    import pyarrow.parquet as pq

    added = own_subtypes(cohort.manifest)

    for config in cohort.manifest.configs:
        for path in (path for paths in cohort.parquet_files(config).values() for path in paths):
            extra = set(pq.read_metadata(path).metadata or {}) - _PARQUET_KEYS
            if extra:
                yield f"{path.name}: metadata {sorted(extra)}"
        for row in cohort.rows(config):
            for text in _in_row(row, added):
                yield f"{config}: case {row['case_id']}: {text}"


def _in_row(row: dict[str, Any], added: Sequence[str]) -> Iterator[str]:
    if not _CASE.fullmatch(row["case_id"]):
        yield "its case id is no pseudonym"
    if "patient_id" in row and not _PATIENT.fullmatch(row["patient_id"]):
        yield "its patient id is no pseudonym"
    if row.get("subtype") and not tumour_name(row["subtype"], added):
        yield "its subtype is on no list of tumours"
    for column, value in row.items():
        if isinstance(value, dict):
            if not re.fullmatch(
                rf"{re.escape(row['case_id'])}(_mask)?\.nii\.gz", value["path"] or ""
            ):
                yield f"{column}: its file name is not the case id"
            for text in volume_leaks(value["bytes"]):
                yield f"{column}: {text}"


def acquisition_leaks(root: Path) -> list[str]:
    """Return a line for each row of ``acquisition.csv`` that holds more than numbers and vendors."""
    path = root / ACQUISITION
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    return [
        f"acquisition.csv: row {number} holds more than numbers"
        for number, (case_id, *cells) in enumerate(rows, start=2)
        if not _CASE.fullmatch(case_id) or not all(map(_may_stand, header[1:], cells))
    ]


def _may_stand(column: str, cell: str) -> bool:
    if column in LARGEST and re.fullmatch(r"[0-9][0-9.e+-]*", cell):
        return is_plausible(column, cell)
    return bool(_NUMBER.fullmatch(cell)) or cell in VENDORS


def is_plausible(column: str, number: str) -> bool:
    """Return whether a column of ``acquisition.csv`` may hold a number."""
    try:
        return 0 <= float(number) <= LARGEST[column]
    except ValueError:
        return False


def _in_release(cohort: Cohort) -> Iterator[str]:
    """Yield what may stand in the owner's cohort, and not in a release."""
    from ictmri.release.records import released_boxes, released_steps

    case_ids = cohort.folds().case_ids
    if released_steps(cohort.manifest.steps, case_ids) != cohort.manifest.steps:
        yield "manifest.json: its steps hold names of files, models or prompts"
    for path in sorted(cohort.root.glob("boxes/*.jsonl")):
        try:
            numbers = released_boxes(path, case_ids)
        except InputError as error:
            yield from (f"boxes/{path.name}: {problem}" for problem in error.problems)
        else:
            if numbers != path.read_text(encoding="utf-8"):
                yield f"boxes/{path.name}: holds more than numbers"
    if not cohort.synthetic:
        shared = Counter(
            (row["subtype"], row["label"])
            for row in cohort.rows("default", ["subtype", "label"])
            if row["subtype"]
        )
        yield from (
            f"subtype {name!r}: fewer than {K} patients share it"
            for (name, _), count in sorted(shared.items())
            if count < K
        )
