"""The network: where in the brain a tumour may be, at 4 mm."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn

from ictmri_baselines.localizer.learned.channels import CHANNELS

_WIDTHS: Final = (16, 32, 64, 96)
_NARROW: Final = (4, 8)


class UNet(nn.Module):
    """A small U-Net; most of its work is on the coarser levels, where it costs least.

    ``forward`` takes (n, channels, X, Y, Z), X, Y and Z multiples of 8, and returns logits (n, 2, X, Y, Z)
    of the share of core and of whole lesion in a voxel.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        before = (channels, *widths[:-1])
        self.down = nn.ModuleList(
            _block(n, width, convolutions=1 if level == 0 else 2)
            for level, (n, width) in enumerate(zip(before, widths, strict=True))
        )
        self.pool = nn.MaxPool3d(2)
        self.widen = nn.ModuleList(
            nn.ConvTranspose3d(wide, width, 2, 2) for width, wide in pairwise(widths)
        )
        self.up = nn.ModuleList(
            _block(2 * width, width, convolutions=1 if level == 0 else 2)
            for level, width in enumerate(widths[:-1])
        )
        self.out = nn.Conv3d(widths[0], 2, 1)
        # Most voxels are no tumour: the first steps need not find that out.
        nn.init.constant_(self.out.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        levels = []
        for number, block in enumerate(self.down):
            seen = block(seen if number == 0 else self.pool(seen))
            levels.append(seen)
        for number in reversed(range(len(self.up))):
            seen = self.up[number](torch.cat([levels[number], self.widen[number](seen)], 1))
        found: torch.Tensor = self.out(seen)
        return found


def network(*, narrow: bool = False) -> UNet:
    """Return the untrained network; narrow: a tiny one to try things out."""
    made = UNet(CHANNELS, _NARROW if narrow else _WIDTHS)
    made.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return made


def _block(channels: int, width: int, *, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(convolutions):
        n = channels if number == 0 else width
        layers += [
            nn.Conv3d(n, width, 3, padding=1, bias=False),
            nn.GroupNorm(width // 4 if width < 32 else 8, width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
