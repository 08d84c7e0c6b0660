"""Boxes of a grid: work is done only where a mask lies."""

from __future__ import annotations

from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine

Mask: TypeAlias = npt.NDArray[np.bool_]
Box: TypeAlias = tuple[slice, ...]


def box_of(mask: Mask, margin: int = 0) -> Box:
    """Return the smallest box that holds a mask, and a margin within the grid; empty for an empty mask."""
    axes = range(mask.ndim)
    used = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    if not used[0].size:
        return (slice(0, 0),) * mask.ndim
    return wider(tuple(slice(int(at[0]), int(at[-1]) + 1) for at in used), mask.shape, margin)


def wider(box: Box, shape: tuple[int, ...], margin: int) -> Box:
    """Return a box with a margin, as far as the grid goes."""
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, n))
        for side, n in zip(box, shape, strict=True)
    )


def reached_box(from_box: npt.NDArray[Any], box: Box, shape: tuple[int, ...]) -> Box:
    """Return the box of a grid that holds all that lies in a box of another, outermost voxels whole.

    Args:
        from_box: (4, 4), the other grid's voxels to this one's.
        box: of the other grid.
        shape: of this grid.
    """
    corners = np.array(list(product(*[(side.start - 1, side.stop) for side in box])))
    at = apply_affine(from_box, corners)
    ends = zip(np.floor(at.min(axis=0)), np.ceil(at.max(axis=0)) + 1, shape, strict=True)
    return tuple(slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n))) for a, b, n in ends)
