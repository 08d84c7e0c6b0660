"""The light processor: brain mask and alignment by one affine to the ICBM152 template.

A stand-in for the paper's MRI-Processor (HD-BET, N4, SyN) that takes under a second a case. The mask is
the template's, carried through the affine, unless the scan's brain was extracted before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri.atlas.alignment import align
from ictmri.atlas.geometry import Affine
from ictmri.atlas.template import SPACING_MM, template

STEPS: Final = 256
"""Stored levels a unit of standardised intensity."""
RANGE: Final = (-6.0, 20.0)
MAD_TO_SD: Final = 1.4826


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
        AlignmentError: it cannot be a head, or the alignment found nothing to hold on to.
    """
    aligned = align(image)
    target = template()
    extracted = aligned.support is not None
    mask = target.mask if aligned.support is None else aligned.on_template(aligned.support) > 0.5
    standard = _standardised(aligned.on_template(aligned.scan), mask)
    return Processed(
        image=_volume(np.round(standard * STEPS).astype(np.int16), target.affine, 1 / STEPS),
        brain_mask=_volume(mask.astype(np.uint8), target.affine, 1.0),
        scan_from_mni=aligned.scan_from_mni,
        qc=_qc(standard, mask, aligned.to_plain, extracted=extracted),
        parameters={"settings": "light", "spacing_mm": SPACING_MM, "transform": "affine"},
    )


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
