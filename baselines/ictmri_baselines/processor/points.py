"""Voxels looked up at points: slab by slab, in a fixed order of sums, without BLAS or threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.box import Box
from ictmri.atlas.geometry import Affine

Array = npt.NDArray[np.float32]

_SLAB: Final = 24
"""Planes that are looked up at once: memory stays at a few ten MB, whatever the grid."""


def slabs(axes: Sequence[Array]) -> Iterator[tuple[slice, list[Array]]]:
    """Cut a grid, given by its positions along each axis, into pieces along the first."""
    for start in range(0, len(axes[0]), _SLAB):
        part = slice(start, start + _SLAB)
        yield part, [axes[0][part], *axes[1:]]


def grid_points(axes: Sequence[Array], affine: Affine, moved: Array | None = None) -> Array:
    """Return ``affine @ (grid + moved)``, (3, a, b, c) float32."""
    at = [axis.reshape([-1 if i == j else 1 for j in range(3)]) for i, axis in enumerate(axes)]
    if moved is not None:
        at = [axis + moved[i] for i, axis in enumerate(at)]
    return _carried(at, affine)


def carried(points: Array, affine: Affine) -> Array:
    """Return ``affine @ points``, (3, ...) float32."""
    return _carried(list(points), affine)


def _carried(at: list[Array], affine: Affine) -> Array:
    rows = []
    for row in affine[:3].astype(np.float32):
        rows.append(at[0] * row[0] + at[1] * row[1] + at[2] * row[2] + row[3])
    return np.stack(rows)


def look_up(voxels: Array, indices: Array, order: int = 1, outside: float = 0.0) -> Array:
    """Return voxels at fractional indices (3, ...): the nearest one (order 0), or linearly (order 1).

    A voxel reaches half an edge beyond its centre, on thick slices 3 mm; ``outside`` lies beyond that.
    """
    values: Array = ndimage.map_coordinates(
        voxels, indices, np.float32, order=order, mode="nearest"
    )
    for index, size in zip(indices, voxels.shape, strict=True):
        values[(index < -0.5) | (index > size - 0.5)] = outside
    return values


def look_up_vectors(field: Array, indices: npt.NDArray[Any]) -> Array:
    """Return a vector field (3, X, Y, Z) at fractional indices, linearly, 0 off the grid."""
    return np.stack(
        [
            ndimage.map_coordinates(component, indices, np.float32, order=1, mode="constant")
            for component in field
        ]
    )


def look_up_affine(
    voxels: npt.NDArray[Any],
    index: Affine,
    shape: Sequence[int],
    order: int = 1,
    outside: float = 0.0,
    only: Box | None = None,
) -> Array:
    """Return voxels on another grid; ``index`` takes that grid's indices to the voxels'.

    ``only`` is the box of that grid that is looked up; the rest is ``outside``.
    """
    source = np.asarray(voxels, dtype=np.float32)
    result = np.full(tuple(shape), outside, dtype=np.float32)
    box = only or (slice(None),) * len(result.shape)
    axes = [np.arange(n, dtype=np.float32)[side] for n, side in zip(shape, box, strict=True)]
    wanted = result[box]
    for part, slab in slabs(axes):
        wanted[part] = look_up(source, grid_points(slab, index), order, outside)
    return result


TOLERANCE_MM: Final = 0.01
"""A point is found when it lands this close to where it should: a hundredth of the least voxel."""

PLAIN_STEPS: Final = 15
"""Full steps first; they converge where the warp stretches tissue to less than twice its length ..."""

DAMPED_STEPS: Final = 40
"""... then half steps for what is left: they converge up to four times the length."""


def inverse_displacement(field: Array, edge_mm: float) -> Array:
    """Return v such that ``p = q + v(q)`` undoes ``q = p + field(p)``, on the field's own grid.

    By fixed-point iteration. Source: Chen et al., A simple fixed-point approach to invert a deformation
    field, Medical Physics 2008, doi:10.1118/1.2816107.

    Args:
        field: (3, X, Y, Z) float32 mm; linear between its voxels, 0 outside them.
        edge_mm: edge of its voxels.

    Returns:
        (3, X, Y, Z) float32 mm. Where the field folds there is no inverse, and the last guess stands.
    """
    grid = np.indices(field.shape[1:], dtype=np.float32).reshape(3, -1)
    flat = field.reshape(3, -1)
    inverse = -flat.copy()
    # A point that stays where it is, and whose neighbours do, needs no search.
    moving = ndimage.maximum_filter(np.abs(field).max(axis=0), 5).reshape(-1) > TOLERANCE_MM / 4
    left = np.flatnonzero(moving)
    for step in range(PLAIN_STEPS + DAMPED_STEPS):
        if not left.size:
            break
        guess = inverse[:, left]
        at = grid[:, left] + guess / np.float32(edge_mm)
        wrong = guess + look_up_vectors(field, at)
        share = np.float32(1.0 if step < PLAIN_STEPS else 0.5)
        inverse[:, left] = guess - share * wrong
        left = left[np.abs(wrong).max(axis=0) > TOLERANCE_MM]
    return inverse.reshape(field.shape)
