"""What a scanner does to the signal: slice profile, ghost, shading, noise, integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.phantom.deformation import FOV, FOV_CENTRE
from ictmri.phantom.fields import Array, resample_axes, smooth_noise

_BIAS_STEP: Final = 24.0
"""mm between the points on which the coil's shading is drawn."""

_FULL: Final = 32000
"""Largest value written: inside int16."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """How a scan was made.

    Attributes:
        white: value of white matter in the file.
        bias: sd of the log of the multiplicative shading.
        noise: sd of the noise in each channel, relative to white matter.
        blur: sd in mm of the point spread along R, A and S.
        ghost: strength of the half-field ghost along A.
    """

    white: float
    bias: float
    noise: float
    blur: tuple[float, float, float]
    ghost: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a scanner; a quarter of the scans have thick slices."""
    in_plane = float(rng.uniform(0.35, 0.65))
    slices = float(rng.uniform(1.0, 1.7)) if rng.random() < 0.25 else in_plane
    return Scanner(
        white=float(rng.uniform(380, 620)),
        bias=float(rng.uniform(0.05, 0.14)),
        noise=float(rng.uniform(0.012, 0.035)),
        blur=(in_plane, in_plane, slices),
        ghost=float(rng.uniform(0.0, 0.012)),
    )


def acquire(
    rng: np.random.Generator, scanner: Scanner, signal: Array, axes: Sequence[Array]
) -> npt.NDArray[np.int16]:
    """Return the scan, (X, Y, Z) int16, of a signal volume in which white matter is 1.

    Noise is Rician (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618).
    """
    spacing = float(axes[0][1] - axes[0][0])
    field = ndimage.gaussian_filter(signal, [sigma / spacing for sigma in scanner.blur])
    field *= _shading(rng, scanner.bias, axes)
    field += np.float32(scanner.ghost) * np.roll(field, field.shape[1] // 2, axis=1)
    noise = np.float32(scanner.noise)
    field += noise * rng.standard_normal(field.shape, dtype=np.float32)
    other = noise * rng.standard_normal(field.shape, dtype=np.float32)
    magnitude = np.sqrt(field * field + other * other) * np.float32(scanner.white)
    return np.asarray(np.clip(np.rint(magnitude), 0, _FULL), dtype=np.int16)


def _shading(rng: np.random.Generator, sd: float, axes: Sequence[Array]) -> Array:
    """Return a smooth gain of mean about 1: receive coils see some regions better."""
    shape = [round(size / _BIAS_STEP) + 1 for size in FOV]
    log_gain = np.float32(sd) * smooth_noise(rng, shape, 2.2)
    indices = [
        (axis - np.float32(centre - size / 2)) / np.float32(_BIAS_STEP)
        for axis, size, centre in zip(axes, FOV, FOV_CENTRE, strict=True)
    ]
    return np.exp(resample_axes(log_gain - log_gain.mean(), indices)).astype(np.float32)
