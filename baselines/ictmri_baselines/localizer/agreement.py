"""How well a prior agrees with a true lesion; for tests and tables, never on the way to a label.

A lesion is a tumour with what surrounds it. T1-CE hardly shows oedema, and a biopsy aims at the core: so
recall is counted of cores (what is solid, enhancing, necrotic or cystic), and of whole lesions beside it.
Parts that lie within a few millimetres of each other are one lesion, as in the lesion-wise scores of BraTS
2023 (github.com/rachitsaluja/BraTS-2023-Metrics): a tongue of oedema that is cut off is none of its own.

Nothing else in the package reads a truth mask, and nothing here is read by a method.
"""

from __future__ import annotations

from collections.abc import Sequence
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
TOUCHED_SHARE: Final = 0.1
"""Share of a lesion from which it was at least touched."""
JOINED_MM: Final = 6.0
"""Parts that are nearer to each other are one lesion: BraTS 2023 widens each by 3 mm before it counts."""
_NEIGHBOURS: Final = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class Agreement:
    """A prior and the truth on one grid.

    Without a true lesion Dice and ratio are NaN, and everything marked is false. Without a prior both
    are 0.

    Attributes:
        lesions: parts of the truth of at least :data:`LEAST_ML`; the largest one if all are smaller.
        found: how many of them are covered by at least :data:`FOUND_SHARE`.
        touched: how many of them are covered by at least :data:`TOUCHED_SHARE`.
        cores: as ``lesions``, of the truth without oedema.
        cores_found: how many of them are covered by at least :data:`FOUND_SHARE`.
        dice: 2 |A and B| / (|A| + |B|).
        volume_ratio: marked volume over true volume.
        false_ml: marked volume outside the truth.
    """

    lesions: int
    found: int
    touched: int
    cores: int
    cores_found: int
    dice: float
    volume_ratio: float
    false_ml: float


def agreement(
    marked: Mask, truth: Mask, spacing_mm: Sequence[float], core: Mask | None = None
) -> Agreement:
    """Compare a prior with the truth.

    Args:
        marked: what the prior marks, any shape of three axes.
        truth: the true lesions with their oedema, same grid.
        spacing_mm: edges of a voxel.
        core: the truth without oedema, same grid; all of it where None.

    Raises:
        ValueError: the grids differ.
    """
    core = truth if core is None else core
    if not marked.shape == truth.shape == core.shape:
        raise ValueError(f"a prior on {marked.shape} and a truth on {truth.shape}, {core.shape}")
    both = int(np.count_nonzero(marked & truth))
    n_marked, n_truth = int(np.count_nonzero(marked)), int(np.count_nonzero(truth))
    shares, of_cores = (_covered(marked, part, spacing_mm) for part in (truth, core))
    return Agreement(
        lesions=len(shares),
        found=sum(share >= FOUND_SHARE for share in shares),
        touched=sum(share >= TOUCHED_SHARE for share in shares),
        cores=len(of_cores),
        cores_found=sum(share >= FOUND_SHARE for share in of_cores),
        dice=2 * both / (n_marked + n_truth) if n_truth else float("nan"),
        volume_ratio=n_marked / n_truth if n_truth else float("nan"),
        false_ml=(n_marked - both) * float(np.prod(spacing_mm)) / 1000,
    )


def _covered(marked: Mask, truth: Mask, spacing_mm: Sequence[float]) -> list[float]:
    """Return the marked share of each lesion."""
    if not truth.any():
        return []
    away = ndimage.distance_transform_edt(~truth, sampling=spacing_mm)
    labels, count = ndimage.label(away <= JOINED_MM / 2, _NEIGHBOURS)
    names = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(truth, labels, names)
    hits = ndimage.sum_labels(marked & truth, labels, names)
    large = sizes * np.prod(spacing_mm) / 1000 >= LEAST_ML
    kept = large if large.any() else sizes == sizes.max()
    return [float(share) for share in (hits / sizes)[kept]]
