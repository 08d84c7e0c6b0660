"""Source scans: read from whatever format the owner has, voxels and geometry untouched."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ictmri.builders.codes import Note
from ictmri.builders.dicom_volume import read_dicom
from ictmri.builders.limits import check_size
from ictmri.errors import ScanError

if TYPE_CHECKING:
    import nibabel as nib
    from numpy.typing import NDArray

NIFTI_ENDINGS: Final = (".nii", ".nii.gz")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_ENDINGS: Final = (".dcm", ".dicom", ".ima")
GEOMETRY_FIELDS: Final = (
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""What is copied from a NIfTI header; everything else could hold a name or a date."""
MAX_OFFSET: Final = 2**20
"""Largest vox_offset: where the voxels begin, after 352 bytes of header and the extensions."""


MAX_APART_MM: Final = 2.0
"""Distance between the two placements of a corner up to which they count as one, rounded twice."""
_CUT_OFF: Final = re.compile(
    r"end-of-stream|end of stream|expected \d+ bytes|less than expected|bytes needed|got only|truncated",
    re.IGNORECASE,
)
_NOT_THE_SCANS_FAULT: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
}
"""What the machine or a network drive refuses: a patient must not be left out for it."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A volume as it will be stored, with what is odd about it.

    Attributes:
        image: the volume; voxels, data type, scaling and affine are the source's.
        oddities: what its header or its folder says.
        acquisition: how a DICOM scan was made, see :mod:`ictmri.builders.dicom_volume`.
    """

    image: nib.Nifti1Image
    oddities: list[Note]
    acquisition: dict[str, str] = field(default_factory=dict)


def read_scan(path: Path) -> Scan:
    """Read a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.

    Raises:
        ScanError: it cannot be read, or is not one three-dimensional volume.
        OSError: the machine cannot read anything now, whatever the scan.
    """
    lower = path.name.lower()
    try:
        if path.is_dir() or lower.endswith(DICOM_ENDINGS):
            found = read_dicom(path)
            return _checked(found.image, found.oddities, found.acquisition)
        if lower.endswith(ITK_ENDINGS):
            return _checked(_read_itk(path), [])
        if lower.endswith(NIFTI_ENDINGS):
            return _checked(*_read_nifti(path))
    except ScanError:
        raise
    except MemoryError:
        raise ScanError("needs more memory than there is", code="out-of-memory") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_SCANS_FAULT:
            raise
        # Each library has exceptions of its own for damaged files; all mean the same to the owner.
        said = str(error).strip() or type(error).__name__
        # ITK begins with where in its own code it stood, and ends with what was wrong.
        line = said.splitlines()[-1 if "ITK ERROR" in said else 0]
        raise ScanError(
            f"cannot be read ({type(error).__name__})",
            code="truncated" if _CUT_OFF.search(said) else "unreadable",
            detail=line,
        ) from None
    known = ", ".join((*NIFTI_ENDINGS, *ITK_ENDINGS, *DICOM_ENDINGS))
    raise ScanError(
        f"unknown format; known are {known} and a folder of DICOM files", code="unknown-format"
    )


def _read_nifti(path: Path) -> tuple[nib.Nifti1Image, list[Note]]:
    import nibabel as nib

    _check_offset(path)
    source = nib.load(path)
    if not isinstance(source, nib.Nifti1Image | nib.Nifti2Image):
        raise ScanError(f"not a NIfTI file but {type(source).__name__}", code="unknown-format")
    shape = source.shape
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        shown = " x ".join(map(str, source.shape))
        raise ScanError(f"not one volume: its shape is {shown}", code="not-one-volume")
    check_size(shape)
    stored = np.asanyarray(source.dataobj.get_unscaled()).reshape(shape)
    return _clean_copy(stored, source), _orientation(source.header)


def _orientation(header: nib.Nifti1Header) -> list[Note]:
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
        text = "qform code 0: some readers will ignore the orientation"
        return [Note("qform-missing", text)]
    if sform is None:
        return []
    corners = np.array(list(product(*((0, length - 1) for length in header.get_data_shape()[:3]))))
    apart = np.linalg.norm((corners @ (qform - sform)[:3, :3].T) + (qform - sform)[:3, 3], axis=1)
    if not apart.max() > MAX_APART_MM:
        return []
    text = f"qform and sform put a corner of the scan {apart.max():.0f} mm apart"
    return [Note("orientation-conflict", text)]


def _check_offset(path: Path) -> None:
    """Refuse a header that sends the reader far into a compressed stream, or to huge extensions."""
    import gzip
    import struct

    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        head = stream.read(176)
    for order in "<>":
        if len(head) >= 112 and struct.unpack_from(f"{order}i", head)[0] == 348:
            offset = struct.unpack_from(f"{order}f", head, 108)[0]
        elif len(head) >= 176 and struct.unpack_from(f"{order}i", head)[0] == 540:
            offset = float(struct.unpack_from(f"{order}q", head, 168)[0])
        else:
            continue
        if not 0 <= offset <= MAX_OFFSET:
            raise ScanError("its header is damaged: the voxels cannot begin where it says")


def _clean_copy(stored: NDArray[Any], source: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return the same voxels and geometry under a new header that holds only the allowed fields."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(stored.dtype.newbyteorder("="))
    header.set_data_shape(stored.shape)
    for name in GEOMETRY_FIELDS:
        header[name] = source.header[name]
    header["pixdim"][:4] = source.header["pixdim"][:4]
    header["xyzt_units"] = int(source.header["xyzt_units"]) & 0b111
    slope, inter = source.dataobj.slope, source.dataobj.inter
    image = nib.Nifti1Image(stored, header.get_best_affine(), header, dtype=header.get_data_dtype())
    if (slope, inter) != (1.0, 0.0):
        image.header.set_slope_inter(slope, inter)
    return image


def _read_itk(path: Path) -> nib.Nifti1Image:
    import nibabel as nib
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    check_size(reader.GetSize())
    source = reader.Execute()
    if source.GetDimension() != 3 or source.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(
            f"not one volume: {source.GetDimension()} dimensions", code="not-one-volume"
        )
    voxels = _storable(sitk.GetArrayFromImage(source).transpose(2, 1, 0))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(source.GetDirection(), (3, 3)) * source.GetSpacing()
    affine[:3, 3] = source.GetOrigin()
    # ITK counts millimetres towards left and posterior, NIfTI towards right and anterior.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def _storable(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return 64-bit integers as 32-bit ones, since NIfTI readers do not agree on the former."""
    if voxels.dtype not in (np.int64, np.uint64):
        return voxels
    limits = np.iinfo(np.int32)
    if voxels.min() < limits.min or voxels.max() > limits.max:
        raise ScanError("its integers need 64 bits", code="unsupported-voxels")
    return voxels.astype(np.int32)


def _checked(
    image: nib.Nifti1Image, oddities: list[Note], acquisition: dict[str, str] | None = None
) -> Scan:
    stored = np.asanyarray(image.dataobj)
    if stored.dtype.kind not in "iuf":
        raise ScanError(f"voxels of type {stored.dtype}, not numbers", code="unsupported-voxels")
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ScanError("holds NaN or infinite voxels", code="nan")
    if stored.min() == stored.max():
        raise ScanError("every voxel has the same value", code="constant")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise ScanError("its affine is not a placement in space", code="no-placement")
    return Scan(image, oddities, acquisition or {})
