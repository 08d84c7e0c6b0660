"""Volumes as bytes: gzipped NIfTI without names, dates, free text, scaling, or a unit but millimetres."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError

if TYPE_CHECKING:
    import nibabel as nib

SYNTHETIC_MARK: Final = b"SYNTHETIC phantom, not a patient"
"""The ``descrip`` field of every phantom volume; it is empty in all others."""
GEOMETRY_FIELDS: Final = (
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""What is copied from a NIfTI header; everything else could hold a name or a date."""
_UNUSED: Final = {"sform_code": GEOMETRY_FIELDS[2:5], "qform_code": GEOMETRY_FIELDS[5:]}
"""What means nothing where a code is 0: any number may stand there."""
ROUNDED: Final = 1e-4
"""Share of a volume's range by which float32 may change a value; MR noise is a hundred times that."""
_LENGTHS: Final = ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z")
_LEVEL: Final = 4
"""gzip level: on noisy volumes higher levels cost twice the time for 1 % of the size."""


def pack(image: nib.Nifti1Image, name: str) -> dict[str, Any]:
    """Return a volume as the Nifti feature stores it; equal volumes give equal bytes."""
    return {
        "bytes": gzip.compress(image.to_bytes(), compresslevel=_LEVEL, mtime=0),
        "path": f"{name}.nii.gz",
    }


def unpack(stored: dict[str, Any]) -> nib.Nifti1Image:
    """Return the volume of a stored Nifti feature."""
    import nibabel as nib

    content = stored["bytes"]
    return nib.Nifti1Image.from_bytes(
        gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    )


def plain(image: nib.Nifti1Image, *, to_mm: float = 1.0) -> nib.Nifti1Image:
    """Return a volume as this package keeps it: its values, nothing else to be known about them.

    However the values were stored (type, byte order, slope and intercept), equal values give equal bytes:
    the smallest of int16, uint16, int32 and float32 that holds them. The header holds type, geometry and
    the unit mm.

    Args:
        image: read from a file, or an array under a header with a slope, as it would be written.
        to_mm: millimetres in the unit of its affine.

    Raises:
        ScanError: its voxels are no numbers, are not finite, or need more than 32 bits.
    """
    import nibabel as nib

    values = _smallest(_values(image))
    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    for name in GEOMETRY_FIELDS:
        header[name] = image.header[name]
    for code, unused in _UNUSED.items():
        for name in unused if header[code] == 0 else ():
            header[name] = 0
    header["pixdim"][:4] = image.header["pixdim"][:4]
    header["pixdim"][1:4] *= to_mm
    for name in _LENGTHS:
        header[name] *= to_mm
    header.set_xyzt_units("mm")
    return nib.Nifti1Image(values, header.get_best_affine(), header, dtype=values.dtype)


def _values(image: nib.Nifti1Image) -> NDArray[Any]:
    """Return what the voxels mean, (X, Y, Z): as stored, or float64 where slope and intercept apply."""
    data: Any = image.dataobj
    if hasattr(data, "get_unscaled"):
        stored, scaling = np.asanyarray(data.get_unscaled()), (data.slope, data.inter)
    else:
        # nibabel writes such an array as it is, under the header's slope: read again it is scaled.
        stored, scaling = np.asanyarray(data), image.header.get_slope_inter()
    stored = stored.reshape(stored.shape[:3])
    if stored.dtype.kind not in "iuf":
        raise ScanError(f"voxels of type {stored.dtype}, not numbers", code="unsupported-voxels")
    slope, inter = (
        default if factor is None else float(factor)
        for factor, default in zip(scaling, (1.0, 0.0), strict=True)
    )
    values: NDArray[Any] = stored
    if (slope, inter) != (1.0, 0.0):
        values = stored.astype(np.float64) * slope + inter
    return values


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    whole = values.dtype.kind != "f"
    if not whole and not np.isfinite(values).all():
        raise ScanError("holds NaN or infinite voxels", code="nan")
    low, high = values.min(), values.max()
    if whole or (values == np.rint(values)).all():
        for kind in (np.int16, np.uint16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return values.astype(kind)
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        worst = np.abs(single - values).max()
    if whole or not worst <= ROUNDED * (high - low):
        raise ScanError("its values need more than 32 bits", code="unsupported-voxels")
    return single
