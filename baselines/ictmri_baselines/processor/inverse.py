"""The inverse of a displacement field on its own grid, by fixed-point iteration.

Source: Chen et al., A simple fixed-point approach to invert a deformation field, Medical Physics 2008,
doi:10.1118/1.2816107.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from ictmri_baselines.processor.points import Array, look_up_vectors

TOLERANCE_MM: Final = 0.01
"""A point is found when it lands this close to where it should: a hundredth of the least voxel."""

PLAIN_STEPS: Final = 15
"""Full steps first; they converge where the warp stretches tissue to less than twice its length ..."""

DAMPED_STEPS: Final = 40
"""... then half steps for what is left: they converge up to four times the length."""


def inverse_displacement(field: Array, edge_mm: float) -> Array:
    """Return v such that ``p = q + v(q)`` undoes ``q = p + field(p)``, on the field's own grid.

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
