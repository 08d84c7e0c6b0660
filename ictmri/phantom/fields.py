"""Smooth random fields and the two samplers that everything else is made of.

Positions are ``(3, ...)`` float32 arrays in mm, RAS+. All functions are deterministic: no BLAS, no
threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]

_TEXTURE_CELLS: Final = 32
_TEXTURE_SIGMA: Final = 1.6
"""Texture lattice: wide enough that the period is not seen, smooth enough for linear sampling."""


@dataclass(frozen=True, slots=True)
class Texture:
    """A periodic Gaussian random field of zero mean and unit variance.

    Attributes:
        lattice: one period, float32.
        cell: mm between lattice points.
    """

    lattice: Array
    cell: float

    @classmethod
    def draw(cls, rng: np.random.Generator, correlation: float) -> Texture:
        """Draw a field whose Gaussian correlation kernel has sigma ``correlation`` in mm."""
        noise = rng.standard_normal((_TEXTURE_CELLS,) * 3, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, _TEXTURE_SIGMA, mode="wrap")
        smooth -= smooth.mean(dtype=np.float64)
        smooth /= smooth.std(dtype=np.float64)
        return cls(smooth.astype(np.float32), correlation / _TEXTURE_SIGMA)

    def at(self, points: Array) -> Array:
        """Return the field at ``points``, shape ``points.shape[1:]``."""
        return interpolate(self.lattice, points / np.float32(self.cell), mode="grid-wrap")


def interpolate(
    volume: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
    indices: Array,
    *,
    mode: Literal["nearest", "grid-wrap"] = "nearest",
) -> Array:
    """Read a volume linearly at fractional voxel indices ``(3, ...)``, as float32."""
    values = ndimage.map_coordinates(volume, indices, np.float32, order=1, mode=mode)
    return np.asarray(values, dtype=np.float32)


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> Array:
    """Return float32 noise of unit variance on a grid ``shape``, smoothed by ``sigma`` steps of it."""
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, (*[0] * (len(shape) - 3), *[sigma] * 3), mode="reflect")
    return np.asarray(smooth / smooth.std(dtype=np.float64), dtype=np.float32)


def resample_axes(values: Array, indices: Sequence[Array]) -> Array:
    """Interpolate linearly along the last three axes at separable positions.

    Args:
        values: ``(..., a, b, c)``.
        indices: for each axis the fractional indices to read, clamped to the grid.
    """
    for axis, index in enumerate(indices, start=values.ndim - 3):
        size = values.shape[axis]
        clamped = np.clip(index, 0, size - 1).astype(np.float32)
        low = np.minimum(clamped.astype(np.intp), max(size - 2, 0))
        shape = [1] * values.ndim
        shape[axis] = len(low)
        weight = (clamped - low).astype(np.float32).reshape(shape)
        below = np.take(values, low, axis=axis)
        values = below + weight * (
            np.take(values, np.minimum(low + 1, size - 1), axis=axis) - below
        )
    return values


def steps(count: int, stride: float) -> Array:
    """Return the fractional indices at which a grid ``stride`` times coarser is read ``count`` times."""
    return (np.arange(count) / stride).astype(np.float32)


def sigmoid(values: Array) -> Array:
    """Return the logistic function, safe for large arguments."""
    return np.asarray(0.5 + 0.5 * np.tanh(np.float32(0.5) * values), dtype=np.float32)


def smoothstep(values: Array, low: float, high: float) -> Array:
    """Return 0 at ``low``, 1 at ``high`` and a smooth rise between (or fall where low > high)."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
