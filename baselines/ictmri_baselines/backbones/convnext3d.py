"""ConvNeXt3D: ConvNeXt (Liu et al. 2022, doi:10.1109/CVPR52688.2022.01167) with 3D convolutions."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ictmri_baselines.backbones.base import Backbone, chosen_tap
from ictmri_baselines.backbones.settings import ConvNeXt3D

LAYER_SCALE: Final = 1e-6
"""Initial scale of each block's branch, as in the paper."""
INITIAL_SD: Final = 0.02
"""Of all initial weights, as in the authors' code."""


class ConvNeXt3DBackbone(Backbone):
    """Stem and stages; taps ``stage1``, ``stage2``, ..., each followed by a layer normalisation."""

    fills_up = True

    def __init__(self, settings: ConvNeXt3D) -> None:
        taps = [f"stage{i + 1}" for i in range(len(settings.depth))]
        index = chosen_tap("convnext3d", taps, settings.tap)
        widths = [settings.width * 2**i for i in range(index + 1)]
        stride = settings.patch * 2**index
        super().__init__("convnext3d", taps, taps[index], widths[-1], stride=stride)
        drops = torch.linspace(0, settings.drop_path, sum(settings.depth), device="cpu").tolist()
        layers: list[nn.Module] = [
            nn.Conv3d(1, widths[0], settings.patch, stride=settings.patch),
            ChannelNorm(widths[0]),
        ]
        for stage, width in enumerate(widths):
            if stage:
                layers += [ChannelNorm(width // 2), nn.Conv3d(width // 2, width, 2, stride=2)]
            for _ in range(settings.depth[stage]):
                layers.append(Block(width, kernel=settings.kernel, drop_path=drops.pop(0)))
        self.network = nn.Sequential(*layers, ChannelNorm(widths[-1]))
        _initialise(self)


class Block(nn.Module):
    """Depthwise convolution, layer normalisation, two linear layers with GELU, scaled, added."""

    def __init__(self, width: int, *, kernel: int, drop_path: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.drop_path = drop_path

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features`` (B, C, D, H, W) with the block's branch added."""
        branch = self.norm(_channels_last(self.depthwise(features)))
        branch = self.scale * self.project(functional.gelu(self.expand(branch)))
        branch = _channels_first(branch)
        if self.training and self.drop_path:
            kept = torch.rand(len(branch), 1, 1, 1, 1, device=branch.device) >= self.drop_path
            branch = branch * kept / (1 - self.drop_path)
        return features + branch


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each voxel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, D, H, W), each voxel's channels with mean 0 and variance 1 before the scale."""
        return _channels_first(self.norm(_channels_last(features)))


def _channels_last(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 4, 1)


def _channels_first(features: Tensor) -> Tensor:
    return features.permute(0, 4, 1, 2, 3)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INITIAL_SD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
