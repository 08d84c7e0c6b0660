"""A scan's place in MNI152 space, and whether its brain was extracted already."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ictmri.atlas.geometry import Affine, canonical, orthogonal, resample, shrink, to_itk
from ictmri.atlas.registration import COARSE_MM, FINE_MM, reference, register
from ictmri.atlas.template import ORIGIN_MM, SPACING_MM, template

EXTRACTED_SHARE: Final = 0.5
"""A scan whose commonest value fills this share of it may have had its brain extracted ..."""
EXTRACTED_ML: Final = 2100.0
"""... and has, if what is left is no larger than a large brain."""
CRANIUM_Z_MM: Final = -20.0
"""Above this height (MNI) a head is its skull, and looks the same in everyone."""
TISSUE_SHARE: Final = 0.1
"""Share of the bright voxels' value above which a voxel is not air."""
MIN_EXTENT_MM: Final = 60.0
"""A field of view smaller than this in any direction cannot be matched to a head."""

Mask = npt.NDArray[np.bool_]


class AlignmentError(ValueError):
    """A volume that cannot be matched to a head; the message says why."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """A scan and its alignment by one affine.

    Attributes:
        scan: the scan at about 2 mm, axes nearest to RAS, background 0, without shear.
        extracted: whether its brain was extracted before; else the skull is still there.
        to_plain: MNI mm to the mm of ``scan``.
        scan_from_mni: MNI mm to the mm of the scan as it was stored (RAS+).
    """

    scan: sitk.Image
    extracted: bool
    to_plain: Affine
    scan_from_mni: Affine

    def on_template(self, outside: float = 0.0) -> npt.NDArray[np.float32]:
        """Return ``scan`` on the template's grid, (97, 115, 97) float32, ``outside`` its field of view."""
        target = template()
        grid = to_itk(target.mask.astype(np.uint8), target.affine)
        return resample(self.scan, grid, self.to_plain, outside=outside)

    def overlap(self) -> float:
        """Return how well the two heads cover each other above the skull base (Dice, 0 to 1).

        Only the scan's field of view counts, and it must hold half of the head. Correlation says little
        on thick slices, the outline does: real heads reach 0.89 and more, what is no head stays below 0.8.
        """
        moved = self.on_template(outside=-1.0)
        whole = _template_head().copy()
        whole[:, :, : round((CRANIUM_Z_MM - ORIGIN_MM[2]) / SPACING_MM)] = False
        seen = (moved >= 0) & whole.any(axis=(0, 1))
        known = whole & seen
        if 2 * known.sum() < whole.sum():
            return 0.0
        head = _solid(moved > TISSUE_SHARE * np.percentile(moved[seen], 98)) & seen
        return float(2 * (head & known).sum() / max(head.sum() + known.sum(), 1))


def align(image: nib.Nifti1Image) -> Aligned:
    """Match a scan to the template.

    Args:
        image: a head, with or without skull, in any orientation; its background may be any constant.

    Raises:
        AlignmentError: it cannot be a head, or the alignment found nothing to hold on to.
    """
    voxels, affine = canonical(image)
    _check(voxels, affine)
    support = extracted_support(voxels, affine)
    if support is None:
        voxels = voxels - voxels.min()
    else:
        voxels = np.where(support, voxels - voxels[support].min(), 0)
    world = orthogonal(affine)
    scan = shrink(to_itk(voxels.astype(np.float32), world), SPACING_MM)
    fine = shrink(scan, FINE_MM)
    try:
        found = register(reference(brain_only=support is not None), shrink(fine, COARSE_MM), fine)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise AlignmentError(f"cannot be aligned to the template: {reason}") from None
    return Aligned(
        scan=scan,
        extracted=support is not None,
        to_plain=found,
        # What the shear-free copy of the affine left out belongs to the way back to the scan.
        scan_from_mni=affine @ np.linalg.inv(world) @ found,
    )


def commonest(voxels: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the commonest value of a volume (X, Y, Z), and the share of it that has it.

    Every second voxel of each axis tells, an eighth of all.
    """
    values, counts = np.unique(voxels[::2, ::2, ::2], return_counts=True)
    return values[counts.argmax()], counts.max() / counts.sum()


def extracted_support(voxels: npt.NDArray[np.float32], affine: Affine) -> Mask | None:
    """Return the brain, (X, Y, Z) bool, of a scan that holds nothing but a brain, else None.

    Args:
        voxels: (X, Y, Z).
        affine: (4, 4), voxel to mm.
    """
    background, share = commonest(voxels)
    if share < EXTRACTED_SHARE:
        return None
    support: Mask = ndimage.binary_fill_holes(voxels != background)
    millilitres = support.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    return support if 0 < millilitres <= EXTRACTED_ML else None


def _check(voxels: npt.NDArray[np.float32], affine: Affine) -> None:
    extent = np.linalg.norm(affine[:3, :3], axis=0) * voxels.shape
    if extent.min() < MIN_EXTENT_MM:
        view = " x ".join(f"{edge:.0f}" for edge in extent)
        raise AlignmentError(f"not a head: its field of view is {view} mm")
    if not np.isfinite(voxels).all():
        raise AlignmentError("holds NaN or infinite voxels")
    if voxels.min() == voxels.max():
        raise AlignmentError("every voxel has the same value")


@lru_cache(maxsize=1)
def _template_head() -> Mask:
    head = template().head
    return _solid(head > TISSUE_SHARE * np.percentile(head, 98))


def _solid(tissue: Mask) -> Mask:
    """Return tissue with the dark skull and the ventricles filled in."""
    filled: Mask = ndimage.binary_fill_holes(ndimage.binary_closing(tissue, iterations=2))
    return filled
