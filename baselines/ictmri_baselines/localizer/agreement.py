"""How well a prior agrees with a true lesion; for tests and tables, never on the way to a label.

Nothing else in the package reads a truth mask, and nothing here is read by a method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

FOUND_SHARE: Final = 0.25
"""Share of a lesion that must be covered for it to count as found."""
LEAST_ML: Final = 0.3
"""Smaller parts of the truth are no lesions of their own: a voxel of 5 mm slices is 0.1 ml."""
_NEIGHBOURS: Final = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class Agreement:
    """A prior and the truth on one grid.

    Without a true lesion recalls, Dice and ratio are NaN, and everything marked is false. Without a
    prior recalls, Dice and ratio are 0.

    Attributes:
        lesions: connected parts of the truth of at least :data:`LEAST_ML`; the largest one if all are
            smaller.
        found: how many of them are covered by at least :data:`FOUND_SHARE`.
        voxel_recall: share of the truth that is marked.
        dice: 2 |A and B| / (|A| + |B|).
        volume_ratio: marked volume over true volume.
        false_ml: marked volume outside the truth.
    """

    lesions: int
    found: int
    voxel_recall: float
    dice: float
    volume_ratio: float
    false_ml: float

    @property
    def lesion_recall(self) -> float:
        """Share of the lesions that were found."""
        return self.found / self.lesions if self.lesions else float("nan")


def agreement(marked: Mask, truth: Mask, voxel_ml: float) -> Agreement:
    """Compare a prior with the truth.

    Args:
        marked: what the prior marks, any shape.
        truth: the true lesion, same grid.
        voxel_ml: volume of a voxel.

    Raises:
        ValueError: the grids differ.
    """
    if marked.shape != truth.shape:
        raise ValueError(f"a prior on {marked.shape} and a truth on {truth.shape}")
    both = int(np.count_nonzero(marked & truth))
    n_marked, n_truth = int(np.count_nonzero(marked)), int(np.count_nonzero(truth))
    shares = _covered(marked, truth, voxel_ml)
    return Agreement(
        lesions=len(shares),
        found=sum(share >= FOUND_SHARE for share in shares),
        voxel_recall=both / n_truth if n_truth else float("nan"),
        dice=2 * both / (n_marked + n_truth) if n_truth else float("nan"),
        volume_ratio=n_marked / n_truth if n_truth else float("nan"),
        false_ml=(n_marked - both) * voxel_ml,
    )


def _covered(marked: Mask, truth: Mask, voxel_ml: float) -> list[float]:
    """Return the marked share of each lesion."""
    labels, count = ndimage.label(truth, _NEIGHBOURS)
    if not count:
        return []
    names = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(truth, labels, names)
    hits = ndimage.sum_labels(marked, labels, names)
    large = sizes * voxel_ml >= LEAST_ML
    kept = large if large.any() else sizes == sizes.max()
    return [float(share) for share in (hits / sizes)[kept]]
