"""Defacing: what a person could be recognised by is removed, the brain is not touched.

The face is a region of the template's space, brought to the scan by the affine that aligns the two.
Published defacing tools leave 28 to 38 % of faces matchable by software (Schwarz et al. 2021,
doi:10.1016/j.neuroimage.2021.117845): extraction of the brain, or a gate, is the safer way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.alignment import align
from ictmri.atlas.template import SPACING_MM, template
from ictmri.io.volumes import plain
from ictmri.scans.examine import corners

BROW_Z_MM: Final = 30.0
"""Nothing above this height (MNI) is face."""
ORBIT_Y_MM: Final = 22.0
"""Beside and above the eyes, the face begins here (MNI) ..."""
JAW_Y_MM: Final = -25.0
"""... and below the skull base here: nose, mouth, jaw and throat."""
SKULL_BASE_Z_MM: Final = -45.0
BRAIN_MARGIN_MM: Final = 7.0
"""Tissue this near to the template's brain is kept, whatever its place."""
SURE: Final = 0.92
"""Overlap of the aligned heads below which a person has to look: scans whose face went wholly reached 0.95
and more, one that kept its eyes 0.90."""

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Defaced:
    """A scan without its face.

    Attributes:
        image: same values and geometry, the face set to the background's value.
        removed_ml: volume of what was removed; 0 where the brain was extracted before.
        overlap: of the scan's head with the template's, 0 to 1; the face was found where it is high.
        extracted: the brain was extracted before; there is no face.
    """

    image: nib.Nifti1Image
    removed_ml: float
    overlap: float
    extracted: bool


def remove_face(image: nib.Nifti1Image) -> Defaced:
    """Set the face of a scan to the background's value.

    Raises:
        AlignmentError: the scan is not a head, so that its face cannot be found.
    """
    aligned = align(image)
    if aligned.extracted:
        return Defaced(image, 0.0, aligned.overlap(), extracted=True)
    face = face_region(image.shape, image.affine, aligned.scan_from_mni)
    kept = plain(image)
    voxels = np.array(kept.dataobj)
    voxels[face] = np.sort(corners(voxels))[4]
    millilitres = float(face.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000)
    changed = nib.Nifti1Image(voxels, kept.affine, kept.header, dtype=voxels.dtype)
    return Defaced(changed, millilitres, aligned.overlap(), extracted=False)


def face_region(
    shape: tuple[int, ...], affine: Affine, scan_from_mni: Affine
) -> npt.NDArray[np.bool_]:
    """Return the voxels of a scan that belong to the face.

    Args:
        shape: (X, Y, Z).
        affine: voxel to scan mm.
        scan_from_mni: MNI mm to scan mm.
    """
    to_mni = np.linalg.inv(scan_from_mni) @ affine
    y, z = (_coordinate(shape, to_mni[axis]) for axis in (1, 2))
    anterior = np.where(z < SKULL_BASE_Z_MM, y > JAW_Y_MM, y > ORBIT_Y_MM)
    region = anterior & (z < BROW_Z_MM)
    to_template = np.linalg.inv(template().affine) @ to_mni
    near_brain = ndimage.affine_transform(
        _protected(), to_template[:3, :3], to_template[:3, 3], shape, np.uint8, order=0
    )
    face: npt.NDArray[np.bool_] = region & (near_brain == 0)
    return face


def _coordinate(shape: tuple[int, ...], row: Affine) -> npt.NDArray[np.float32]:
    """Return one world coordinate of every voxel."""
    i, j, k = (np.arange(n, dtype=np.float32) for n in shape)
    x, y, z, shift = row.astype(np.float32)
    plane: npt.NDArray[np.float32] = (
        x * i[:, None, None] + y * j[None, :, None] + z * k[None, None, :] + shift
    )
    return plane


@lru_cache(maxsize=1)
def _protected() -> npt.NDArray[np.uint8]:
    distance = ndimage.distance_transform_edt(~template().mask, sampling=SPACING_MM)
    near: npt.NDArray[np.uint8] = (distance <= BRAIN_MARGIN_MM).astype(np.uint8)
    return near
