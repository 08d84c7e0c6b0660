"""NRRD and MetaImage files: ITK reads them, their headers tell what ITK passes over in silence."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ictmri.errors import ScanError
from ictmri.io.volumes import plain
from ictmri.scans.codes import Note
from ictmri.scans.limits import check_size
from ictmri.scans.units import to_millimetres

if TYPE_CHECKING:
    from pathlib import Path

    import nibabel as nib

META_ENDINGS: Final = (".mha", ".mhd")
MAX_HEADER: Final = 2**20
_NRRD_SPACE: Final = re.compile(
    r"(left|right)-(anterior|posterior)-superior(-time)?|[lr][ap]st?", re.IGNORECASE
)
"""Names of spaces that say where left is; ``scanner-xyz`` and the like do not."""
_MATRIX: Final = ("transformmatrix", "rotation", "orientation")
_OPPOSITE: Final = str.maketrans("RLAPIS", "LRPASI")
_GUESS: Final = "left and right are a guess"


@dataclass(frozen=True, slots=True)
class _Header:
    """The text before the voxels.

    Attributes:
        fields: by name in small letters.
        data: what follows the text, or the content of the one file that it names; None where the voxels
            lie in several, or as text.
        packed: they are compressed.
    """

    fields: dict[str, str]
    data: bytes | None
    packed: bool


def read_itk(path: Path) -> tuple[nib.Nifti1Image, list[Note]]:
    """Read a NRRD or MetaImage file.

    Raises:
        ScanError: it is no single volume, or not the whole of one.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) != 3 or components != 1:
        told = f"{len(size)} dimensions" if components == 1 else f"{components} values a voxel"
        raise ScanError(f"not one volume: {told}", code="not-one-volume")
    check_size(size)
    meta = path.name.lower().endswith(META_ENDINGS)
    header = (_meta_header if meta else _nrrd_header)(path)
    item = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    _check_whole(header, math.prod(size) * item)
    source = reader.Execute()
    edges = np.array(source.GetSpacing()) * size
    unit = header.fields.get("distanceunits", "") if meta else _nrrd_unit(header.fields)
    to_mm, told_of_unit = to_millimetres(float(edges.max()), unit)
    image = _image(source, header.fields if meta else {})
    direction = np.reshape(source.GetDirection(), (3, 3))
    turned = (
        _meta_orientation(header.fields, direction) if meta else _nrrd_orientation(header.fields)
    )
    return plain(image, to_mm=to_mm), [*turned, *told_of_unit]


def _image(source: Any, scaling: dict[str, str]) -> nib.Nifti1Image:
    import nibabel as nib
    import SimpleITK as sitk

    affine = np.eye(4)
    affine[:3, :3] = np.reshape(source.GetDirection(), (3, 3)) * source.GetSpacing()
    affine[:3, 3] = source.GetOrigin()
    # ITK counts millimetres towards left and posterior, NIfTI towards right and anterior.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    voxels = sitk.GetArrayFromImage(source).transpose(2, 1, 0)
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    # ITK gives MetaImage's values as they are stored.
    slope, inter = (
        float(scaling.get(f"elementtointensityfunction{name}", default))
        for name, default in (("slope", "1"), ("offset", "0"))
    )
    if (slope, inter) != (1.0, 0.0):
        image.header.set_slope_inter(slope, inter)
    return image


def _check_whole(header: _Header, length: int) -> None:
    """Refuse voxels that end early, go on, or do not have the checksum that stands behind them."""
    data = header.data
    if data is None:
        return
    if header.packed:
        stream = zlib.decompressobj(wbits=47)
        try:
            voxels = stream.decompress(data, length + 1)
        except zlib.error as error:
            text = "cannot be read: its compressed voxels are damaged"
            raise ScanError(text, code="unreadable", detail=str(error)) from None
        cut, more = not stream.eof and len(voxels) <= length, bool(stream.unused_data.strip(b"\0"))
        data = voxels
    else:
        cut, more = False, bool(data[length:].strip(b"\0"))
    if cut or len(data) < length:
        raise ScanError("cannot be read: it ends before its voxels do", code="truncated")
    if more or (header.packed and len(data) > length):
        raise ScanError("bytes follow its voxels: the header tells of fewer than there are")


def _text(path: Path, end: re.Pattern[bytes]) -> tuple[list[str], bytes]:
    """Return the lines of a header, and all bytes after them."""
    content = path.read_bytes()
    found = end.search(content[:MAX_HEADER])
    place = found.end() if found else len(content)
    return content[:place].decode("utf-8", "replace").splitlines(), content[place:]


def _beside(path: Path, name: str) -> bytes | None:
    """Return the content of the file that a header names, None where it names several."""
    if name.upper().startswith("LIST") or "%" in name:
        return None
    place = path.parent / name
    if not place.is_file():
        raise ScanError("cannot be read: its header names voxels that are not there")
    return place.read_bytes()


# NRRD ----------------------------------------------------------------------------------------------------


def _nrrd_header(path: Path) -> _Header:
    lines, rest = _text(path, re.compile(rb"\r?\n\r?\n"))
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    fields = {name.strip().lower(): value.strip() for name, value in pairs}
    encoding = fields.get("encoding", "raw").lower()
    known = encoding in ("raw", "gzip", "gz") and not {"byte skip", "line skip"} & fields.keys()
    name = fields.get("data file", fields.get("datafile"))
    data = rest if name is None else _beside(path, name) if known else None
    return _Header(fields, data if known else None, encoding != "raw")


def _nrrd_unit(fields: dict[str, str]) -> str:
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", ""))))
    if len(units) > 1:
        raise ScanError("its axes have different units of length", code="no-placement")
    return units.pop() if units else ""


def _nrrd_orientation(fields: dict[str, str]) -> list[Note]:
    if _NRRD_SPACE.fullmatch(fields.get("space", "")) and "space directions" in fields:
        return []
    text = f"its header names no anatomical space: {_GUESS}"
    return [Note("orientation-missing", text)]


# MetaImage -----------------------------------------------------------------------------------------------


def _meta_header(path: Path) -> _Header:
    lines, rest = _text(path, re.compile(rb"^\s*ElementDataFile[^\n]*\n", re.MULTILINE))
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    fields = {name.strip().lower(): value.strip() for name, value in pairs}
    known = fields.get("binarydata", "True") == "True" and "headersize" not in fields
    name = fields.get("elementdatafile", "LOCAL")
    data = rest if name.upper() == "LOCAL" else _beside(path, name) if known else None
    return _Header(fields, data if known else None, fields.get("compresseddata") == "True")


def _meta_orientation(fields: dict[str, str], direction: np.ndarray[Any, Any]) -> list[Note]:
    """Compare what a header says in letters and as a matrix; ITK takes the matrix, or none."""
    letters = fields.get("anatomicalorientation", "").upper()
    matrix = any(name in fields for name in _MATRIX)
    if (not matrix and not letters) or "?" in letters:
        return [Note("orientation-missing", f"its header calls no orientation its own: {_GUESS}")]
    from nibabel.orientations import aff2axcodes

    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ direction
    towards = "".join(map(str, aff2axcodes(affine)))
    # Letters name the side that an axis comes from; some programs write the one that it leads to.
    if not letters or letters in (towards, towards.translate(_OPPOSITE)):
        return []
    text = "its AnatomicalOrientation and its TransformMatrix disagree; the matrix was used"
    return [Note("orientation-conflict", text)]
