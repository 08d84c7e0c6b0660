"""The network: a backbone's feature map, recalibrated by what it shows inside the prior.

Source: Virtual Biopsy, arXiv:2602.21613, equations 6 to 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ictmri.classes import CLASSES

_EPS: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Architecture:
    """Size of the 3D DenseNet and what is done with the prior.

    Attributes:
        growth: growth rate.
        blocks: layers of each dense block.
        stem: channels of the first convolution.
        dropout: dropout probability.
        attention: masked channel attention; without it the prior is not used.
    """

    growth: int = 12
    blocks: tuple[int, ...] = (3, 6, 6)
    stem: int = 24
    dropout: float = 0.2
    attention: bool = True


class MaskedChannelAttention(nn.Module):
    """Weights the channels of a feature map by their mean inside a mask [7, 8].

    An empty mask gives z = 0, hence weights that do not depend on the case.
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        """Make the two fully connected layers; the hidden one has ``channels / reduction`` units."""
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weights = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Recalibrate ``features`` (B, C, D, H, W) by ``mask`` (B, 1, d, h, w) in [0, 1].

        The mask is brought to the grid of the features by averaging, so that a lesion smaller than
        one of their voxels still counts with its share.
        """
        soft = functional.adaptive_avg_pool3d(mask, list(features.shape[2:]))  # type: ignore[arg-type]
        pooled = (features * soft).sum(dim=(2, 3, 4)) / (soft.sum(dim=(2, 3, 4)) + _EPS)
        weights: Tensor = self.weights(pooled)
        return features * weights[:, :, None, None, None]


class AdaptiveDiagnoser(nn.Module):
    """Backbone, attention, and a linear classifier on GAP(F) || GAP(F_att) [9]."""

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with MONAI's 3D DenseNet as the backbone."""
        super().__init__()
        from monai.networks.nets.densenet import DenseNet

        dense = DenseNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=len(CLASSES),
            init_features=architecture.stem,
            growth_rate=architecture.growth,
            block_config=architecture.blocks,
            dropout_prob=architecture.dropout,
        )
        channels = dense.class_layers.out.in_features
        self.backbone = nn.Sequential(dense.features, nn.ReLU())
        self.attention = MaskedChannelAttention(channels) if architecture.attention else None
        self.classifier = nn.Linear(channels * (2 if architecture.attention else 1), len(CLASSES))

    def forward(self, image: Tensor, prior: Tensor) -> Tensor:
        """Return logits (B, 4) for ``image`` and ``prior``, both (B, 1, D, H, W)."""
        features = self.backbone(image)
        pooled = [features.mean(dim=(2, 3, 4))]
        if self.attention is not None:
            pooled.append(self.attention(features, prior).mean(dim=(2, 3, 4)))
        logits: Tensor = self.classifier(torch.cat(pooled, dim=1))
        return logits
