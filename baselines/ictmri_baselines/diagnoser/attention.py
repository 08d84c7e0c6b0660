"""Masked channel attention, and the vector that is classified: one class a way of Table 2 [6 to 9].

Source: Virtual Biopsy, arXiv:2602.21613, equations 6 to 9 and Table 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS: Final = 1e-6
"""Epsilon of equation 7, which is not printed, in voxels of F. One voxel of the volume fills 3e-5 of
one at stride 32, so z of the smallest possible lesion comes out 3 % small; 3 mm of 1 mm voxels, 0.1 %."""
REDUCTION: Final = 4
"""Channels of F per hidden unit; not printed. Squeeze-and-excitation (doi:10.1109/CVPR.2018.00745)
takes 16, which would leave 9 hidden units to the small networks of the ``cpu`` profile."""


def resample_prior(
    prior: Tensor, grid: Sequence[int], extent: Sequence[int] | None = None
) -> Tensor:
    """Bring a prior to the grid of a feature map by averaging.

    A voxel of the result holds the share of it that the prior fills, so a lesion smaller than one
    voxel of F keeps that share instead of being rounded to nothing or to everything. Where the edges
    do not divide, the cells overlap by a voxel (as in ``adaptive_avg_pool3d``); no voxel of the prior
    is passed over, so only an empty prior becomes an empty mask.

    Args:
        prior: (B, 1, d, h, w) in [0, 1], on the grid of the volume, or on any other with its corners.
        grid: (D, H, W) of the feature map.
        extent: voxels of the prior's grid that F spans, where that is more than there are: a network
            that fills its input up to a multiple of its stride. The prior is 0 there.

    Returns:
        (B, 1, D, H, W) in [0, 1].
    """
    if extent is not None:
        missing = [max(0, e - n) for e, n in zip(extent, prior.shape[2:], strict=True)]
        prior = functional.pad(prior, [n for edge in reversed(missing) for n in (0, edge)])
    return functional.adaptive_avg_pool3d(prior, list(grid))  # type: ignore[arg-type]


Features: TypeAlias = "Tensor | Sequence[Tensor]"
"""F (B, C, D, H, W); or the maps that it is made of, see :meth:`..backbones.base.Backbone.maps`."""


def _maps_of(features: Features) -> list[Tensor]:
    maps = [features] if isinstance(features, Tensor) else features
    return [at_least_float32(one) for one in maps]


def masked_average(features: Features, mask: Tensor, *, rescale: bool = False) -> Tensor:
    """Average each channel inside a mask [7]; an empty mask gives z = 0.

    Sums are taken in float32 at least, whatever ``autocast`` made of the features. A voxel of a coarser
    map weighs what the mask holds of it: what repeating it on the finest grid would give.

    Args:
        features: (B, C, D, H, W), or maps.
        mask: (B, 1, D, H, W) in [0, 1], on the same grid, of maps that of the first.
        rescale: bring the largest share of each mask to 1 first, so that epsilon does not shrink z
            where a lesion fills but a small share of one voxel. The equation as printed does not.

    Returns:
        (B, C), float32 or float64.
    """
    mask = at_least_float32(mask)
    if rescale:
        largest = mask.amax(dim=(2, 3, 4), keepdim=True)
        mask = mask / torch.where(largest > 0, largest, torch.ones_like(largest))
    sums = [(one * _summed(mask, one.shape[2:])).sum(dim=(2, 3, 4)) for one in _maps_of(features)]
    return torch.cat(sums, dim=1) / (mask.sum(dim=(2, 3, 4)) + EPS)


def _summed(mask: Tensor, grid: Sequence[int]) -> Tensor:
    """Return the sums of a mask over the blocks of its voxels that make a voxel of a coarser grid."""
    if tuple(mask.shape[2:]) == tuple(grid):
        return mask
    block = math.prod(mask.shape[2:]) // math.prod(grid)
    return functional.adaptive_avg_pool3d(mask, list(grid)) * block  # type: ignore[arg-type]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a tensor of any shape, in float32 where it is in half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class MaskedChannelAttention(nn.Module):
    """Weights the channels of a feature map by their mean inside a mask [7, 8].

    An empty mask gives z = 0, hence weights that do not depend on the case.
    """

    def __init__(self, channels: int, *, reduction: int = REDUCTION, rescale: bool = False) -> None:
        """Make the two fully connected layers.

        Args:
            channels: C of the feature map.
            reduction: the hidden layer has ``channels / reduction`` units, at least one.
            rescale: see :func:`masked_average`.
        """
        super().__init__()
        hidden = max(1, channels // reduction)
        self.rescale = rescale
        self.weights = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def channel_weights(self, features: Features, mask: Tensor) -> Tensor:
        """Return w (B, C) in (0, 1) for features and a mask, as :func:`masked_average` takes them."""
        weights: Tensor = self.weights(masked_average(features, mask, rescale=self.rescale))
        return weights

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return F_att: ``features`` (B, C, D, H, W) recalibrated by ``mask`` (B, 1, d, h, w)."""
        weights = self.channel_weights(features, resample_prior(mask, features.shape[2:]))
        return features * weights[:, :, None, None, None]


class Fused(NamedTuple):
    """What a fusion makes of a batch.

    Attributes:
        vector: (B, width of the fusion).
        weights: (B, C) channel weights w of equation 8; None without attention.
    """

    vector: Tensor
    weights: Tensor | None


def global_average(features: Features) -> Tensor:
    """Return GAP(F): (B, C) of (B, C, D, H, W) or of maps, in float32 at least."""
    return torch.cat([one.mean(dim=(2, 3, 4)) for one in _maps_of(features)], dim=1)


class GlobalFusion(nn.Module):
    """GAP(F) alone: the prior is not used here (row 1 of Table 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels

    def forward(self, features: Features, mask: Tensor | None) -> Fused:  # noqa: ARG002
        """Return GAP(F), (B, C)."""
        return Fused(global_average(features), None)


class PooledFusion(nn.Module):
    """GAP(F) || z, z the average inside the prior [7] (rows 2 and 4 of Table 2)."""

    def __init__(self, channels: int, *, rescale: bool = False) -> None:
        super().__init__()
        self.width = 2 * channels
        self.rescale = rescale

    def forward(self, features: Features, mask: Tensor) -> Fused:
        """Fuse F (B, C, D, H, W), or maps, and a mask (B, 1, D, H, W) on its grid."""
        inside = masked_average(features, mask, rescale=self.rescale)
        return Fused(torch.cat([global_average(features), inside], dim=1), None)


class AttentionFusion(nn.Module):
    """GAP(F) || GAP(F_att) [9] (rows 3 and 5 of Table 2).

    Recalibration scales whole channels, so GAP(F_att) is w GAP(F), and is computed as that: the same
    numbers up to rounding without a second feature map in memory.
    """

    def __init__(self, channels: int, *, reduction: int = REDUCTION, rescale: bool = False) -> None:
        super().__init__()
        self.width = 2 * channels
        self.attention = MaskedChannelAttention(channels, reduction=reduction, rescale=rescale)

    def forward(self, features: Features, mask: Tensor) -> Fused:
        """Fuse F (B, C, D, H, W), or maps, and a mask (B, 1, D, H, W) on its grid."""
        overall = global_average(features)
        weights = self.attention.channel_weights(features, mask)
        return Fused(torch.cat([overall, weights * overall], dim=1), weights)
