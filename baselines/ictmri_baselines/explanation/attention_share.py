"""How much of an attention map lies in the true lesion, and what to compare that with.

- ``in_lesion``: the lesion's share of the map's sum over the network's input.
- ``uniform``: what a map that is equal all over the brain would have: the lesion's share of the brain.
- ``best_possible``: the most that any map can have that was drawn up from F's grid. A voxel of F is often
  larger than the lesion, so this is far below 1, and Grad-CAM is to be read against it.
- ``in_brain``: the brain's share of the map; the rest lies on background.
- ``pointing``: whether the map's maximum lies in the lesion, without a margin (Zhang et al. 2018,
  doi:10.1007/s11263-017-1059-x); where the maximum is not one voxel, the share of it that does.

Everything is counted on the grid of the network's input. Where that is a region around the prior, lesion,
brain and map are those within the region, so its numbers do not compare with those of a whole brain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ictmri.folds import FoldTable
from ictmri_baselines.explanation.gradcam import upsampled
from ictmri_benchmark.score.intervals import draws, percentile_interval

Floats = NDArray[np.float64]
Volume = NDArray[np.float32]

MEASURES: Final = {
    "in_lesion": "share of the attention in the true lesion",
    "uniform": "the same of a map that is equal all over the brain",
    "above_uniform": "how much the first is above the second",
    "best_possible": "the most that a map on F's grid can have there",
    "pointing": "cases whose maximum lies in the true lesion",
    "in_brain": "share of the attention in the brain",
}
_TOP: Final = 1 - 1e-6
"""Rounding of the interpolation: what is above is at the maximum, which is 1."""


@dataclass(frozen=True, slots=True)
class Share:
    """The numbers of one map; NaN where they are not defined.

    Attributes:
        in_lesion: NaN for a map that is 0 everywhere.
        uniform: NaN without a brain.
        best_possible: for a lesion of which nothing is on the input, 0.
        pointing: NaN for a map that is 0 everywhere.
        in_brain: NaN for a map that is 0 everywhere.
    """

    in_lesion: float
    uniform: float
    best_possible: float
    pointing: float
    in_brain: float

    @property
    def above_uniform(self) -> float:
        """``in_lesion`` less ``uniform``."""
        return self.in_lesion - self.uniform


def share_in(found: Volume, lesion: Volume, brain: Volume, best: float) -> Share:
    """Measure a map.

    Args:
        found: (d, h, w) the map, its largest value 1, or 0 everywhere.
        lesion: (d, h, w) share of each voxel that is lesion.
        brain: (d, h, w) share of each voxel that is brain.
        best: see :func:`best_possible`.
    """
    total = float(found.sum(dtype=np.float64))
    within = (float((found * mask).sum(dtype=np.float64)) for mask in (lesion, brain))
    in_lesion, in_brain = (part / total if total else float("nan") for part in within)
    volume = float(brain.sum(dtype=np.float64))
    uniform = float((lesion * brain).sum(dtype=np.float64)) / volume if volume else float("nan")
    pointing = float(lesion[found >= _TOP].mean()) if total else float("nan")
    return Share(in_lesion, uniform, best, pointing, in_brain)


def best_possible(lesion: Volume, grid: Sequence[int], extent: Sequence[int]) -> float:
    """Return the largest share that any map of F's grid can have in a lesion.

    Trilinear interpolation is linear, so a map's share is an average, weighted by what is on each voxel of
    F, of the shares of the maps of one voxel: none is above the best of these.

    Args:
        lesion: (d, h, w) share of each voxel that is lesion.
        grid: (D, H, W) of F.
        extent: voxels that F's grid spans, see :func:`~ictmri_baselines.explanation.gradcam.upsampled`.
    """
    cells = torch.zeros(1, 1, *grid, requires_grad=True)
    spread = upsampled(cells, lesion.shape, extent)
    mask = torch.from_numpy(np.ascontiguousarray(lesion))
    (inside,) = torch.autograd.grad((spread * mask).sum(), cells, retain_graph=True)
    (everywhere,) = torch.autograd.grad(spread.sum(), cells)
    shares = torch.where(everywhere > 0, inside / everywhere, torch.zeros_like(inside))
    return float(shares.max())


def summarised(
    shares: Mapping[str, Sequence[Share]], table: FoldTable
) -> dict[str, dict[str, float | None]]:
    """Return means over cases with bootstrap intervals: patients drawn within their class.

    Args:
        shares: by case the numbers of each seed, which are averaged first. Cases may be missing.
        table: the cohort's folds, from which the draws follow.

    Returns:
        By measure ``value``, ``low``, ``high`` (None where there is no such case) and ``n``, the cases for
        which it is defined.
    """
    values = {
        name: np.array([_mean_of(shares.get(i, ()), name) for i in table.case_ids])
        for name in MEASURES
    }
    sums = {name: np.zeros((0, 2)) for name in MEASURES}
    for weights in draws(table):
        for name, column in values.items():
            known = ~np.isnan(column)
            drawn = weights[:, known].astype(np.float64)
            pair = np.stack([drawn @ column[known], drawn.sum(axis=1)], axis=1)
            sums[name] = np.concatenate([sums[name], pair])
    return {name: _interval(values[name], sums[name]) for name in MEASURES}


def _mean_of(shares: Sequence[Share], name: str) -> float:
    known = [value for share in shares if not np.isnan(value := getattr(share, name))]
    return float(np.mean(known)) if known else float("nan")


def _interval(values: Floats, sums: Floats) -> dict[str, float | None]:
    known = values[~np.isnan(values)]
    if not len(known):
        return {"value": None, "low": None, "high": None, "n": 0}
    drawn = sums[sums[:, 1] > 0]
    low, high = percentile_interval(drawn[:, 0] / drawn[:, 1])
    rounded = (round(float(number), 6) for number in (known.mean(), low, high))
    value, low, high = rounded
    return {"value": value, "low": low, "high": high, "n": len(known)}
