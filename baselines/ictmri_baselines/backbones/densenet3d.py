"""3D DenseNet: MONAI's, cut where F is taken."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ictmri_baselines.backbones.base import Backbone, Size, chosen_tap
from ictmri_baselines.backbones.settings import ALL, DenseNet3D

BINS: Final = (
    *((-2.0, 1.0), (-1.0, 1.0), (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0)),
    *((4.5, 1.5), (6.0, 1.5), (8.0, 2.0)),
)
"""Middle and half width of each bin of a soft histogram, in robust standard deviations of the brain."""
SPREADS: Final = (0.0, 0.5, 1.0)
"""What the spread of neighbours is counted from, in the same unit."""
LOWEST, HIGHEST, SCALE = -4.0, 12.0, 4.0
_SMALLEST: Final = 1e-4
"""Added to a variance, whose root has no slope at 0."""


class IntensityMaps(nn.Module):
    """Soft histogram, intensity, its square, and spread of 3^3 neighbours, averaged to half the edge.

    Nothing in it is learned but the batch normalisation at its end.
    """

    channels = len(BINS) + 3 + len(SPREADS)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(self.channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 15, d / 2, h / 2, w / 2), rounded up, of volumes (B, 1, d, h, w)."""
        brain = (image != 0).to(image.dtype)
        bins = [torch.relu(1 - (image - middle).abs() / half) * brain for middle, half in BINS]
        level = image.clamp(LOWEST, HIGHEST) / SCALE
        mean, square = (functional.avg_pool3d(one, 3, 1, 1) for one in (image, image * image))
        variance = torch.relu(square - mean * mean) + _SMALLEST
        # Not sqrt(): MKL's begins at an approximation (rsqrtps) in which AMD's and Intel's CPUs differ.
        spread = variance * variance.rsqrt()
        above = [torch.relu(spread - least) for least in SPREADS]
        maps = torch.cat([*bins, level, level * level, (image - mean).abs(), *above], dim=1)
        found: Tensor = self.norm(functional.avg_pool3d(maps, 2, ceil_mode=True))
        return found


class DenseNet3DBackbone(Backbone):
    """Stem and dense blocks; taps ``block1``, ``block2``, ... behind the blocks.

    A tap is followed by the batch normalisation and ReLU with which DenseNet goes on there: those of
    the transition, or of the end. The tap ``all`` is the maps of the intensities, of the stem and of every
    tap one after the other, the coarser ones repeated on the stem's grid.
    """

    def __init__(self, settings: DenseNet3D) -> None:
        taps = [f"block{i + 1}" for i in range(len(settings.depth))]
        every = settings.tap == ALL
        index = len(taps) - 1 if every else chosen_tap("densenet3d", taps, settings.tap)
        widths = _channels(settings)[: index + 2]
        channels, stride = (sum(widths), 2) if every else (widths[-1], 4 * 2**index)
        channels += IntensityMaps.channels if every else 0
        super().__init__("densenet3d", taps, ALL if every else taps[index], channels, stride)
        self.network = _network(settings, index)
        self.intensities = IntensityMaps() if every else None

    @property
    def minimum(self) -> int:
        """Smallest edge of the input in voxels: one voxel of the coarsest map."""
        return 2 ** (len(self.taps) + 1) if self.tap == ALL else self.stride

    def features(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W) of an input (B, 1, d, h, w) that was checked."""
        if self.intensities is None:
            return super().features(image)
        return _joined(self._all_maps(image, self.intensities))

    def maps(self, image: Tensor) -> Sequence[Tensor]:
        """Return the maps of the tap ``all``, where each voxel of one is as many of the finest grid."""
        if self.intensities is None:
            return super().maps(image)
        maps = self._all_maps(image, self.intensities)
        finest = maps[0].shape[2:]
        even = all(n % k == 0 for one in maps for n, k in zip(finest, one.shape[2:], strict=True))
        return maps if even else [_joined(maps)]

    def _all_maps(self, image: Tensor, intensities: IntensityMaps) -> list[Tensor]:
        maps: list[Tensor] = [intensities(image)]
        for name, layer in self.network.named_children():
            if name.startswith("transition"):
                maps.append(layer.relu(layer.norm(image)))
                image = layer.pool(layer.conv(maps[-1]))
                continue
            image = layer(image)
            if name.startswith("relu"):
                maps.append(image)
        return maps

    def grid(self, size: Sequence[int]) -> Size:
        """Return F's grid: the stem rounds up, the transitions round down."""
        if self.tap == ALL:
            return super().grid(size)
        stem = [-(-edge // 4) for edge in size]
        first, second, third = (edge // (self.stride // 4) for edge in stem)
        return first, second, third


def _joined(maps: Sequence[Tensor]) -> Tensor:
    grid = maps[0].shape[2:]
    return torch.cat([functional.interpolate(one, grid) for one in maps], dim=1)


def _channels(settings: DenseNet3D) -> list[int]:
    """Return the channels of the stem and behind each block."""
    found = [2 * settings.width]
    for block, layers in enumerate(settings.depth):
        found.append((found[-1] // 2 if block else found[-1]) + layers * settings.width)
    return found


def _network(settings: DenseNet3D, index: int) -> nn.Sequential:
    from monai.networks.nets.densenet import DenseNet

    whole = DenseNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        init_features=2 * settings.width,
        growth_rate=settings.width,
        block_config=settings.depth,
        dropout_prob=settings.dropout,
    ).features
    if index == len(settings.depth) - 1:
        return nn.Sequential(OrderedDict([*whole.named_children(), ("relu5", nn.ReLU())]))
    names = [name for name, _ in whole.named_children()]
    kept = list(whole.named_children())[: names.index(f"denseblock{index + 1}") + 1]
    transition = whole.get_submodule(f"transition{index + 1}")
    kept += [("norm5", transition.get_submodule("norm")), ("relu5", nn.ReLU())]
    return nn.Sequential(OrderedDict(kept))
