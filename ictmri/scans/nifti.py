"""NIfTI files, read to their last byte: a file that is not whole is no scan."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import numpy as np

from ictmri.errors import ScanError
from ictmri.io.volumes import plain
from ictmri.scans.findings import Note
from ictmri.scans.scan import Scan, check_size, to_millimetres

if TYPE_CHECKING:
    import nibabel as nib

MAX_OFFSET: Final = 2**20
"""Largest vox_offset: where the voxels begin, after 352 bytes of header and the extensions."""
MAX_APART_MM: Final = 2.0
"""Distance between the two placements of a corner up to which they count as one, rounded twice."""
_SIGNATURES: Final = {348: ("Nifti1Image", 344, b"n+1\0"), 540: ("Nifti2Image", 4, b"n+2\0")}
"""Length of a header, which it begins with: nibabel's class, and where its signature stands."""
_UNITS: Final = {0: "", 1: "m", 2: "mm", 3: "um"}
"""What ``xyzt_units`` may say about lengths."""
_PADDING: Final = 2**16
"""Zeros that may follow the voxels."""


def read_nifti(path: Path) -> Scan:
    """Read a ``.nii`` or ``.nii.gz`` file to the end of its stream.

    Raises:
        ScanError: it is no single volume, or not the whole of one and nothing else.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        try:
            source = _source(cast("IO[bytes]", file))
        except (gzip.BadGzipFile, zlib.error) as error:
            text = "cannot be read: its gzip stream is damaged, or bytes follow it"
            raise ScanError(text, code="unreadable", detail=str(error)) from None
    edges = np.linalg.norm(source.affine[:3, :3], axis=0) * source.shape[:3]
    unit = _UNITS.get(int(source.header["xyzt_units"]) & 0b111, "?")
    to_mm, told = to_millimetres(float(edges.max()), unit)
    return Scan(plain(source, to_mm=to_mm), [*_orientation(source.header, to_mm), *told])


def _source(stream: IO[bytes]) -> nib.Nifti1Image:
    from nibabel.spatialimages import HeaderDataError

    head = stream.read(max(_SIGNATURES))
    kind = _kind(head)
    header = kind.header_class(head[: kind.header_class.template_dtype.itemsize], check=False)
    shape = header.get_data_shape()
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        size = " x ".join(map(str, header.get_data_shape()))
        raise ScanError(f"not one volume: its shape is {size}", code="not-one-volume")
    check_size(shape)
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset <= MAX_OFFSET:
        raise ScanError("its header is damaged: the voxels cannot begin where it says")
    try:
        stored = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        stored = np.dtype(np.void)
    if stored.kind not in "iuf":
        raise ScanError(f"voxels of type {stored}, not numbers", code="unsupported-voxels")
    length = int(offset) + math.prod(shape) * stored.itemsize
    content = head + stream.read(max(0, length - len(head)))
    if len(content) < length:
        raise ScanError("cannot be read: it ends before its voxels do", code="truncated")
    if content[length:].strip(b"\0") or stream.read(_PADDING).strip(b"\0") or stream.read(1):
        raise ScanError("bytes follow its voxels: the header tells of fewer than there are")
    return kind.from_bytes(content)


def _kind(head: bytes) -> type[nib.Nifti1Image]:
    import nibabel as nib

    if len(head) < min(_SIGNATURES):
        raise ScanError("cannot be read: it ends in its header", code="truncated")
    for length, (name, place, signature) in _SIGNATURES.items():
        if length in struct.unpack_from("<i", head) + struct.unpack_from(">i", head):
            if head[place : place + 4] != signature:
                raise ScanError("no NIfTI file of one piece", code="unknown-format")
            kind: type[nib.Nifti1Image] = getattr(nib, name)
            return kind
    raise ScanError("cannot be read: it does not begin as NIfTI does", code="unreadable")


def _orientation(header: nib.Nifti1Header, to_mm: float) -> list[Note]:
    """Say what is odd about the two orientations that a NIfTI header has room for."""
    sform = header.get_sform(coded=True)[0]
    try:
        qform = header.get_qform(coded=True)[0]
    except ValueError:
        if sform is None:
            raise
        return [Note("orientation-conflict", "its qform is no rotation; the sform was used")]
    if qform is None and sform is None:
        text = "no orientation in the header (qform and sform code 0): left and right are a guess"
        return [Note("orientation-missing", text)]
    if qform is None:
        return [Note("qform-missing", "qform code 0: some readers will ignore the orientation")]
    if sform is None:
        return []
    corners = np.array(list(product(*((0, length - 1) for length in header.get_data_shape()[:3]))))
    apart = np.linalg.norm((corners @ (qform - sform)[:3, :3].T) + (qform - sform)[:3, 3], axis=1)
    farthest = float(apart.max()) * to_mm
    if not farthest > MAX_APART_MM:
        return []
    text = f"qform and sform put a corner of the scan {farthest:.0f} mm apart"
    return [Note("orientation-conflict", text)]
