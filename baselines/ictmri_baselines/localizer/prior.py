"""Boxes or a map to the coarse prior: stack, Gaussian smoothing, dilation [equation 4], all in mm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.box import box_of
from ictmri_baselines.localizer.boxes import SliceBoxes
from ictmri_baselines.localizer.region import Region

SIGMA_MM: Final = 3.0
"""Of the Gaussian: slices of 2 mm melt into each other, a lesion of 6 mm keeps half of its height."""
DILATION_MM: Final = 2.0
"""Radius of the dilation: gives back about what the Gaussian takes from corners and ends."""
REGION_SIGMA_MM: Final = 1.0
"""Of the Gaussian over a map, which has no corners: the steps of its voxels go, its outline stays."""
_TRUNCATE: Final = 4.0
"""Sigmas after which the Gaussian is cut off."""

Affine = npt.NDArray[np.float64]


def stacked_boxes(rows: Sequence[SliceBoxes], shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return the boxes as a volume [F_2D->3D of equation 4]; what lies outside the grid is cut off."""
    stacked = np.zeros(shape, dtype=bool)
    for row in rows:
        if not 0 <= row.slice < shape[2]:
            continue
        for box in row.boxes:
            x, y = slice(max(box.x0, 0), max(box.x1, 0)), slice(max(box.y0, 0), max(box.y1, 0))
            stacked[x, y, row.slice] = True
    return stacked


def coarse_prior(
    rows: Sequence[SliceBoxes],
    shape: tuple[int, int, int],
    affine: Affine,
    *,
    sigma_mm: float = SIGMA_MM,
    dilation_mm: float = DILATION_MM,
) -> npt.NDArray[np.float32]:
    """Return the prior, float32 in [0, 1]; zeros where nothing was detected.

    Args:
        rows: boxes by slice.
        shape: voxels of the grid.
        affine: its voxel-to-world affine; voxels need not be cubes.
        sigma_mm: of the Gaussian.
        dilation_mm: radius of the grey dilation that follows.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    stacked = stacked_boxes(rows, shape).astype(np.float32)
    return _widened(stacked, spacing, sigma_mm, dilation_mm)


def region_prior(region: Region, affine: Affine) -> npt.NDArray[np.float32]:
    """Return the prior of a map, float32 in [0, 1]: smoothed a little, wider by the region's margin.

    Args:
        region: on the grid of ``affine``.
        affine: voxel to world.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return _widened(region.map, spacing, REGION_SIGMA_MM, region.margin_mm)


def _widened(
    volume: npt.NDArray[np.float32],
    spacing: npt.NDArray[Any],
    sigma_mm: float,
    dilation_mm: float,
) -> npt.NDArray[np.float32]:
    prior = np.zeros(volume.shape, dtype=np.float32)
    # Nothing changes farther away than the two filters reach.
    reach = int(np.ceil((_TRUNCATE * sigma_mm + dilation_mm) / spacing.min())) + 2
    part = box_of(volume > 0, reach)
    if not part[0].stop:
        return prior
    smooth = ndimage.gaussian_filter(volume[part], sigma_mm / spacing, truncate=_TRUNCATE)
    if dilation_mm > 0:
        smooth = ndimage.grey_dilation(smooth, footprint=_ball(dilation_mm, spacing))
    prior[part] = np.clip(smooth, 0.0, 1.0)
    return prior


def _ball(radius_mm: float, spacing: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    half = np.floor(radius_mm / spacing).astype(int)
    grids = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    squared = sum((g * s) ** 2 for g, s in zip(grids, spacing, strict=True))
    ball: npt.NDArray[np.bool_] = np.asarray(squared) <= radius_mm**2
    return ball
