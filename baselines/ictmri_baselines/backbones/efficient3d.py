"""Efficient3D: the 3D MobileNetV2 of Kopuklu et al. 2019 (arXiv:1904.02422), from the paper's table.

Two things differ: one input channel instead of three, and a stem that halves all three axes. The paper's
clips have 16 frames, so it leaves the time axis there; a volume has no axis that is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from torch import Tensor, nn

from ictmri_baselines.backbones.base import Backbone, chosen_tap
from ictmri_baselines.backbones.settings import Efficient3D

STEM: Final = 32
HEAD: Final = 1280
"""Channels of the last 1^3 convolution; a multiplier below 1 leaves them as they are."""
EXPANSION: Final = (1, 6, 6, 6, 6, 6, 6)
CHANNELS: Final = (16, 24, 32, 64, 96, 160, 320)
STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
STAGES: Final = (0, 1, 2, 3, 5, 7)
"""Rows of the table at which a grid begins; with the stem's halving, strides 2, 4, 8, 16, 32."""


class Efficient3DBackbone(Backbone):
    """3D MobileNetV2; taps ``stage1`` to ``stage5``, each the last of its grid.

    ``stage5`` is the 1^3 convolution to 1280 channels with its ReLU6; the others are linear
    bottlenecks, which have no activation by design.
    """

    def __init__(self, settings: Efficient3D) -> None:
        taps = [f"stage{i + 1}" for i in range(len(STAGES) - 1)]
        index = chosen_tap("efficient3d", taps, settings.tap)
        rows = STAGES[index + 1]
        widths = [max(1, int(c * settings.width)) for c in (STEM, *CHANNELS)][: rows + 1]
        last = index == len(taps) - 1
        channels = _head(settings.width) if last else widths[-1]
        super().__init__("efficient3d", taps, taps[index], channels, stride=2 ** (index + 1))
        layers = [_convolution(1, widths[0], kernel=3, stride=2), *_rows(widths, settings.depth)]
        if last:
            layers.append(_convolution(widths[-1], channels, kernel=1))
        self.network = nn.Sequential(*layers)
        _initialise(self)


class InvertedResidual(nn.Module):
    """Expand by 1^3, filter each channel by 3^3, project by 1^3 without activation."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [_convolution(inputs, hidden, kernel=1)]
        self.layers = nn.Sequential(
            *expand,
            _convolution(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv3d(hidden, outputs, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's output (B, C, D, H, W); with the input added where the shapes agree."""
        output: Tensor = self.layers(features)
        return features + output if self.shortcut else output


def _head(multiplier: float) -> int:
    return max(HEAD, int(HEAD * multiplier))


def _rows(widths: Sequence[int], depth: Sequence[int]) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for row, (inputs, outputs) in enumerate(pairwise(widths)):
        for repeat in range(depth[row]):
            blocks.append(
                InvertedResidual(
                    inputs if repeat == 0 else outputs,
                    outputs,
                    stride=STRIDES[row] if repeat == 0 else 1,
                    expansion=EXPANSION[row],
                )
            )
    return blocks


def _convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU6(inplace=True),
    )


def _initialise(network: nn.Module) -> None:
    """Draw the convolutions by He et al. over the outputs, as MobileNets are."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
