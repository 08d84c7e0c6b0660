"""From a feature map and a prior to the vector that is classified: one class a way of Table 2 [9].

Source: Virtual Biopsy, arXiv:2602.21613, equation 9 and Table 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ictmri_baselines.diagnoser.attention import (
    REDUCTION,
    MaskedChannelAttention,
    at_least_float32,
    masked_average,
)


class Fused(NamedTuple):
    """What a fusion makes of a batch.

    Attributes:
        vector: (B, width of the fusion).
        weights: (B, C) channel weights w of equation 8; None without attention.
    """

    vector: Tensor
    weights: Tensor | None


def global_average(features: Tensor) -> Tensor:
    """Return GAP(F): (B, C) of (B, C, D, H, W), in float32 at least."""
    return at_least_float32(features).mean(dim=(2, 3, 4))


class GlobalFusion(nn.Module):
    """GAP(F) alone: the prior is not used here (row 1 of Table 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels

    def forward(self, features: Tensor, mask: Tensor | None) -> Fused:  # noqa: ARG002
        """Return GAP(F)."""
        return Fused(global_average(features), None)


class PooledFusion(nn.Module):
    """GAP(F) || z, z the average inside the prior [7] (rows 2 and 4 of Table 2)."""

    def __init__(self, channels: int, *, rescale: bool = False) -> None:
        super().__init__()
        self.width = 2 * channels
        self.rescale = rescale

    def forward(self, features: Tensor, mask: Tensor) -> Fused:
        """Fuse F (B, C, D, H, W) and a mask (B, 1, D, H, W) on its grid."""
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

    def forward(self, features: Tensor, mask: Tensor) -> Fused:
        """Fuse F (B, C, D, H, W) and a mask (B, 1, D, H, W) on its grid."""
        overall = global_average(features)
        weights = self.attention.channel_weights(features, mask)
        return Fused(torch.cat([overall, weights * overall], dim=1), weights)
