"""What the voxel-wise MLP looks at [F_MLP of equation 5]: the appearance of a voxel, never its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from ictmri.atlas.template import SPACING_MM
from ictmri_baselines.localizer.classical.grid_2mm import Field, smoothed

if TYPE_CHECKING:
    from ictmri_baselines.localizer.classical.evidence import Evidence

FEATURES: Final = (
    "intensity at 1 mm",
    "intensity at 3 mm",
    "intensity at 6 mm",
    "gradient at 2 mm",
    "standard deviation at 4 mm",
    "above the template's range",
    "below the template's range",
    "above the mirror image's range",
    "below the mirror image's range",
    "difference to the mirror image at 4 mm",
)
"""In the order of the last axis; sigma of the Gaussians in mm."""
REACH: Final = 8.0
"""Spreads of white matter to which every feature is clipped: a sinus is no outlier then."""


def voxel_features(seen: Evidence) -> Field:
    """Return the features of every voxel of the working grid, (97, 115, 97, 10) float32.

    Unit: spreads of the scan's white matter, intensities relative to its level; clipped to
    [-:data:`REACH`, :data:`REACH`]. All are computed from intensities. Coordinates and depth are not among
    them; the comparison with the template uses the place, and gives away no more of it than what belongs
    there.
    """
    spread = np.float32(seen.spread)
    level = np.where(seen.mask, (seen.image - np.float32(seen.white)) / spread, 0).astype(
        np.float32
    )
    mid = smoothed(level, seen.mask, 3.0)
    wide = smoothed(level, seen.mask, 4.0)
    square = smoothed(level * level, seen.mask, 4.0)
    mirror = np.where(seen.mask & seen.mask[::-1], wide - wide[::-1], 0)
    found = (
        level,
        mid,
        smoothed(level, seen.mask, 6.0),
        _gradient(level),
        np.sqrt(np.maximum(square - wide * wide, 0)),
        seen.bright,
        seen.dark,
        seen.mirror_bright,
        seen.mirror_dark,
        mirror,
    )
    stacked: Field = np.stack([np.clip(f, -REACH, REACH) for f in found], axis=-1, dtype=np.float32)
    return stacked


def _gradient(level: Field) -> Field:
    found: Field = ndimage.gaussian_gradient_magnitude(level, 2.0 / SPACING_MM) * np.float32(2.0)
    return found
