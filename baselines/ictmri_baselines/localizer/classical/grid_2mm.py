"""The 2 mm grid on which localisation computes, and morphology in millimetres on it.

A brain may lie on the template's grid of 1 or 2 mm; both share their origin, and 2 mm is every second
voxel of 1 mm. One grid inside means one set of thresholds, and a tenth of the time at 1 mm.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas import box
from ictmri.atlas.template import ORIGIN_MM, SHAPE, SPACING_MM
from ictmri.errors import InputError

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box: TypeAlias = tuple[slice, ...]

SCAN_SMOOTH_MM: Final = 1.0
"""Sigma of the Gaussian before anything is looked at: noise of single voxels goes, a rim stays."""
TRUNCATE: Final = 3.0
"""Sigmas at which a Gaussian ends."""
VOXEL_ML: Final = SPACING_MM**3 / 1000


def step_of(brain: Brain) -> int:
    """Return how many of the brain's voxels make one of the 2 mm grid: 1 (2 mm) or 2 (1 mm).

    Raises:
        InputError: the volume lies on neither grid.
    """
    shape = tuple(int(n) for n in brain.image.shape)
    spacing = np.linalg.norm(np.asarray(brain.image.affine)[:3, :3], axis=0)
    for step in (1, 2):
        expected = tuple((n - 1) * step + 1 for n in SHAPE)
        if shape == expected and np.allclose(spacing, SPACING_MM / step, atol=1e-3):
            return step
    shown = " x ".join(map(str, shape))
    raise InputError(
        "the brain",
        [f"{shown} voxels of {spacing[0]:.3g} mm are neither of the two MNI152 grids"],
        "process the scan first: ictmri process DIR",
    )


def on_grid_2mm(brain: Brain) -> tuple[Field, Mask]:
    """Return the image, smoothed inside the brain, and the mask, (97, 115, 97) of 2 mm.

    Raises:
        InputError: the volume lies on neither of the template's grids.
    """
    step = step_of(brain)
    image = np.asarray(brain.image.dataobj, dtype=np.float32)
    mask = np.asarray(brain.mask.dataobj) > 0
    smooth = smoothed(image, mask, SCAN_SMOOTH_MM, SPACING_MM / step)
    every = (slice(None, None, step),) * 3
    return np.ascontiguousarray(smooth[every]), np.ascontiguousarray(mask[every])


def on_brain_grid(field: Field, brain: Brain) -> Field:
    """Return a field of the 2 mm grid on the brain's own, linear in between."""
    if step_of(brain) == 1:
        return field
    for axis in range(3):
        field = _doubled(field, axis)
    return field


def _doubled(field: Field, axis: int) -> Field:
    """Return n values as 2 n - 1, those in between the mean of their neighbours."""
    first = np.moveaxis(field, axis, 0)
    out = np.empty((2 * len(first) - 1, *first.shape[1:]), dtype=np.float32)
    out[::2] = first
    out[1::2] = (first[:-1] + first[1:]) / 2
    return np.moveaxis(out, 0, axis)


def smoothed(image: Field, mask: Mask, sigma_mm: float, spacing_mm: float = SPACING_MM) -> Field:
    """Return the Gaussian mean over the mask's voxels only, 0 outside the mask."""
    found = np.zeros(image.shape, dtype=np.float32)
    box = box_of(mask)
    if box is None:
        return found
    sigma = sigma_mm / spacing_mm
    there = mask[box]
    edges = tuple((side.start, side.stop) for side in box)
    share = _share(np.packbits(there).tobytes(), edges, mask.shape, sigma)
    total = _filtered(np.where(there, image[box], 0).astype(np.float32), box, mask.shape, sigma)
    np.divide(total, share, out=found[box], where=there & (share > 1e-3))
    return found


@lru_cache(maxsize=12)
def _share(
    packed: bytes, edges: tuple[tuple[int, int], ...], shape: tuple[int, ...], sigma: float
) -> Field:
    """Return the Gaussian of a mask in its box: the same few masks are asked for again and again."""
    size = [stop - start for start, stop in edges]
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=int(np.prod(size)))
    box = tuple(slice(start, stop) for start, stop in edges)
    found = _filtered(bits.reshape(size).astype(np.float32), box, shape, sigma)
    found.flags.writeable = False
    return found


def _filtered(part: Field, box: Box, shape: tuple[int, ...], sigma: float) -> Field:
    """Return, in a box outside which a field is 0, the Gaussian of the whole field: the same bytes.

    Along each axis only the other axes' part of the box is filtered, which more than halves the work.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    for axis, (place, n) in enumerate(zip(box, shape, strict=True)):
        before, after = min(reach, place.start), min(reach, n - place.stop)
        widths = [(before, after) if other == axis else (0, 0) for other in range(part.ndim)]
        lines = ndimage.gaussian_filter1d(np.pad(part, widths), sigma, axis, truncate=TRUNCATE)
        kept = slice(before, before + part.shape[axis])
        part = lines[tuple(kept if a == axis else slice(None) for a in range(part.ndim))]
    return part


def box_of(mask: Mask, margin: int = 0) -> Box | None:
    """Return the smallest box that holds the mask, wider by a margin within the grid; None where empty."""
    found = box.box_of(mask, margin)
    return found if found[0].stop else None


def lowest(field: Field, radius_mm: float) -> Field:
    """Return the minimum within a ball of 4 or 6 mm, nearly: a cube of 3 voxels, widened by crosses."""
    cross = ndimage.generate_binary_structure(3, 1)
    found: Field = ndimage.minimum_filter(field, 3)
    for _ in range(round(radius_mm / SPACING_MM) - 1):
        found = ndimage.minimum_filter(found, footprint=cross)
    return found


def highest(field: Field, radius_mm: float) -> Field:
    """Return the maximum within the same neighbourhood as :func:`lowest`."""
    return -lowest(-field, radius_mm)


def inside_mm(mask: Mask) -> Field:
    """Return the distance of each voxel of the mask to the nearest voxel outside it, in mm."""
    found = np.zeros(mask.shape, dtype=np.float32)
    box = box_of(mask, margin=1)
    if box is not None:
        found[box] = ndimage.distance_transform_edt(mask[box], sampling=SPACING_MM)
    return found


def outside_mm(mask: Mask, upto: float = np.inf) -> Field:
    """Return the distance of each voxel to the mask, in mm; infinite for an empty mask.

    Args:
        mask: to which.
        upto: what is further away may get an infinite distance, which is quicker.
    """
    found = np.full(mask.shape, np.inf, dtype=np.float32)
    box = box_of(mask, margin=int(min(np.ceil(upto / SPACING_MM), max(mask.shape))) + 1)
    if box is not None:
        found[box] = inside_mm(~mask[box])
    return found


def within(mask: Mask, radius_mm: float) -> Mask:
    """Return the voxels at most ``radius_mm`` away from the mask: its dilation by a ball."""
    return outside_mm(mask, radius_mm) <= radius_mm


def opened(mask: Mask, radius_mm: float) -> Mask:
    """Return the part of the mask that balls of this radius inside it cover."""
    return mask & within(inside_mm(mask) > radius_mm, radius_mm)


def closed(mask: Mask, radius_mm: float) -> Mask:
    """Return the mask with every gap filled that no ball of this radius fits into."""
    return mask | (outside_mm(~within(mask, radius_mm)) > radius_mm)


@lru_cache(maxsize=1)
def places() -> tuple[Field, Field, Field]:
    """Return the MNI x, y and z of each voxel of the 2 mm grid in mm."""
    axes = [
        start + SPACING_MM * np.arange(n, dtype=np.float32)
        for start, n in zip(ORIGIN_MM, SHAPE, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)
