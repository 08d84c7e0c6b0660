"""What the network sees: the evidence of :mod:`..classical.evidence`, cut to the brain, at 4 mm."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from ictmri_baselines.localizer.classical.evidence import Evidence, from_deep, from_ventricles
from ictmri_baselines.localizer.classical.grid_2mm import Field, Mask, places

Levels = npt.NDArray[np.int8]

CROP: Final = (slice(8, 88), slice(10, 106), slice(2, 82))
"""Of the 2 mm grid: what holds the template's brain; 80, 96 and 80 voxels."""
CROPPED: Final = (80, 96, 80)
STEP: Final = np.float32(0.05)
"""Spreads of white matter a stored level: fields are clipped to 6.35 of them either way."""
FIELDS: Final = ("bright", "dark", "local", "mirror_bright", "mirror_dark", "unlike")
PEAKS: Final = 5
"""So many of the first fields are seen by their largest value in a block, too."""
N_FIELDS: Final = len(FIELDS) + 2
N_PLACES: Final = 5
CHANNELS: Final = N_FIELDS + PEAKS + N_PLACES


def fields_of(seen: Evidence) -> Levels:
    """Return the evidence, the intensity and the depth (8, 80, 96, 80) as int8 of :data:`STEP`."""
    level = np.where(seen.mask, (seen.image - seen.white) / seen.spread, -99)
    depth = seen.depth / 4 - 3
    found = [getattr(seen, name) for name in FIELDS] + [level, depth]
    stacked = np.stack([field[CROP] for field in found])
    return np.rint(np.clip(stacked / STEP, -127, 127)).astype(np.int8)


@lru_cache(maxsize=1)
def place_fields() -> Field:
    """Return where a voxel lies, (5, 80, 96, 80): ventricles, deep structures, |x|, y, z; about 1."""
    x, y, z = places()
    found = (
        np.minimum(from_ventricles(), 40) / 20 - 1,
        np.minimum(from_deep(), 60) / 30 - 1,
        np.abs(x) / 40 - 1,
        (y + 18) / 50,
        (z - 8) / 40,
    )
    return np.ascontiguousarray(np.stack([f[CROP] for f in found]), dtype=np.float32)


def channels_of(fields: Levels) -> Field:
    """Return means and largest values in blocks of 4 mm, and the place: (18, 40, 48, 40) float32."""
    found = fields.astype(np.float32) * STEP
    peaks = np.maximum.reduce(_corners(found[:PEAKS]))
    return np.concatenate([_means(found), peaks, _places()])


@lru_cache(maxsize=1)
def _places() -> Field:
    return _means(place_fields())


def shares(mask: Mask) -> Field:
    """Return the share of a mask on the cropped grid in each block of 4 mm, (..., 40, 48, 40)."""
    return _means(mask.astype(np.float32))


def _corners(values: Field) -> list[Field]:
    """Return the eight voxels of each block of two by two by two."""
    return [values[..., x::2, y::2, z::2] for x, y, z in itertools.product((0, 1), repeat=3)]


def _means(values: Field) -> Field:
    return np.asarray(sum(_corners(values), np.float32(0)) / np.float32(8), dtype=np.float32)


def uncropped(values: Field, shape: tuple[int, ...]) -> Field:
    """Return a field of the cropped grid on the whole 2 mm grid, 0 outside."""
    found = np.zeros(shape, dtype=np.float32)
    found[CROP] = values
    return found
