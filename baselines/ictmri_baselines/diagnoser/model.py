"""The network: a backbone's feature map, recalibrated by what it shows inside the prior.

Source: Virtual Biopsy, arXiv:2602.21613, equations 6 to 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ictmri.classes import CLASSES
from ictmri_baselines.diagnoser.attention import MaskedChannelAttention


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
