"""What every backbone is to the rest: a module that yields F, and says what F is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from ictmri.errors import InputError, nearest
from ictmri_baselines.backbones.settings import LAST

Size = tuple[int, int, int]
VOLUME: Final = 5
"""Dimensions of a batch of volumes and of a batch of feature maps."""


class Backbone(nn.Module, ABC):
    """A 3D network up to where the feature map F is taken; nothing behind that place is built.

    Calling it checks the input, so hooks (Grad-CAM) belong on the backbone itself: its output is F.

    Attributes:
        name: as in the registry, or the import path of one's own network.
        taps: where F could be taken, from early to late.
        tap: where it is taken.
        channels: C of F.
        stride: voxels of the input along an edge of one voxel of F.
    """

    def __init__(
        self, name: str, taps: Sequence[str], tap: str, channels: int, stride: int
    ) -> None:
        super().__init__()
        self.name = name
        self.taps = tuple(taps)
        self.tap = tap
        self.channels = channels
        self.stride = stride

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """Return F of an input that was checked."""

    def forward(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W) of ``image`` (B, 1, d, h, w).

        Raises:
            InputError: not a batch of volumes of one channel, or an edge below the minimum.
        """
        self.check(image)
        return self.features(image)

    @property
    def minimum(self) -> int:
        """Smallest edge of the input in voxels: one voxel of F."""
        return self.stride

    def check(self, image: Tensor) -> None:
        """Refuse an input that the network cannot take.

        Raises:
            InputError: with every reason.
        """
        problems = _shape_problems(image, self.minimum)
        if problems:
            step = f"give (B, 1, D, H, W), every edge at least {self.minimum} voxels"
            raise InputError(f"input of {self.name}", problems, step)

    def grid(self, size: Sequence[int]) -> Size:
        """Return F's grid for an input of ``size`` voxels."""
        first, second, third = (-(-edge // self.stride) for edge in size)
        return first, second, third

    def extent(self, size: Sequence[int]) -> Size:
        """Return the voxels that F's grid spans, counted on the input's grid from its first voxel.

        More than ``size`` where the network fills up; where it leaves the last ones out, ``size``, so
        that no voxel of a prior is lost.
        """
        pairs = zip(self.grid(size), size, strict=True)
        first, second, third = (max(edge, cells * self.stride) for cells, edge in pairs)
        return first, second, third

    def own_loss(self, image: Tensor, features: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return what the network adds to the classifier's loss, its weight included; None: nothing.

        Args:
            image: (B, 1, d, h, w) the input.
            features: F of that input.
        """
        return None


def chosen_tap(backbone: str, taps: Sequence[str], tap: str) -> int:
    """Return the index of a tap; ``last`` is the last.

    Raises:
        InputError: there is no such tap.
    """
    if tap == LAST:
        return len(taps) - 1
    if tap not in taps:
        problem = f"no tap {tap!r}{nearest(tap, taps)}"
        raise InputError(f"backbone {backbone}", [problem], f"take {LAST} or {', '.join(taps)}")
    return list(taps).index(tap)


def fill_up(image: Tensor, multiple: int) -> Tensor:
    """Add zeros (the background of a brain) behind the last voxels, up to a multiple of an edge."""
    missing = [-edge % multiple for edge in image.shape[2:]]
    if not any(missing):
        return image
    return nn.functional.pad(image, [n for edge in reversed(missing) for n in (0, edge)])


def _shape_problems(image: Tensor, minimum: int) -> list[str]:
    shape = tuple(image.shape)
    if len(shape) != VOLUME:
        return [f"{len(shape)} dimensions {shape}, not 5"]
    problems = [] if shape[1] == 1 else [f"{shape[1]} channels, not 1"]
    small = [str(edge) for edge in shape[2:] if edge < minimum]
    if small:
        problems.append(f"edge of {', '.join(small)} voxels, the smallest is {minimum}")
    return problems
