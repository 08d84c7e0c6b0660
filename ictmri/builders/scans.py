"""Source scans: read from whatever format the owner has, voxels and geometry untouched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import nibabel as nib
    from numpy.typing import NDArray

NIFTI_ENDINGS: Final = (".nii", ".nii.gz")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
GEOMETRY_FIELDS: Final = (
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""What is copied from a NIfTI header; everything else could hold a name or a date."""
MAX_VOXELS: Final = 2**29
"""Largest volume that is read (an 800^3 cube): more is a damaged header, not a head."""


class ScanError(Exception):
    """A scan that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A volume as it will be stored, with what is odd about it.

    Attributes:
        image: the volume; voxels, data type, scaling and affine are the source's.
        oddities: one line each, without any name of the source.
    """

    image: nib.Nifti1Image
    oddities: list[str]


def read_scan(path: Path) -> Scan:
    """Read a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.

    Raises:
        ScanError: it cannot be read, or is not one three-dimensional volume.
    """
    lower = path.name.lower()
    try:
        if path.is_dir() or lower.endswith(ITK_ENDINGS):
            return _checked(_read_itk(path), [])
        if lower.endswith(NIFTI_ENDINGS):
            return _checked(*_read_nifti(path))
    except (ScanError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        # Each library has exceptions of its own for damaged files; all mean the same to the owner.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ScanError(f"cannot be read: {first}") from None
    known = ", ".join((*NIFTI_ENDINGS, *ITK_ENDINGS))
    raise ScanError(f"unknown format; known are {known} and a folder with one DICOM series")


def _read_nifti(path: Path) -> tuple[nib.Nifti1Image, list[str]]:
    import nibabel as nib

    source = nib.load(path)
    if not isinstance(source, nib.Nifti1Image | nib.Nifti2Image):
        raise ScanError(f"not a NIfTI file but {type(source).__name__}")
    shape = source.shape
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        raise ScanError(f"not one volume: its shape is {' x '.join(map(str, source.shape))}")
    _check_size(shape)
    oddities = []
    qform, sform = (int(source.header[code]) for code in ("qform_code", "sform_code"))
    if qform == 0 and sform == 0:
        oddities.append(
            "no orientation in the header (qform and sform code 0): left and right are a guess"
        )
    elif qform == 0:
        oddities.append("qform code 0: some readers will ignore the orientation")
    stored = np.asanyarray(source.dataobj.get_unscaled()).reshape(shape)
    return _clean_copy(stored, source), oddities


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

    if path.is_dir():
        source = _read_series(path)
    else:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        _check_size(reader.GetSize())
        source = reader.Execute()
    if source.GetDimension() != 3 or source.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(f"not one volume: {source.GetDimension()} dimensions")
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


def _read_series(folder: Path) -> Any:
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise ScanError(f"the folder holds {len(series) or 'no'} DICOM series, one is needed")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    return reader.Execute()


def _storable(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return 64-bit integers as 32-bit ones, since NIfTI readers do not agree on the former."""
    if voxels.dtype not in (np.int64, np.uint64):
        return voxels
    limits = np.iinfo(np.int32)
    if voxels.min() < limits.min or voxels.max() > limits.max:
        raise ScanError("its integers need 64 bits")
    return voxels.astype(np.int32)


def _check_size(shape: tuple[int, ...]) -> None:
    if min(shape) < 2 or np.prod([float(n) for n in shape]) > MAX_VOXELS:
        raise ScanError(f"implausible size {' x '.join(map(str, shape))}")


def _checked(image: nib.Nifti1Image, oddities: list[str]) -> Scan:
    stored = np.asanyarray(image.dataobj)
    if stored.dtype.kind not in "iuf":
        raise ScanError(f"voxels of type {stored.dtype}, not numbers")
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ScanError("holds NaN or infinite voxels")
    if stored.min() == stored.max():
        raise ScanError("every voxel has the same value")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise ScanError("its affine is not a placement in space")
    return Scan(image, oddities + _oddities(image))


def _oddities(image: nib.Nifti1Image) -> list[str]:
    from nibabel.affines import voxel_sizes

    found = []
    spacing = voxel_sizes(image.affine)
    if max(spacing) > 3.0 or max(spacing) > 3 * min(spacing):
        shown = " x ".join(f"{size:.2f}" for size in spacing)
        found.append(f"thick slices: voxels of {shown} mm")
    voxels = np.asanyarray(image.dataobj)
    corners = voxels[np.ix_(*[(0, -1)] * 3)].ravel()
    background = float(np.median(corners))
    if background != 0 and (corners == corners[0]).all():
        found.append(f"the background is {background:.4g}, not 0")
    if (voxels == corners[0]).mean() > 0.6:
        found.append("most voxels are background: the brain was probably extracted already")
    return found
