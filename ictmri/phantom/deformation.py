"""Where each point of a scan comes from in the template: pose, size, shape, ventricles, mass effect.

Pull-back maps are composed on a fixed 4 mm lattice in scan space, whatever the voxel size, and
interpolated linearly from there, so that a case has the same anatomy at every spacing. Two maps are
kept: scan to *lesion space* (the subject's own anatomy, where tumours are drawn) and on to the
template (which also holds the tissue that the tumour pushed away).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ictmri.atlas.template import ORIGIN_MM
from ictmri.phantom.anatomy import HELPER_STEP, HeadMaps
from ictmri.phantom.fields import Array, interpolate, resample_axes, smooth_noise, smoothstep, steps

Doubles = npt.NDArray[np.float64]

FOV: Final = (192.0, 240.0, 192.0)
"""Field of view in mm along R, A, S."""

FOV_CENTRE: Final = (0.0, -14.0, 19.0)
"""Scan mm of its centre."""

LATTICE_STEP: Final = 4.0
_VELOCITY_STEP: Final = 8.0
_SQUARINGS: Final = 5

_STIFF_SKULL_MM: Final = 14.0
"""Tissue within this depth of the skull yields less and less to a mass."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What was drawn for a head; angles in degrees, lengths in mm.

    Attributes:
        rotation: about the R, A and S axes.
        translation: along R, A and S.
        scale: size relative to the template along R, A and S.
        wide: sd of the slow part of the random deformation.
        fine: sd of its faster part.
        folds: sd of the cortical deformation.
        ventricles: shift of the ventricular wall, positive for larger.
    """

    rotation: tuple[float, float, float]
    translation: tuple[float, float, float]
    scale: tuple[float, float, float]
    wide: float
    fine: float
    folds: float
    ventricles: float


@dataclass(frozen=True, slots=True)
class Mass:
    """A tumour seen from the tissue around it.

    Attributes:
        centre: lesion-space mm.
        radius: mm of a ball of the same volume.
        push: part of its volume that displaces tissue instead of replacing it, 0 to 1.
    """

    centre: tuple[float, float, float]
    radius: float
    push: float


def draw_shape(rng: np.random.Generator, age: float, sex: str) -> Shape:
    """Draw size and shape; heads grow until about 15 years, ventricles widen with age."""
    grown = 1 - 0.07 * float(np.exp(-max(age - 3, 0) / 4.0))
    size = grown * (1.0 if sex == "male" else 0.965) * float(rng.normal(1.0, 0.015))
    wall = -0.6 + 2.6 * max(age - 35, 0) / 50 + float(rng.normal(0, 0.6))
    rotation, translation = rng.normal(0, (4.5, 3.0, 4.0)), rng.normal(0, (2.5, 3.0, 2.5))
    scale = size * rng.normal(1.0, 0.018, 3)
    return Shape(
        rotation=_triple(np.clip(rotation, -10, 10)),
        translation=_triple(np.clip(translation, -6, 6)),
        scale=_triple(np.clip(scale, 0.86, 1.06)),
        wide=float(rng.uniform(1.5, 2.7)),
        fine=float(rng.uniform(0.5, 0.9)),
        folds=float(rng.uniform(0.9, 1.5)),
        ventricles=float(np.clip(wall, -1.5, 3.2)),
    )


def _triple(values: Doubles) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def axis_positions(spacing: float) -> list[Array]:
    """Return the scan mm of the voxel centres along R, A and S, a float32 vector for each."""
    positions = []
    for size, centre in zip(FOV, FOV_CENTRE, strict=True):
        count = round(size / spacing)
        offsets = np.arange(count, dtype=np.float64) - (count - 1) / 2
        positions.append((centre + spacing * offsets).astype(np.float32))
    return positions


def _lattice_start() -> list[float]:
    return [centre - size / 2 for size, centre in zip(FOV, FOV_CENTRE, strict=True)]


def _lattice(step: float) -> list[Array]:
    return [
        (start + step * np.arange(round(size / step) + 1)).astype(np.float32)
        for start, size in zip(_lattice_start(), FOV, strict=True)
    ]


def lattice_axes() -> list[Array]:
    """Return the scan mm of the 4 mm lattice along R, A and S, a float32 vector for each."""
    return _lattice(LATTICE_STEP)


@dataclass(frozen=True, slots=True)
class Warp:
    """Displacements on the 4 mm lattice, ``(3, a, b, c)`` float32 mm, added to the scan position.

    Attributes:
        to_lesion: scan to lesion space.
        to_template: scan to template.
    """

    to_lesion: Array
    to_template: Array

    def lesion_points(self, axes: Sequence[Array]) -> Array:
        """Return the lesion-space mm ``(3, a, b, c)`` of a grid given by its scan mm along each axis."""
        return _displaced(self.to_lesion, axes)

    def template_points(self, axes: Sequence[Array]) -> Array:
        """Return the template mm ``(3, a, b, c)`` of a grid given by its scan mm along each axis."""
        return _displaced(self.to_template, axes)


def lattice_indices(axes: Sequence[Array]) -> list[Array]:
    """Return the fractional lattice indices of scan mm along each axis."""
    return [
        (axis - np.float32(start)) / np.float32(LATTICE_STEP)
        for axis, start in zip(axes, _lattice_start(), strict=True)
    ]


def _displaced(displacement: Array, axes: Sequence[Array]) -> Array:
    points = resample_axes(displacement, lattice_indices(axes))
    for component, axis in enumerate(axes):
        points[component] += axis.reshape([-1 if i == component else 1 for i in range(3)])
    return points


@dataclass(frozen=True, slots=True)
class Pose:
    """The part of the warp that does not depend on the tumour, on the 4 mm lattice.

    Attributes:
        scan: scan mm, ``(3, a, b, c)``.
        lesion: lesion-space mm at the same lattice points.
        folds: cortical displacement in mm.
        ventricles: shift of the ventricular wall in mm.
    """

    scan: Array
    lesion: Array
    folds: Array
    ventricles: float


def draw_pose(rng: np.random.Generator, shape: Shape) -> Pose:
    """Draw the random deformation of a head of the given shape."""
    scan = np.stack(np.meshgrid(*lattice_axes(), indexing="ij")).astype(np.float32)
    moved = scan + _diffeomorphism(rng, shape)
    folds = np.float32(shape.folds) * smooth_noise(rng, scan.shape, 1.4)
    return Pose(scan, _rigid_back(moved, shape), folds, shape.ventricles)


def _diffeomorphism(rng: np.random.Generator, shape: Shape) -> Array:
    """Integrate a random stationary velocity by scaling and squaring (Arsigny et al. 2006)."""
    coarse = _lattice(_VELOCITY_STEP)
    grid = (3, *(len(axis) for axis in coarse))
    velocity = np.float32(shape.wide) * smooth_noise(rng, grid, 4.0)
    velocity += np.float32(shape.fine) * smooth_noise(rng, grid, 2.0)
    flow = velocity / np.float32(_VELOCITY_STEP * 2**_SQUARINGS)
    identity = np.indices(grid[1:], dtype=np.float32)
    for _ in range(_SQUARINGS):
        at = identity + flow
        flow = flow + np.stack([interpolate(component, at) for component in flow])
    indices = [steps(len(axis), _VELOCITY_STEP / LATTICE_STEP) for axis in lattice_axes()]
    return resample_axes(flow * np.float32(_VELOCITY_STEP), indices)


def _rigid_back(points: Array, shape: Shape) -> Array:
    """Undo pose and size: scan mm to template-aligned mm."""
    rotation = rotation_matrix(shape.rotation)
    pivot = np.array((0.0, -18.0, 0.0))
    centred = [points[i] - np.float32(pivot[i] + shape.translation[i]) for i in range(3)]
    aligned = []
    for i in range(3):
        turned = sum(np.float32(rotation[j, i]) * centred[j] for j in range(3))
        aligned.append(turned / np.float32(shape.scale[i]) + np.float32(pivot[i]))
    return np.stack(aligned).astype(np.float32)


def rotation_matrix(degrees: Sequence[float] | Doubles) -> Doubles:
    """Return the rotation (3, 3) about x, then y, then z by the given angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        # A sum instead of a product of matrices: BLAS may round otherwise on another machine.
        matrix = (turn[:, :, None] * matrix[None, :, :]).sum(axis=1)
    return matrix


def warp(pose: Pose, masses: Sequence[Mass], atlas: HeadMaps) -> Warp:
    """Compose the pull-back maps of a head with its tumours."""
    at = pose.lesion
    for mass in masses:
        at = push_back(at, mass, atlas)
    origin = np.array(ORIGIN_MM, dtype=np.float32).reshape(3, 1, 1, 1)
    index = (at - origin) / np.float32(HELPER_STEP)
    pull = np.stack([interpolate(component, index) for component in atlas.ventricle_pull])
    depth = interpolate(atlas.depth, index)
    folds = pose.folds * smoothstep(depth, 0.0, 6.0)
    end = at + np.float32(pose.ventricles) * pull + folds
    return Warp(pose.lesion - pose.scan, end - pose.scan)


def push_back(points: Array, mass: Mass, atlas: HeadMaps) -> Array:
    """Move points ``(3, ...)`` mm back to where their tissue was before a mass grew.

    Tissue around the mass is incompressible: a shell keeps its volume, so the cubes of radii are what
    adds up. Near the skull it yields less.
    """
    centre = np.array(mass.centre, dtype=np.float32).reshape(3, 1, 1, 1)
    offset = points - centre
    r = np.maximum(np.sqrt((offset**2).sum(axis=0)), np.float32(1e-3))
    added = np.float32(mass.push * mass.radius**3)
    outside = np.cbrt(np.maximum(r**3 - added, 0))
    shrunk = r * np.float32(np.cbrt(1 - mass.push))
    shift = r - np.where(r < mass.radius, shrunk, outside)
    index = (points - np.array(ORIGIN_MM, dtype=np.float32).reshape(3, 1, 1, 1)) / np.float32(
        HELPER_STEP
    )
    depth = interpolate(atlas.depth, index)
    shift *= smoothstep(depth, 0.0, _STIFF_SKULL_MM)
    return np.asarray(points - offset * (shift / r), dtype=np.float32)
