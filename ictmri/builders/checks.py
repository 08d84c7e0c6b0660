"""What a volume itself tells about being a whole head, once it could be read.

Thresholds are wide: they are for damaged and mistaken scans, not for judging quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nibabel as nib

LARGEST_MM: Final = 500.0
"""A head coil sees less than this."""
SMALLEST_MM: Final = 60.0
HALF_MM: Final = {"right-left": 105.0, "front-back": 125.0, "foot-head": 75.0}
"""Extent of what is not background below which part of the brain is missing."""
THICK_MM: Final = 3.0
CUT_SHARE: Final = 0.1
"""Share of the top or of a side that may be tissue before the head counts as cut off there."""
FINGERPRINT_EDGE: Final = 6
"""The fingerprint is what is left of the head in 6 x 6 x 6 blocks."""

Voxels = NDArray[Any]


def examine(image: nib.Nifti1Image) -> tuple[list[str], list[str]]:
    """Return errors, which keep the case out, and warnings about a volume."""
    from nibabel.affines import voxel_sizes

    spacing = voxel_sizes(image.affine)
    extent = spacing * image.shape
    shown = " x ".join(f"{edge:.0f}" for edge in extent)
    if extent.max() > LARGEST_MM or extent.min() < 2.0:
        return [f"not a head: its field of view is {shown} mm"], []
    voxels = np.asanyarray(image.dataobj)
    warnings = [*_spacing(spacing), *_background(voxels)]
    if extent.min() < SMALLEST_MM:
        return [], [f"not a whole head: its field of view is {shown} mm", *warnings]
    return [], [*warnings, *_outline(image, voxels)]


def _spacing(spacing: NDArray[np.float64]) -> list[str]:
    if max(spacing) <= THICK_MM and max(spacing) <= 3 * min(spacing):
        return []
    shown = " x ".join(f"{size:.2f}" for size in spacing)
    return [f"thick slices: voxels of {shown} mm"]


def _background(voxels: Voxels) -> list[str]:
    found = []
    corners = _corners(voxels)
    background = float(np.median(corners))
    if background != 0 and (corners == corners[0]).all():
        found.append(f"the background is {background:.4g}, not 0")
    if (voxels == corners[0]).mean() > 0.6:
        found.append("most voxels are background: the brain was probably extracted already")
    return found


def _outline(image: nib.Nifti1Image, voxels: Voxels) -> list[str]:
    """Say where the head is too small or cut, after its outline."""
    import nibabel as nib

    canonical: Any = nib.as_closest_canonical(
        nib.Nifti1Image(foreground(voxels).astype(np.uint8), image.affine)
    )
    solid = np.asarray(canonical.dataobj) > 0
    sizes = np.linalg.norm(canonical.affine[:3, :3], axis=0)
    found = []
    for axis, (name, least) in enumerate(HALF_MM.items()):
        used = np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis})))
        extent = (used[-1] - used[0] + 1) * sizes[axis] if len(used) else 0.0
        if extent < least:
            found.append(f"part of the head is missing: {extent:.0f} mm {name}")
    sides = {"top": solid[:, :, -1], "left": solid[0], "right": solid[-1]}
    cut = [name for name, plane in sides.items() if plane.mean() > CUT_SHARE]
    return found + ([f"the head is cut off at the {', '.join(cut)}"] if cut else [])


def foreground(voxels: Voxels) -> NDArray[np.bool_]:
    """Return what is not background: a tenth of the way from the corners to the bright voxels."""
    low = float(np.median(_corners(voxels)))
    high = float(np.percentile(voxels[::2, ::2, ::2], 98))
    solid: NDArray[np.bool_] = voxels > low + 0.1 * (high - low)
    return solid


def fingerprint(image: nib.Nifti1Image) -> NDArray[np.float32]:
    """Return (216,) float32 of unit length: equal heads stay near, however they are stored.

    Blocks of the head's bounding box in canonical axes, by rank, so that neither orientation,
    spacing nor the intensity scale matters.
    """
    import nibabel as nib

    canonical: Any = nib.as_closest_canonical(nib.Nifti1Image.from_image(image))
    voxels = np.asanyarray(canonical.dataobj)
    solid = foreground(voxels)
    box = tuple(
        slice(used[0], used[-1] + 1) if len(used) else slice(None)
        for used in (np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    voxels = voxels[box].astype(np.float32)
    for axis in range(3):
        edges = np.linspace(0, voxels.shape[axis], FINGERPRINT_EDGE + 1)
        starts = np.minimum(edges[:-1].astype(int), voxels.shape[axis] - 1)
        counts = np.maximum(np.diff([*starts, voxels.shape[axis]]), 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        voxels = np.add.reduceat(voxels, starts, axis=axis) / counts.reshape(shape)
    ranks = voxels.ravel().argsort(kind="stable").argsort(kind="stable").astype(np.float32)
    ranks -= ranks.mean()
    length = float(np.linalg.norm(ranks))
    unit: NDArray[np.float32] = ranks / np.float32(length or 1.0)
    return unit


def _corners(voxels: Voxels) -> Voxels:
    return voxels[np.ix_(*[(0, -1)] * 3)].ravel()
