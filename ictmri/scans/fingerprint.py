"""A scan's outline of a few thousand numbers: found again in a copy, without a template.

What is kept does not depend on how the axes are stored, on how values are scaled, or on how much
background lies around the head. A copy that was turned or cropped needs the closer look of
:mod:`ictmri.scans.similarity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.io.files import sha256_bytes
from ictmri.scans.examine import foreground

if TYPE_CHECKING:
    import nibabel as nib

EDGE: Final = 16
"""The head is averaged in so many blocks along each axis."""
FINE: Final = 96
"""Of axes with twice as many voxels, and so on, only every second one is looked at."""
STRAY: Final = 0.002
"""Share of a head's voxels at each end of an axis that may be noise outside of it."""
ALIKE: Final = 0.97
"""Similarity from which two scans may show one head; different ones reach 0.94 ..."""
OWN_ALIKE: Final = 0.75
"""... or similarity of what each has for itself: copies reach 0.78 and more, other heads 0.74."""
_ROWS: Final = 512
"""Scans that are compared with all others at a time."""

Vector = npt.NDArray[np.float32]


def values_digest(image: nib.Nifti1Image) -> str:
    """Return the SHA-256 of a volume's values but for its background, in whatever order they stand."""
    values = np.asarray(image.dataobj)
    corners = np.sort(values[np.ix_(*[(0, -1)] * 3)], axis=None)
    own = np.sort(values[values != corners[len(corners) // 2]], axis=None)
    return sha256_bytes(own.dtype.str.encode() + own.tobytes())


def fingerprint(image: nib.Nifti1Image) -> Vector:
    """Return (EDGE^3,) ranks of the head's blocks, with mean 0 and length 1."""
    import nibabel as nib

    canonical: Any = nib.as_closest_canonical(image)
    thinned = tuple(slice(None, None, max(1, length // FINE)) for length in canonical.shape)
    blocks = np.asarray(canonical.dataobj)[thinned]
    solid = foreground(blocks)
    ends = []
    for axis in range(3):
        below = np.cumsum(solid.sum(axis=tuple({0, 1, 2} - {axis})))
        low, high = np.searchsorted(below, (STRAY * below[-1], (1 - STRAY) * below[-1]))
        ends.append(slice(low, high + 1))
    blocks = blocks[tuple(ends)].astype(np.float32)
    for axis in range(3):
        blocks = _in_blocks(blocks, axis)
    ranks = blocks.ravel().argsort(kind="stable").argsort(kind="stable").astype(np.float32)
    ranks -= ranks.mean()
    unit: Vector = ranks / np.float32(np.linalg.norm(ranks))
    return unit


def alike(prints: Vector) -> list[tuple[int, int]]:
    """Return the pairs (a < b) of (n, EDGE^3) fingerprints that are worth a closer look, at most n.

    What all heads of a cohort have in common is its mean.
    """
    common = prints.mean(axis=0)
    common /= np.linalg.norm(common)
    own = prints - np.outer(prints @ common, common)
    # Where two copies are all there is, nothing is left of either.
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 0.05)
    found: set[tuple[int, int]] = set()
    for start in range(0, len(prints), _ROWS):
        part = slice(start, start + _ROWS)
        near = np.maximum(prints[part] @ prints.T / ALIKE, own[part] @ own.T / OWN_ALIKE)
        rows = np.arange(len(near))
        near[rows, start + rows] = 0
        nearest = near.argmax(axis=1)
        for row in rows[near[rows, nearest] >= 1]:
            first, second = sorted((start + int(row), int(nearest[row])))
            found.add((first, second))
    return sorted(found)


def _in_blocks(values: Vector, axis: int) -> Vector:
    """Average along an axis in EDGE blocks of equal length, whole voxels and parts of them."""
    moved = np.moveaxis(values, axis, 0)
    summed = np.zeros((len(moved) + 1, *moved.shape[1:]))
    np.cumsum(moved, axis=0, out=summed[1:])
    place = np.linspace(0, len(moved), EDGE + 1)
    below = np.minimum(place.astype(int), len(moved) - 1)
    share = (place - below)[:, None, None]
    at_edges = summed[below] * (1 - share) + summed[below + 1] * share
    return np.moveaxis(np.diff(at_edges, axis=0), 0, axis)
