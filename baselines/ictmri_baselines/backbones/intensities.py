"""Maps of a volume's intensities themselves: averaged inside a mask, they are its histogram and texture."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        spread = (torch.relu(square - mean * mean) + _SMALLEST).sqrt()
        above = [torch.relu(spread - least) for least in SPREADS]
        maps = torch.cat([*bins, level, level * level, (image - mean).abs(), *above], dim=1)
        found: Tensor = self.norm(functional.avg_pool3d(maps, 2, ceil_mode=True))
        return found
