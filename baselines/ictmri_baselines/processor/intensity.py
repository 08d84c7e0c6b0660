"""Intensities of the brain in units of its own spread: a scanner's units have no meaning."""

from __future__ import annotations

from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri.atlas.geometry import Affine
from ictmri_baselines.processor.volume import Mask, Voxels

STEPS: Final = 256
"""Stored levels a unit of standardised intensity."""

RANGE: Final = (-6.0, 20.0)
"""Standardised intensities are clipped here: enhancing tumour reaches 10, vessels sometimes more."""

MAD_TO_SD: Final = 1.4826
"""Median absolute deviation to the standard deviation of a normal distribution."""


def standardised(moved: Voxels, mask: Mask) -> npt.NDArray[np.float64]:
    """Return (x - median) / (1.4826 MAD) of the brain, clipped, 0 outside it."""
    inside = moved[mask].astype(np.float64)
    if not inside.size:
        return np.zeros(moved.shape)
    middle = np.median(inside)
    spread = MAD_TO_SD * np.median(np.abs(inside - middle)) or 1.0
    return np.where(mask, np.clip((moved - middle) / spread, *RANGE), 0.0)


def robust_image(moved: Voxels, mask: Mask, affine: Affine) -> nib.Nifti1Image:
    """Return standardised intensities as int16 with slope 1/256."""
    levels = np.round(standardised(moved, mask) * STEPS).astype(np.int16)
    image = on_mni(levels, affine)
    image.header.set_slope_inter(1 / STEPS, 0.0)
    # Only an image that was read applies its slope: the one in memory must not differ from the stored.
    return nib.Nifti1Image.from_bytes(image.to_bytes())


def kept_image(moved: Voxels, mask: Mask, affine: Affine) -> nib.Nifti1Image:
    """Return the intensities as they are, float32, 0 outside the brain."""
    return on_mni(np.where(mask, moved, 0).astype(np.float32), affine)


def on_mni(data: npt.NDArray[Any], affine: Affine) -> nib.Nifti1Image:
    """Return an array as an image whose codes say that it is in MNI152 space."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    return image
