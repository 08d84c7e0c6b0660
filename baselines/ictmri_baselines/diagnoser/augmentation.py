"""The paper's four augmentations, drawn as numbers first and then applied to volume and prior alike.

Everything random is a function of the seed, the epoch and the case, so that a draw does not depend on
what was drawn before it: a resumed training, another number of devices, another order of the cases see
the same variants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ictmri_baselines.settings import CheckedSettings

Probability = Annotated[float, Field(ge=0, le=1)]

_BANK: Final = 4
"""Volumes of noise that are held: 14 MB for cubes of 96 voxels."""

_SAGITTAL: Final = 0
_AXIAL: Final = (0, 1)


class Augmentation(CheckedSettings):
    """What is changed at random about a training case, and how often (section 5 of the paper).

    The spatial changes are the same for volume and prior; noise and gamma change the volume alone.

    Attributes:
        flip_probability: of mirroring left and right.
        turn_probability: of a rotation in the axial plane by 90, 180 or 270 degrees, each as likely as
            the others (the paper does not say which of them). The input is a cube, so its shape stays.
        noise_probability: of Gaussian noise on every voxel.
        noise_sd: its standard deviation, in robust standard deviations of the brain.
        gamma_probability: of a gamma correction.
        gamma: the range that its exponent is drawn from, uniformly.
        shift: largest shift along each axis in voxels, drawn uniformly. The paper has none; a region
            cut around a prior should not be learned at one place only.
    """

    flip_probability: Probability = 0.5
    turn_probability: Probability = 0.5
    noise_probability: Probability = 0.15
    noise_sd: Annotated[float, Field(ge=0)] = 0.01
    gamma_probability: Probability = 0.15
    gamma: tuple[float, float] = (0.9, 1.1)
    shift: Annotated[int, Field(ge=0, le=256)] = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """One random variant of a case.

    Attributes:
        shift: voxels along each axis from the first possible place of the window.
        flip: left and right are swapped, before the turns.
        turns: quarter turns in the axial plane, as :func:`numpy.rot90` counts them, 0 to 3.
        noise_seed: seed of the noise; None: no noise.
        gamma: exponent; 1 leaves the intensities as they are.
    """

    shift: tuple[int, int, int] = (0, 0, 0)
    flip: bool = False
    turns: int = 0
    noise_seed: int | None = None
    gamma: float = 1.0


def draw(settings: Augmentation, rng: np.random.Generator) -> Variant:
    """Draw a variant."""
    first, second, third = rng.integers(0, 2 * settings.shift + 1, size=3).tolist()
    flips, turns, noisy, gammas = rng.random(4).tolist()
    quarter, seed, exponent = rng.integers(1, 4), rng.integers(2**63), rng.uniform(*settings.gamma)
    return Variant(
        shift=(first, second, third),
        flip=flips < settings.flip_probability,
        turns=int(quarter) if turns < settings.turn_probability else 0,
        noise_seed=int(seed) if noisy < settings.noise_probability else None,
        gamma=float(exponent) if gammas < settings.gamma_probability else 1.0,
    )


def place(source: Tensor, variant: Variant, out: Tensor) -> None:
    """Write the variant's window of a volume, mirrored and turned, into a buffer.

    Args:
        source: (X, Y, Z) of any dtype, at least as large as ``out`` plus the shift.
        variant: where the window lies and how it is turned; intensities are left alone.
        out: (s, s, s) float32.
    """
    edge = out.shape[0]
    first, second, third = variant.shift
    window = source[first : first + edge, second : second + edge, third : third + edge]
    if variant.flip:
        window = window.flip(_SAGITTAL)
    if variant.turns:
        window = torch.rot90(window, variant.turns, _AXIAL)
    out.copy_(window)


def recolour(image: Tensor, variant: Variant, noise_sd: float, scratch: Tensor) -> None:
    """Change a standardised volume's intensities in place: noise, then gamma.

    Gamma of a signed intensity x, counted in robust standard deviations from the brain's median, is
    sign(x) |x|^gamma: the median, the background (0) and the voxels one deviation away keep their
    values, and what is brighter or darker than these comes closer to them or moves away.

    Args:
        image: (s, s, s) float32.
        variant: the noise's seed and the exponent.
        noise_sd: standard deviation of the noise.
        scratch: a buffer of the same shape and dtype.
    """
    if variant.noise_seed is not None:
        image.add_(_noise(image, variant.noise_seed), alpha=noise_sd)
    if variant.gamma != 1:
        torch.abs(image, out=scratch)
        scratch.pow_(variant.gamma)
        torch.copysign(scratch, image, out=image)


def _noise(image: Tensor, seed: int) -> Tensor:
    """Return standard normal noise for a volume: a window, at a random place, on values made once.

    Drawing the values anew took a third of the time of all that loading does.
    """
    count = image.numel()
    start = seed % ((_BANK - 1) * count + 1)
    return _bank(count)[start : start + count].view_as(image)


@lru_cache(maxsize=1)
def _bank(count: int) -> Tensor:
    return torch.randn(_BANK * count, generator=torch.Generator().manual_seed(0))
