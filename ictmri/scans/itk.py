"""NRRD and MetaImage files: ITK reads them, their headers tell what ITK passes over in silence."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from ictmri.errors import ScanError
from ictmri.io.volumes import plain
from ictmri.scans.findings import Note
from ictmri.scans.scan import Scan, check_size, from_lps, to_millimetres

META_ENDINGS: Final = (".mha", ".mhd")
_DETACHED: Final = (".mhd", ".nhdr")
MAX_HEADER: Final = 2**20
_META_END: Final = re.compile(rb"^\s*ElementDataFile[^\n]*\n", re.MULTILINE)
_NRRD_END: Final = re.compile(rb"\r?\n\r?\n")
_NRRD_SPACE: Final = re.compile(
    r"(left|right)-(anterior|posterior)-superior(-time)?|[lr][ap]st?", re.IGNORECASE
)
"""Names of spaces that say where left is; ``scanner-xyz`` and the like do not."""
_MATRIX: Final = ("transformmatrix", "rotation", "orientation")
_OPPOSITE: Final = str.maketrans("RLAPIS", "LRPASI")
_GUESS: Final = "left and right are a guess"


def read_itk(path: Path) -> Scan:
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
    item = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    meta = path.name.lower().endswith(META_ENDINGS)
    fields = (_meta_fields if meta else _nrrd_fields)(path, math.prod(size) * item)
    source = reader.Execute()
    direction = np.reshape(source.GetDirection(), (3, 3))
    voxels = sitk.GetArrayFromImage(source).transpose(2, 1, 0)
    image = from_lps(voxels, direction * source.GetSpacing(), source.GetOrigin())
    if meta:
        # ITK gives MetaImage's values as they are stored.
        scaling = [
            float(fields.get(f"elementtointensityfunction{name}", default))
            for name, default in (("slope", "1"), ("offset", "0"))
        ]
        if scaling != [1.0, 0.0]:
            image.header.set_slope_inter(*scaling)
    unit = fields.get("distanceunits", "") if meta else _nrrd_unit(fields)
    to_mm, told_of_unit = to_millimetres(max(np.array(source.GetSpacing()) * size), unit)
    lies = _meta_orientation(fields, direction) if meta else _nrrd_orientation(fields)
    return Scan(plain(image, to_mm=to_mm), [*lies, *told_of_unit])


def _header(path: Path, end: re.Pattern[bytes], mark: str) -> tuple[dict[str, str], bytes]:
    """Return the fields of a header, by name in small letters, and all bytes after it."""
    content = path.read_bytes()
    found = end.search(content[:MAX_HEADER])
    place = found.end() if found else len(content)
    lines = content[:place].decode("utf-8", "replace").splitlines()
    pairs = (line.split(mark, 1) for line in lines if mark in line and not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, value in pairs}, content[place:]


def _check_whole(data: bytes, length: int, *, packed: bool) -> None:
    """Refuse voxels that end early, go on, or do not have the checksum that stands behind them."""
    cut, more = False, data[length:]
    if packed:
        stream = zlib.decompressobj(wbits=47)
        try:
            data = stream.decompress(data, length + 1)
        except zlib.error as error:
            text = "cannot be read: its compressed voxels are damaged"
            raise ScanError(text, code="unreadable", detail=str(error)) from None
        cut, more = not stream.eof and len(data) <= length, stream.unused_data
    if cut or len(data) < length:
        raise ScanError("cannot be read: it ends before its voxels do", code="truncated")
    if more.strip(b"\0") or (packed and len(data) > length):
        raise ScanError("bytes follow its voxels: the header tells of fewer than there are")


def _beside(path: Path, name: str) -> bytes | None:
    """Return the content of the file that a header names, None where it names several."""
    if _is_pattern(name):
        return None
    place = path.parent / name
    if not place.is_file():
        raise ScanError("cannot be read: its header names voxels that are not there")
    return place.read_bytes()


def data_files(path: Path) -> list[Path]:
    """Return the files with the voxels of a detached header; none of a file that holds its own.

    All files beside a header that names them by a list or a pattern.
    """
    if not path.name.lower().endswith(_DETACHED):
        return []
    meta = path.name.lower().endswith(META_ENDINGS)
    fields, _ = _header(path, *((_META_END, "=") if meta else (_NRRD_END, ":")))
    keys = ("elementdatafile",) if meta else ("data file", "datafile")
    name = next((fields[key] for key in keys if key in fields), "LOCAL")
    if name.upper() == "LOCAL":
        return []
    if _is_pattern(name):
        return sorted(one for one in path.parent.iterdir() if one.is_file() and one != path)
    return [place for place in [path.parent / name] if place.is_file()]


def _is_pattern(name: str) -> bool:
    return name.upper().startswith("LIST") or "%" in name


# NRRD ----------------------------------------------------------------------------------------------------


def _nrrd_fields(path: Path, length: int) -> dict[str, str]:
    """Return the fields of a NRRD header whose voxels are whole: so many bytes, where that can be told."""
    fields, rest = _header(path, _NRRD_END, ":")
    encoding = fields.get("encoding", "raw").lower()
    if encoding in ("raw", "gzip", "gz") and not {"byte skip", "line skip"} & fields.keys():
        name = fields.get("data file", fields.get("datafile"))
        data = rest if name is None else _beside(path, name)
        if data is not None:
            _check_whole(data, length, packed=encoding != "raw")
    return fields


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


def _meta_fields(path: Path, length: int) -> dict[str, str]:
    """Return the fields of a MetaImage header; as :func:`_nrrd_fields` in all else."""
    fields, rest = _header(path, _META_END, "=")
    if fields.get("binarydata", "True") == "True" and "headersize" not in fields:
        name = fields.get("elementdatafile", "LOCAL")
        data = rest if name.upper() == "LOCAL" else _beside(path, name)
        if data is not None:
            _check_whole(data, length, packed=fields.get("compresseddata") == "True")
    return fields


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
