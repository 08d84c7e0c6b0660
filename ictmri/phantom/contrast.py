"""Signal of a T1-weighted scan after contrast, before a scanner spoils it; white matter is 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ictmri.atlas.template import ORIGIN_MM
from ictmri.phantom.anatomy import CORTEX_MM, SHELL_SCALE, TISSUE_SCALE, Bytes, HeadMaps
from ictmri.phantom.fields import Array, Texture, interpolate, smoothstep

_TUBE_WIDTH: Final = 0.13
"""Half-width of a small vessel in units of the random fields whose zeros it follows."""

_BRAIN_CENTRE: Final = (0.0, -18.0, 8.0)
_SPHERE_MM: Final = 70.0
"""MNI mm from which, and mm of radius at which, a head's own sulci are laid out."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """What a scan's tissues look like.

    Attributes:
        fluid: cerebrospinal fluid.
        grey: cortex.
        vessel: blood after contrast.
        gland: tissue without a blood-brain barrier.
        fat: gain of the scalp's fat.
        shell: gain of everything else outside the brain.
        crispness: 0 leaves the template's soft grey-white border, 1 makes it sharp.
        atrophy: shift of the border between fluid and cortex, in tissue classes.
        small_vessels: strength of sulcal vessels, 0 to 1.
        speckle: sd of the tissue's own texture.
        gyrus: mm that tells how far this head's own sulci are apart.
        gap: half-width of these sulci in mm.
    """

    fluid: float
    grey: float
    vessel: float
    gland: float
    fat: float
    shell: float
    crispness: float
    atrophy: float
    small_vessels: float
    speckle: float
    gyrus: float
    gap: float


def draw_contrast(rng: np.random.Generator, age: float) -> Contrast:
    """Draw the contrast of a scan; sulci widen with age."""
    aged = max(age - 40, 0) / 45
    return Contrast(
        fluid=float(rng.uniform(0.20, 0.34)),
        grey=float(rng.uniform(0.72, 0.86)),
        vessel=float(rng.uniform(1.45, 2.1)),
        gland=float(rng.uniform(1.2, 1.6)),
        fat=float(rng.uniform(1.0, 1.6)),
        shell=float(rng.uniform(0.75, 1.05)),
        crispness=float(rng.uniform(0.35, 0.9)),
        atrophy=float(np.clip(0.05 + 0.22 * aged + rng.normal(0, 0.05), -0.05, 0.35)),
        small_vessels=float(rng.uniform(0.45, 1.0)),
        speckle=float(rng.uniform(0.010, 0.022)),
        gyrus=float(rng.uniform(6.5, 9.5)),
        gap=float(rng.uniform(0.3, 0.8)),
    )


def sample(volume: Bytes, points: Array) -> Array:
    """Read a template map at ``(3, ...)`` template mm, linearly; beyond the edges the edge goes on."""
    index = points - np.array(ORIGIN_MM, dtype=np.float32).reshape(3, *[1] * (points.ndim - 1))
    return interpolate(volume, index)


def head_signal(
    rng: np.random.Generator, atlas: HeadMaps, contrast: Contrast, points: Array
) -> Array:
    """Return the signal (n,) of a head without tumours at template points ``(3, n)`` in mm."""
    signal = _shell_signal(atlas, contrast, points)
    brain = sample(atlas.brain, points) / np.float32(255)
    vessels = _sparse(atlas.vessels, atlas.near_vessels, points)
    within = np.flatnonzero(brain)
    inside, small = _brain_signal(rng, atlas, contrast, points[:, within])
    signal[within] += brain[within] * (inside - signal[within])
    vessels[within] = np.maximum(vessels[within], small * smoothstep(brain[within], 0.3, 0.9))
    glands = _sparse(atlas.glands, atlas.near_glands, points)
    for weight, bright in ((glands, contrast.gland), (vessels, contrast.vessel)):
        signal += weight * np.maximum(np.float32(bright) - signal, 0)
    return signal


def _sparse(volume: Bytes, near: npt.NDArray[np.bool_], points: Array) -> Array:
    """Return the weight that a map of mostly zeros has at points ``(3, n)``; only near ones are read."""
    nearest = np.rint(points - np.array(ORIGIN_MM, dtype=np.float32).reshape(3, 1)).astype(np.int16)
    for row, size in zip(nearest, volume.shape, strict=True):
        np.clip(row, 0, size - 1, out=row)
    weight = np.zeros(points.shape[1], dtype=np.float32)
    found = np.flatnonzero(near[tuple(nearest)])
    weight[found] = sample(volume, points[:, found]) / np.float32(255)
    return weight


def _shell_signal(atlas: HeadMaps, contrast: Contrast, points: Array) -> Array:
    shell = sample(atlas.shell, points) / np.float32(SHELL_SCALE)
    fat = np.float32(contrast.fat - contrast.shell) * smoothstep(shell, 0.75, 1.2)
    return shell * (np.float32(contrast.shell) + fat)


def _brain_signal(
    rng: np.random.Generator, atlas: HeadMaps, contrast: Contrast, points: Array
) -> tuple[Array, Array]:
    """Return the signal inside the brain cavity and the weight of its small vessels."""
    tissue = sample(atlas.tissue, points) / np.float32(TISSUE_SCALE)
    cortex = sample(atlas.cortex, points) / np.float32(255)
    zone = smoothstep(cortex, 0.05, 0.5)
    tissue = tissue - np.float32(contrast.atrophy) * zone * smoothstep(tissue, 2.6, 2.1)
    tissue = _own_sulci(rng, contrast, points, tissue, cortex)
    signal = _tissue_signal(contrast, tissue)
    for correlation in (1.6, 9.0):
        grain = Texture.draw(rng, correlation).at(points)
        signal *= 1 + np.float32(contrast.speckle) * grain
    return signal, _small_vessels(rng, contrast, points, tissue)


def _tissue_signal(contrast: Contrast, tissue: Array) -> Array:
    """Map the tissue class to signal; crispness steepens the grey-white border."""
    half = 0.5 - 0.36 * contrast.crispness
    middle = (contrast.grey + 1) / 2
    slope = 0.06 * (1 - contrast.grey)
    grey, fluid = contrast.grey, contrast.fluid
    knots = (0.0, 1.0, 1.15, 1.85, 2.5 - half, 2.5, 2.5 + half, 3.2)
    levels = (0.0, fluid, fluid + 0.05, grey - 0.02, grey + slope, middle, 1 - slope, 1.02)
    return np.interp(tissue, knots, levels).astype(np.float32)


def _own_sulci(
    rng: np.random.Generator, contrast: Contrast, points: Array, tissue: Array, cortex: Array
) -> Array:
    """Fold the cortex in a way that only this head has.

    A random field on a sphere around the brain vanishes along curves; carried inwards these are
    sheets, and become sulci: fluid in the middle, grey matter on both sides, down to a random depth.
    """
    zone = np.flatnonzero(cortex)
    at, weight, flat = points[:, zone], cortex[zone], tissue[zone]
    offset = at - np.array(_BRAIN_CENTRE, np.float32).reshape(3, 1)
    surface = offset * (np.float32(_SPHERE_MM) / (np.sqrt((offset**2).sum(axis=0)) + 1))
    wander = Texture.draw(rng, 9.0).at(at)
    course = Texture.draw(rng, contrast.gyrus).at(surface) + np.float32(0.25) * wander
    apart = np.abs(course) * np.float32(contrast.gyrus)
    floor = 11 + 3 * Texture.draw(rng, 14.0).at(surface) + 2 * wander
    is_open = smoothstep(np.float32(CORTEX_MM) * (1 - weight) - floor, 1.0, -3.0)
    gap = contrast.gap + 0.8 * contrast.atrophy
    fluid = smoothstep(apart, 0.4 + gap, gap - 0.4) * is_open
    folded = np.minimum(flat, 2 + smoothstep(apart + 3 * (1 - is_open), 1.8, 3.6))
    tissue[zone] = folded - fluid * np.maximum(folded - np.float32(1.2), 0)
    return tissue


def _small_vessels(
    rng: np.random.Generator, contrast: Contrast, points: Array, tissue: Array
) -> Array:
    """Return the weight of small vessels: curves where two random fields vanish, in the sulci."""
    fields = Texture.draw(rng, 7.0), Texture.draw(rng, 7.0)
    weight = smoothstep(tissue, 2.3, 1.9) * smoothstep(tissue, 0.9, 1.2)
    sulci = np.flatnonzero(weight)
    first, second = (field.at(points[:, sulci]) for field in fields)
    near = np.exp(-(first**2 + second**2) / np.float32(_TUBE_WIDTH**2))
    weight[sulci] = np.float32(contrast.small_vessels) * near * weight[sulci]
    return weight
