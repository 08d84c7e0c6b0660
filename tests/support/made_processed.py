"""Processed scans whose QC numbers are known beforehand: the template itself, whole or damaged."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

from ictmri.atlas.template import grid_affine, template
from ictmri_baselines.cases import Brain
from ictmri_baselines.processor.mapping import Mapping
from ictmri_baselines.processor.process import Processed

EDGE = 2.0
AFFINE = grid_affine(EDGE)


def millimetres() -> list[np.ndarray]:
    """Return MNI x, y and z of the template's 2 mm grid, ready to broadcast."""
    shape = template().mask.shape
    return [
        axis * EDGE + AFFINE[i, 3]
        for i, axis in enumerate(np.ogrid[tuple(slice(size) for size in shape)])
    ]


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Return a ball as a mask on the 2 mm grid."""
    far = sum((axis - at) ** 2 for axis, at in zip(millimetres(), centre, strict=True))
    return far <= radius**2


def brain_scan(mask: np.ndarray | None = None) -> np.ndarray:
    """Return the template's brain, as an earlier extraction would leave it: 0 outside the mask."""
    inside = template().mask if mask is None else mask
    return np.where(inside, template().head + 5.0, 0.0).astype(np.float32)


def made(
    voxels: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    scan_from_mni: np.ndarray | None = None,
    warp: np.ndarray | None = None,
    extracted: bool = True,
    shown: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
) -> tuple[nib.Nifti1Image, Processed]:
    """Return a scan on the template's grid and what a processor would have made of it.

    Args:
        voxels: the scan; the template's brain where None.
        mask: its brain mask; the template's where None.
        scan_from_mni: of the mapping; the identity where None.
        warp: (X, Y, Z, 3) mm on the 2 mm grid.
        extracted: whether the scan came without its skull.
        shown: the brain in MNI152 space; the scan itself where None.
        affine: of the scan.
    """
    inside = template().mask if mask is None else mask
    values = brain_scan(inside) if voxels is None else voxels.astype(np.float32)
    standard = values if shown is None else shown.astype(np.float32)
    way: Any = np.eye(4) if scan_from_mni is None else scan_from_mni
    stored = (
        None if warp is None else nib.Nifti1Image(warp[:, :, :, None].astype(np.float32), AFFINE)
    )
    brain = template().mask if inside.shape != template().mask.shape else inside
    return nib.Nifti1Image(values, affine), Processed(
        brain=Brain(
            nib.Nifti1Image(standard if standard.shape == brain.shape else brain_scan(), AFFINE),
            nib.Nifti1Image(brain.astype(np.uint8), AFFINE),
        ),
        mapping=Mapping(way, stored),
        scan_mask=nib.Nifti1Image(inside.astype(np.uint8), affine),
        extracted=extracted,
        steps={"brain": {"name": "template"}},
    )
