"""Boxes to the coarse prior: stack, Gaussian smoothing, dilation [equation 4], all in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri_baselines.localizer.boxes import Detector, SliceBoxes
from ictmri_baselines.processor import Processed

SIGMA_MM: Final = 3.0
DILATION_MM: Final = 2.0


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the tumour may be.

    Attributes:
        image: float32 in [0, 1] on the grid of the processed volume.
        boxes: what it was made from.
        summary: volume_ml above one half, number of slices with boxes.
    """

    image: nib.Nifti1Image
    boxes: list[SliceBoxes]
    summary: dict[str, float]


def coarse_prior(
    rows: Sequence[SliceBoxes],
    shape: tuple[int, int, int],
    affine: npt.NDArray[np.float64],
    *,
    sigma_mm: float = SIGMA_MM,
    dilation_mm: float = DILATION_MM,
) -> npt.NDArray[np.float32]:
    """Return the prior, float32 in [0, 1]; zeros where nothing was detected.

    Args:
        rows: boxes by slice.
        shape: voxels of the grid.
        affine: its voxel-to-world affine.
        sigma_mm: of the Gaussian.
        dilation_mm: radius of the grey dilation that follows.
    """
    stacked = np.zeros(shape, dtype=np.float32)
    for row in rows:
        for box in row.boxes:
            stacked[box.x0 : box.x1, box.y0 : box.y1, row.slice] = 1.0
    if not stacked.any():
        return stacked
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(stacked, sigma_mm / spacing)
    if dilation_mm > 0:
        smooth = ndimage.grey_dilation(smooth, footprint=_ball(dilation_mm, spacing))
    prior: npt.NDArray[np.float32] = np.clip(smooth, 0.0, 1.0).astype(np.float32)
    return prior


def localize(processed: Processed, detector: Detector) -> Prior:
    """Detect on the processed volume and turn the boxes into the coarse prior."""
    rows = detector.detect(processed)
    affine = processed.image.affine
    prior = coarse_prior(rows, processed.image.shape, affine)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    summary = {"volume_ml": float((prior > 0.5).sum() * voxel_ml), "slices": float(len(rows))}
    return Prior(nib.Nifti1Image(prior, affine), rows, summary)


def _ball(radius_mm: float, spacing: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    half = np.floor(radius_mm / spacing).astype(int)
    grids = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    squared = sum((g * s) ** 2 for g, s in zip(grids, spacing, strict=True))
    ball: npt.NDArray[np.bool_] = np.asarray(squared) <= radius_mm**2
    return ball
