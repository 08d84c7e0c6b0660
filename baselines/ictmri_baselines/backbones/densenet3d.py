"""3D DenseNet: MONAI's, cut where F is taken."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from ictmri_baselines.backbones.base import Backbone, Size, chosen_tap
from ictmri_baselines.backbones.settings import DenseNet3D


class DenseNet3DBackbone(Backbone):
    """Stem and dense blocks; taps ``block1``, ``block2``, ... behind the blocks.

    A tap is followed by the batch normalisation and ReLU with which DenseNet goes on there: those of
    the transition, or of the end.
    """

    def __init__(self, settings: DenseNet3D) -> None:
        taps = [f"block{i + 1}" for i in range(len(settings.depth))]
        index = chosen_tap("densenet3d", taps, settings.tap)
        channels = _channels(settings, index)
        super().__init__("densenet3d", taps, taps[index], channels, stride=4 * 2**index)
        self.network = _network(settings, index)

    def grid(self, size: Sequence[int]) -> Size:
        """Return F's grid: the stem rounds up, the transitions round down."""
        stem = [-(-edge // 4) for edge in size]
        first, second, third = (edge // (self.stride // 4) for edge in stem)
        return first, second, third


def _channels(settings: DenseNet3D, index: int) -> int:
    channels = 2 * settings.width
    for block, layers in enumerate(settings.depth[: index + 1]):
        channels = (channels if block == 0 else channels // 2) + layers * settings.width
    return channels


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
