"""What a volume itself tells about being a whole head, once it could be read.

Thresholds are wide: they are for damaged and mistaken scans, not for judging quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.scans.findings import Note

if TYPE_CHECKING:
    import nibabel as nib

LARGEST_MM: Final = 500.0
"""A head coil sees less than this."""
SMALLEST_MM: Final = 60.0
HALF_MM: Final = {"right-left": 105.0, "front-back": 125.0, "foot-head": 75.0}
"""Extent of what is not background below which part of the brain is missing."""
THICK_MM: Final = 3.0
UNEVEN: Final = 3.0
"""Ratio of a voxel's longest to its shortest edge that is still taken for a 3D acquisition."""
CUT_SHARE: Final = 0.1
"""Share of a side that may be tissue before the head counts as cut off there."""
Voxels = NDArray[Any]


def examine(image: nib.Nifti1Image) -> list[Note]:
    """Return what a volume's voxel sizes, background and outline tell."""
    from nibabel.affines import voxel_sizes

    spacing = voxel_sizes(image.affine)
    extent = spacing * image.shape
    view = " x ".join(f"{edge:.0f}" for edge in extent)
    if extent.max() > LARGEST_MM or extent.min() < 2.0:
        return [Note("not-a-head", f"not a head: its field of view is {view} mm")]
    voxels = np.asanyarray(image.dataobj)
    notes = [*_spacing(spacing), *_background(voxels)]
    if extent.min() < SMALLEST_MM:
        text = f"not a whole head: its field of view is {view} mm"
        return [Note("half-a-head", text), *notes]
    return [*notes, *_outline(image, voxels)]


def _spacing(spacing: NDArray[np.float64]) -> list[Note]:
    sizes = " x ".join(f"{size:.2f}" for size in spacing)
    if max(spacing) > THICK_MM:
        return [Note("thick-slices", f"thick slices: voxels of {sizes} mm")]
    if max(spacing) > UNEVEN * min(spacing):
        return [Note("anisotropic", f"uneven voxels of {sizes} mm")]
    return []


def _background(voxels: Voxels) -> list[Note]:
    found = []
    outer = corners(voxels)
    background = float(np.median(outer))
    if background != 0 and (outer == outer[0]).all():
        found.append(Note("background-not-zero", f"the background is {background:.4g}, not 0"))
    if (voxels == outer[0]).mean() > 0.6:
        text = "most voxels are background: the brain was probably extracted already"
        found.append(Note("brain-extracted", text))
    return found


def _outline(image: nib.Nifti1Image, voxels: Voxels) -> list[Note]:
    """Say where the head is too small or cut, after its outline."""
    import nibabel as nib

    canonical: Any = nib.as_closest_canonical(
        nib.Nifti1Image(foreground(voxels).astype(np.uint8), image.affine)
    )
    solid = np.asarray(canonical.dataobj) > 0
    sizes = np.linalg.norm(canonical.affine[:3, :3], axis=0)
    short = []
    for axis, (name, least) in enumerate(HALF_MM.items()):
        used = np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis})))
        extent = (used[-1] - used[0] + 1) * sizes[axis] if len(used) else 0.0
        if extent < least:
            short.append(f"only {extent:.0f} mm {name}")
    if short:
        return [Note("half-a-head", f"part of the head is missing: {', '.join(short)}")]
    sides = {"left": solid[0], "right": solid[-1]}
    cut = [name for name, plane in sides.items() if plane.mean() > CUT_SHARE]
    text = f"the head is cut off at the {', '.join(cut)}"
    return [Note("head-clipped", text)] if cut else []


def foreground(voxels: Voxels) -> NDArray[np.bool_]:
    """Return (X, Y, Z) bool: what is more than a tenth of the way from the corners to the bright voxels."""
    low = float(np.median(corners(voxels)))
    high = float(np.percentile(voxels[::2, ::2, ::2], 98))
    solid: NDArray[np.bool_] = voxels > low + 0.1 * (high - low)
    return solid


def corners(voxels: Voxels) -> Voxels:
    """Return the values (8,) of a volume's corners: most of them are background."""
    return voxels[np.ix_(*[(0, -1)] * 3)].ravel()
