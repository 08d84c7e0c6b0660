"""A scan as it is read, and what any header may say: sizes and lengths that a head can have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import ScanError
from ictmri.scans.findings import Note

if TYPE_CHECKING:
    import nibabel as nib

MAX_VOXELS: Final = 2**27
"""Largest volume that is read (a 512^3 cube): more is a damaged header, not a head."""
_UNITS: Final = {
    1.0: ("millimetres", "mm millimeter millimeters millimetre millimetres"),
    1e-3: (
        "micrometres",
        "um µm μm micron microns micrometer micrometers micrometre micrometres",
    ),
    10.0: ("centimetres", "cm centimeter centimeters centimetre centimetres"),
    1000.0: ("metres", "m meter meters metre metres"),
}
"""Millimetres in a unit -> its name, and the names that headers give it in small letters."""
PLAUSIBLE_MM: Final = (10.0, 1000.0)
"""Longest edge of a scan of a head, and of a small piece of one."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A volume as it will be stored, with what is odd about it.

    Attributes:
        image: the volume under a header of ours, see :func:`ictmri.io.volumes.plain`.
        oddities: what its header or its folder says; free of anything that they say in words.
        acquisition: how a DICOM scan was made, see :data:`ictmri.scans.dicom_volume.ACQUISITION_NUMBERS`.
    """

    image: nib.Nifti1Image
    oddities: list[Note]
    acquisition: dict[str, str] = field(default_factory=dict)


def check_size(shape: Sequence[int]) -> None:
    """Refuse shapes that are no volume or too large, before anything is allocated.

    Raises:
        ScanError: the shape is implausible.
    """
    told = f"implausible size {' x '.join(map(str, shape))}"
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(told, code="not-one-volume")
    if math.prod(map(int, shape)) > MAX_VOXELS:
        raise ScanError(told, code="too-large")


def to_millimetres(longest: float, unit: str) -> tuple[float, list[Note]]:
    """Return what lengths are to be multiplied with, and what is to be told about their unit.

    A header's word counts where it can be true. Lengths that can only be millimetres are taken as such.

    Args:
        longest: longest edge of the field of view, as the header has it.
        unit: its name in the header; empty where the header names none.
    """
    name = unit.strip().strip('"').lower()
    factor = next((mm for mm, (_, names) in _UNITS.items() if name in names.split()), None)
    low, high = PLAUSIBLE_MM
    if not name or factor == 1.0:
        return 1.0, []
    if factor is None:
        told, factor = "its header names an unknown unit of length; millimetres were taken", 1.0
    else:
        told = f"its header gives lengths in {_UNITS[factor][0]}"
        if low <= longest * factor <= high or not low <= longest <= high:
            told += "; they were brought to millimetres"
        else:
            long = f"{longest * factor:.4g} mm long"
            told, factor = f"{told}, which would make it {long}; millimetres were taken", 1.0
    return factor, [Note("unit-of-length", told)]


def from_lps(voxels: NDArray[Any], axes: NDArray[np.float64], origin: Any) -> nib.Nifti1Image:
    """Return voxels (X, Y, Z) under a NIfTI header, both of whose orientations say where they lie.

    DICOM and ITK count millimetres towards left and posterior, NIfTI towards right and anterior.

    Args:
        voxels: the values.
        axes: (3, 3) mm from voxel to voxel, a column for each axis, LPS.
        origin: (3,) mm of the first voxel's centre, LPS.
    """
    import nibabel as nib

    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    return image
