"""What about a voxel is abnormal: brighter or darker than the template allows, unlike its mirror image.

Everything is counted in spreads of the scan's own white matter above or below what the scan should look
like at that place. What it should look like comes from the template through a curve fitted to the scan
itself (median intensity by template intensity), so neither the sequence nor its contrast has to be
known. An affine leaves structures millimetres from their place, so a voxel is compared with the range of
values around it, on its own side and around its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from ictmri.atlas.template import template
from ictmri_baselines.localizer.classical.grid_2mm import (
    Field,
    Mask,
    box_of,
    highest,
    inside_mm,
    lowest,
    on_grid_2mm,
    outside_mm,
    smoothed,
)

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

TOLERANCE_MM: Final = 6.0
"""Radius within which a structure may lie off its place, or off its mirror image's."""
TEMPLATE_SMOOTH_MM: Final = 1.5
BINS: Final = 12
"""Of the curve from template to scan; equal numbers of voxels in each."""
SURFACE_MM: Final = 4.0
"""Voxels nearer to the surface are no tissue to learn a scan's contrast from: masks err there."""
DRIFT_MM: Final = (25.0, 16.0)
"""Sigmas of the two passes that find the intensity drift: larger than a tumour's core."""
OUTLIER: Final = 1.2
"""Distance from the expectation, in the brain's spreads, from which a voxel may be tumour, not drift."""
SPREAD: Final = (0.3, 0.8)
"""Smallest and largest spread of white matter to believe, in the brain's spreads. Measured: 0.2 (phantom,
without noise) to 0.5 on most real brains, 0.8 on one of a child."""
LOCAL_SMOOTH_MM: Final = 1.0
SURROUND_MM: Final = 8.0
"""Sigma of the surroundings that a voxel is compared with."""
LOCAL_DEPTH_MM: Final = 6.0
"""At the surface everything stands out from what lies outside."""
ERROR_MM: Final = 4.0
"""Sigma of the neighbourhood whose spread in the template is what a misplaced structure explains."""
MAD_TO_SD: Final = 1.4826
FAR: Final = np.float32(-99)
"""Evidence outside the brain."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A brain on the 2 mm grid against what is expected, in spreads of white matter.

    Attributes:
        image: smoothed, intensity drift taken out, unit as in the brain, 0 outside.
        mask: the brain.
        depth: distance to the brain's surface in mm.
        white: level of white matter.
        spread: of white matter; the unit of the four fields.
        bright: above white matter and above anything expected within reach.
        dark: below anything expected within reach.
        local: how much more it stands out from its surroundings than anything expected within reach, where
            it is brighter than white matter and not at the surface.
        mirror_bright: above anything within reach of the mirror image.
        mirror_dark: below anything within reach of the mirror image.
        unlike: above (positive) or below the template at the very place, less sharp a judgement where the
            template itself changes within a few mm; 0 outside.
    """

    image: Field
    mask: Mask
    depth: Field
    white: float
    spread: float
    bright: Field
    dark: Field
    local: Field
    mirror_bright: Field
    mirror_dark: Field
    unlike: Field


@dataclass(frozen=True, slots=True)
class _Expected:
    smooth: Field
    low: Field
    high: Field
    mask: Mask
    from_ventricles: Field
    from_deep: Field


@dataclass(frozen=True, slots=True)
class _Curve:
    """From the template's intensity to the scan's: knots, medians and spreads."""

    at: Field
    level: Field
    spread: Field

    def __call__(self, values: Field) -> Field:
        found: Field = np.interp(values, self.at, self.level).astype(np.float32)
        return found


@lru_cache(maxsize=1)
def evidence_of(brain: Brain) -> Evidence | None:
    """Return the evidence of a brain; detector and refinement ask for it one after the other."""
    return evidence(*on_grid_2mm(brain))


def evidence(image: Field, mask: Mask) -> Evidence | None:
    """Compare a brain with the template and with its own other side.

    Args:
        image: (97, 115, 97) on the 2 mm grid, smoothed.
        mask: the brain.

    Returns:
        None where too little of the brain overlaps the template's to know the scan's contrast.
    """
    expected = _expected()
    depth = inside_mm(mask)
    core = mask & expected.mask & (depth > SURFACE_MM)
    if np.count_nonzero(core) < 100 * BINS:
        return None
    flat = _without_drift(image, mask, core)
    curve = _curve(flat, core)
    white = float(curve.level[-1])
    spread = float(np.clip(curve.spread[-3:].mean(), *SPREAD))
    low_there, high_there = _mirror_range(flat[::-1], mask[::-1])

    def counted(difference: Field, known: Mask = mask) -> Field:
        return np.where(mask & known, difference / np.float32(spread), FAR).astype(np.float32)

    return Evidence(
        image=flat,
        mask=mask,
        depth=depth,
        white=white,
        spread=spread,
        bright=counted(flat - np.maximum(curve(expected.high), np.float32(white))),
        dark=counted(curve(expected.low) - flat),
        local=counted(
            _standing_out(flat, mask) - _highest_expected(curve),
            expected.mask & (depth > LOCAL_DEPTH_MM) & (flat > white),
        ),
        mirror_bright=counted(flat - high_there, high_there > FAR / 2),
        mirror_dark=counted(low_there - flat, low_there < -FAR / 2),
        unlike=_unlike(flat, curve(expected.smooth), mask & expected.mask, spread),
    )


def _mirror_range(other: Field, theirs: Mask) -> tuple[Field, Field]:
    """Return the least and the greatest value within reach of the mirror image; FAR out where none is."""
    low = lowest(np.where(theirs, other, -FAR), TOLERANCE_MM)
    return low, highest(np.where(theirs, other, FAR), TOLERANCE_MM)


def from_ventricles() -> Field:
    """Return the distance of each voxel to the template's ventricles in mm."""
    return _expected().from_ventricles


def from_deep() -> Field:
    """Return the distance of each voxel to the template's deep structures in mm."""
    return _expected().from_deep


def _unlike(image: Field, usual: Field, mask: Mask, spread: float) -> Field:
    """Return the difference to what is usual, over the spread of tissue and of what lies near together."""
    mean = smoothed(usual, mask, ERROR_MM)
    near = np.maximum(smoothed(usual * usual, mask, ERROR_MM) - mean * mean, 0)
    found: Field = np.where(mask, (image - usual) / np.sqrt(spread**2 + near), 0).astype(np.float32)
    return found


def _standing_out(image: Field, mask: Mask) -> Field:
    """Return a voxel's value less its surroundings': a difference of Gaussians inside the mask."""
    return smoothed(image, mask, LOCAL_SMOOTH_MM) - smoothed(image, mask, SURROUND_MM)


def _highest_expected(curve: _Curve) -> Field:
    expected = _expected()
    usual = _standing_out(curve(expected.smooth), expected.mask)
    return highest(np.where(expected.mask, usual, FAR), TOLERANCE_MM)


def _without_drift(image: Field, mask: Mask, core: Mask) -> Field:
    """Take out what changes over centimetres: the coil, and what is left of it after N4.

    A second pass, narrower, leaves out what the first one found far from its expectation.
    """
    residual = image - _curve(image, core)(_expected().smooth)
    drift = smoothed(np.clip(residual, -OUTLIER, OUTLIER), core, DRIFT_MM[0])
    usual = core & (np.abs(residual - drift) < OUTLIER)
    drift = smoothed(np.where(usual, residual, 0), usual, DRIFT_MM[1])
    # At the surface and in what was left out, that of the nearest tissue.
    box = box_of(mask)
    nearest = ndimage.distance_transform_edt(
        ~usual[box], return_distances=False, return_indices=True
    )
    drift[box] = drift[box][tuple(nearest)]
    drift = smoothed(drift, mask, DRIFT_MM[1] / 2)
    flat: Field = np.where(mask, image - drift, 0).astype(np.float32)
    return flat


def _curve(image: Field, core: Mask) -> _Curve:
    there, here = _expected().smooth[core], image[core]
    edges = np.quantile(there, np.linspace(0, 1, BINS + 1))
    rows = []
    for low, high in pairwise(edges):
        chosen = (there >= low) & (there <= high)
        middle = np.median(here[chosen])
        spread = MAD_TO_SD * np.median(np.abs(here[chosen] - middle))
        rows.append((np.median(there[chosen]), middle, spread))
    at, level, spread = np.array(rows, dtype=np.float32).T
    return _Curve(at, np.maximum.accumulate(level), spread)


@lru_cache(maxsize=1)
def _expected() -> _Expected:
    target = template()
    smooth = smoothed(target.brain, target.mask, TEMPLATE_SMOOTH_MM)
    none_low, none_high = np.float32(1e6), np.float32(-1e6)
    return _Expected(
        smooth=smooth,
        low=lowest(np.where(target.mask, smooth, none_low), TOLERANCE_MM),
        high=highest(np.where(target.mask, smooth, none_high), TOLERANCE_MM),
        mask=target.mask,
        from_ventricles=outside_mm(target.ventricles),
        from_deep=outside_mm(target.deep),
    )
