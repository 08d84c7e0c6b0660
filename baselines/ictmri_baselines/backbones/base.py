"""What every backbone is to the rest: a module that yields F, and says what F is; and one's own network."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from ictmri.errors import InputError, nearest
from ictmri_baselines.backbones.settings import LAST

Size = tuple[int, int, int]
VOLUME: Final = 5
"""Dimensions of a batch of volumes and of a batch of feature maps."""


class Backbone(nn.Module):
    """A 3D network up to where the feature map F is taken; nothing behind that place is built.

    Calling it checks the input, so hooks (Grad-CAM) belong on the backbone itself: its output is F.

    Attributes:
        name: as in the registry, or the import path of one's own network.
        taps: where F could be taken, from early to late.
        tap: where it is taken.
        channels: C of F.
        stride: voxels of the input along an edge of one voxel of F.
        fills_up: whether an input is filled up with zeros to a multiple of the stride first.
        network: makes F of an input, unless ``features`` says otherwise.
    """

    fills_up = False
    network: Any

    def __init__(
        self, name: str, taps: Sequence[str], tap: str, channels: int, stride: int
    ) -> None:
        super().__init__()
        self.name = name
        self.taps = tuple(taps)
        self.tap = tap
        self.channels = channels
        self.stride = stride

    def features(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W) of an input (B, 1, d, h, w) that was checked."""
        found: Tensor = self.network(fill_up(image, self.stride) if self.fills_up else image)
        return found

    def maps(self, image: Tensor) -> Sequence[Tensor]:
        """Return what F is made of: maps (B, C_i, D_i, H_i, W_i), the finest first, of a checked input.

        F is all of them one after the other, the coarser ones repeated on the grid of the first.
        """
        return [self.features(image)]

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
    """Fill (B, 1, d, h, w) with zeros, a brain's background, at the ends up to multiples of an edge."""
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


PROBE: Final = (64, 64, 64)
"""Input of zeros on which a network is tried once, in voxels."""


class OwnBackbone(Backbone):
    """A module that takes (B, 1, d, h, w) and returns a feature map (B, C, D, H, W).

    Its feature map is taken to divide the volume evenly; ``stride`` is what the trial showed, to the
    nearest voxel, and :meth:`grid` an estimate from it.
    """

    def __init__(self, path: str, network: nn.Module, channels: int, stride: int) -> None:
        super().__init__(path, (LAST,), LAST, channels, stride)
        self.network = network

    @property
    def minimum(self) -> int:
        """Smallest edge of the input in voxels; unknown, so 1."""
        return 1

    def features(self, image: Tensor) -> Tensor:
        """Return F.

        Raises:
            InputError: the network returned anything else than (B, C, D, H, W).
        """
        features = self.network(image)
        problems = _output_problems(features, len(image), self.channels)
        if problems:
            raise InputError(
                f"backbone {self.name}", problems, "return one feature map, (B, C, D, H, W)"
            )
        found: Tensor = features
        return found

    def extent(self, size: Sequence[int]) -> Size:
        """Return ``size``."""
        first, second, third = size
        return first, second, third


def own_backbone(path: str, settings: Mapping[str, Any]) -> OwnBackbone:
    """Import ``module:Class``, make it, and try it on a volume of zeros.

    The number of channels is the module's ``channels`` where it has one, else what the trial shows.

    Args:
        path: where the class (or a function that returns a module) is.
        settings: its keyword arguments.

    Raises:
        InputError: it cannot be imported, made or used.
    """
    network = _made(path, settings)
    features = _tried(path, network)
    declared = getattr(network, "channels", None)
    channels = declared if isinstance(declared, int) else None
    problems = _output_problems(features, 1, channels)
    if problems:
        raise InputError(f"backbone {path}", problems, "return one feature map, (B, C, D, H, W)")
    stride = max(1, round(PROBE[0] / features.shape[2]))
    return OwnBackbone(path, network, int(features.shape[1]), stride)


def _made(path: str, settings: Mapping[str, Any]) -> nn.Module:
    where = f"backbone {path}"
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001  # anything can happen in a user's module
        problem = f"cannot import {module_name!r}: {_said(error)}"
        raise InputError(where, [problem], "install it, or put its folder on PYTHONPATH") from None
    maker = getattr(module, name, None)
    if not callable(maker):
        problem = f"{module_name} has no class {name!r}{nearest(name, dir(module))}"
        raise InputError(where, [problem], "give module:Class") from None
    try:
        network = maker(**settings)
    except Exception as error:  # noqa: BLE001
        problem = f"cannot make it with {dict(settings)}: {_said(error)}"
        raise InputError(where, [problem], "correct its settings") from None
    if not isinstance(network, nn.Module):
        problem = f"made a {type(network).__name__}, no torch.nn.Module"
        raise InputError(where, [problem], "give a class of modules") from None
    return network


def _tried(path: str, network: nn.Module) -> Any:
    """Return what the network makes of zeros, without leaving a trace in it or in the generators."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return network(torch.zeros(1, 1, *PROBE))
    except Exception as error:  # noqa: BLE001
        shape = (1, 1, *PROBE)
        problem = f"failed on an input of shape {shape}: {_said(error)}"
        raise InputError(
            f"backbone {path}", [problem], "take (B, 1, D, H, W) of any size"
        ) from None
    finally:
        network.train(training)


def _output_problems(features: Any, cases: int, channels: int | None) -> list[str]:
    if not isinstance(features, Tensor):
        return [f"returned a {type(features).__name__}, no tensor"]
    shape = tuple(features.shape)
    if len(shape) != VOLUME:
        return [f"returned {len(shape)} dimensions {shape}, not 5"]
    problems = []
    if shape[0] != cases:
        problems.append(f"returned {shape[0]} cases for {cases}")
    if channels is not None and shape[1] != channels:
        problems.append(f"returned {shape[1]} channels, and has {channels} by its attribute")
    if not features.is_floating_point():
        problems.append(f"returned {features.dtype}, no floating-point numbers")
    return problems


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
