"""The light processor: brain mask and alignment by one affine to the ICBM152 template.

A stand-in for the paper's MRI-Processor (HD-BET, N4, SyN) that takes under a second a case. The mask is
the template's, carried through the affine, unless the scan's brain was extracted before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri_baselines.processor.geometry import (
    Affine,
    canonical,
    orthogonal,
    resample,
    shrink,
    to_itk,
)
from ictmri_baselines.processor.registration import (
    COARSE_MM,
    FINE_MM,
    Reference,
    reference,
    register,
)
from ictmri_baselines.processor.template import SPACING_MM, template

EXTRACTED_SHARE: Final = 0.5
"""A scan whose commonest value fills this share of it may have had its brain extracted ..."""
EXTRACTED_ML: Final = 2100.0
"""... and has, if what is left is no larger than a large brain."""
STEPS: Final = 256
"""Stored levels a unit of standardised intensity."""
RANGE: Final = (-6.0, 20.0)
MIN_EXTENT_MM: Final = 60.0
"""A field of view smaller than this in any direction cannot be matched to a head."""
MAD_TO_SD: Final = 1.4826


class ProcessingError(ValueError):
    """A scan that cannot be processed; the message says why."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A scan on the MNI152 grid of 2 mm.

    Attributes:
        image: int16 with slope 1/256; (x - median) / (1.4826 MAD) of the brain, 0 outside it.
        brain_mask: uint8, same grid.
        scan_from_mni: (4, 4) float64, MNI mm to scan mm (RAS), so that priors find the way back.
        qc: numbers to judge the result by.
        parameters: what was done.
    """

    image: nib.Nifti1Image
    brain_mask: nib.Nifti1Image
    scan_from_mni: Affine
    qc: dict[str, float]
    parameters: dict[str, Any]


def process(image: nib.Nifti1Image) -> Processed:
    """Align a scan to MNI152, mask its brain and standardise its intensities.

    Args:
        image: a head, with or without skull, in any orientation; its background may be any constant.

    Returns:
        The brain on a 97 x 115 x 97 grid of 2 mm. The same scan gives the same bytes, whatever the
        number of threads.

    Raises:
        ProcessingError: it cannot be a head, or the alignment found nothing to hold on to.
    """
    voxels, affine = canonical(image)
    _check(voxels, affine)
    support = _extracted_support(voxels, affine)
    if support is None:
        voxels = voxels - voxels.min()
    else:
        voxels = np.where(support, voxels - voxels[support].min(), 0)
    world = orthogonal(affine)
    scan = shrink(to_itk(voxels.astype(np.float32), world), SPACING_MM)
    fine = shrink(scan, FINE_MM)
    try:
        found = register(_reference(support is not None), shrink(fine, COARSE_MM), fine)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ProcessingError(f"cannot be aligned to the template: {reason}") from None
    target = template()
    grid = to_itk(target.mask.astype(np.uint8), target.affine)
    moved = resample(scan, grid, found, outside=0.0)
    mask = target.mask
    if support is not None:
        shrunk = shrink(to_itk(support.astype(np.float32), world), SPACING_MM)
        mask = resample(shrunk, grid, found, outside=0.0) > 0.5
    standard = _standardised(moved, mask)
    # What the shear-free copy of the affine left out belongs to the way back to the scan.
    return Processed(
        image=_volume(np.round(standard * STEPS).astype(np.int16), target.affine, 1 / STEPS),
        brain_mask=_volume(mask.astype(np.uint8), target.affine, 1.0),
        scan_from_mni=affine @ np.linalg.inv(world) @ found,
        qc=_qc(standard, mask, found, extracted=support is not None),
        parameters={"settings": "light", "spacing_mm": SPACING_MM, "transform": "affine"},
    )


def _check(voxels: npt.NDArray[np.float32], affine: Affine) -> None:
    extent = np.linalg.norm(affine[:3, :3], axis=0) * voxels.shape
    if extent.min() < MIN_EXTENT_MM:
        shown = " x ".join(f"{edge:.0f}" for edge in extent)
        raise ProcessingError(f"not a head: its field of view is {shown} mm")
    if not np.isfinite(voxels).all():
        raise ProcessingError("holds NaN or infinite voxels")
    if voxels.min() == voxels.max():
        raise ProcessingError("every voxel has the same value")


@lru_cache(maxsize=2)
def _reference(brain_only: bool) -> Reference:
    return reference(brain_only=brain_only)


def _extracted_support(
    voxels: npt.NDArray[np.float32], affine: Affine
) -> npt.NDArray[np.bool_] | None:
    """Return the brain of a scan that holds nothing but a brain, else None."""
    values, counts = np.unique(voxels[::2, ::2, ::2], return_counts=True)
    if counts.max() / counts.sum() < EXTRACTED_SHARE:
        return None
    support: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(voxels != values[counts.argmax()])
    millilitres = support.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    return support if 0 < millilitres <= EXTRACTED_ML else None


def _standardised(
    moved: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    inside = moved[mask].astype(np.float64)
    if not inside.size:
        return np.zeros(moved.shape)
    middle = np.median(inside)
    spread = MAD_TO_SD * np.median(np.abs(inside - middle)) or 1.0
    return np.where(mask, np.clip((moved - middle) / spread, *RANGE), 0.0)


def _volume(levels: npt.NDArray[Any], affine: Affine, slope: float) -> nib.Nifti1Image:
    image = nib.Nifti1Image(levels, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    if slope == 1.0:
        return image
    image.header.set_slope_inter(slope, 0.0)
    # Only an image that was read applies its slope: the one in memory must not differ from the stored.
    return nib.Nifti1Image.from_bytes(image.to_bytes())


def _qc(
    standard: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    found: Affine,
    *,
    extracted: bool,
) -> dict[str, float]:
    target = template()
    both = mask & target.mask
    voxel_ml = SPACING_MM**3 * abs(np.linalg.det(found[:3, :3])) / 1000
    correlation = np.corrcoef(standard[both], target.brain[both])[0, 1] if both.any() else 0.0
    return {
        "brain_ml": float(mask.sum() * voxel_ml),
        "dice_template": float(2 * both.sum() / (mask.sum() + target.mask.sum())),
        "correlation_template": float(correlation),
        "already_extracted": float(extracted),
    }
