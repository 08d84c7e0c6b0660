"""Synthetic heads to learn from: the phantom's generator, drawn far wider than the phantom itself.

A head lies on the template's 2 mm grid as a processed scan does; what registration leaves is part of its
pose. Tumours of every look and size grow anywhere, or at the phantom's deep sites; what a detector must
not take for one (vessels, plexus, glands, cysts, lacunes, cavities of an operation) is drawn beside them,
in the spirit of SynthSeg (Billot et al. 2023, doi:10.1016/j.media.2023.102789).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import ndimage

from ictmri.atlas.template import ORIGIN_MM, SHAPE, SPACING_MM
from ictmri.atlas.template import template as atlas_template
from ictmri.phantom import anatomy, deformation, rendering, scanner
from ictmri.phantom import contrast as contrasts
from ictmri.phantom.fields import Array, smooth_noise
from ictmri.phantom.lesions import CAVITY, CORE, FLUID_SITES, OEDEMA, Ellipsoid, Lesion, shaped
from ictmri.phantom.phenotypes import PHENOTYPES
from ictmri_baselines.localizer.classical.grid_2mm import SCAN_SMOOTH_MM, Field, Mask, smoothed
from ictmri_baselines.processor.intensity import standardised

Rng = np.random.Generator
Point = tuple[float, float, float]

TUMOUR_FREE: Final = 0.1
"""Share of heads without a tumour."""
_AXES: Final = [
    (start + SPACING_MM * np.arange(n)).astype(np.float32)
    for start, n in zip(ORIGIN_MM, SHAPE, strict=True)
]

_NUMBERS: Final[dict[str, list[float]]] = {
    "infiltration": [0.0, 0.15],
    "texture": [0.02, 0.18],
    "mottle": [0.02, 0.22],
    "irregularity": [0.06, 0.34],
    "edge": [0.5, 2.0],
    "rim": [0.0, 0.0],
    "cysts": [0.0, 0.1],
    "cavity_level": [0.25, 0.75],
    "patches": [0.0, 0.0],
    "patch_level": [1.2, 2.0],
    "calcified": [0.0, 0.05],
    "oedema": [0.0, 26.0],
    "push": [0.1, 0.9],
    "oedema_depth": [0.05, 0.4],
}
_WIDE_LOOKS: Final[dict[str, dict[str, list[float]]]] = {
    "enhancing": {"level": [1.1, 2.6], "irregularity": [0.06, 0.28]},
    "ring": {"level": [1.2, 2.6], "rim": [1.2, 6.0], "cavity_level": [0.3, 0.85]},
    "patchy": {"level": [0.55, 0.95], "infiltration": [0.0, 0.4], "patches": [0.08, 0.5],
               "patch_level": [1.15, 2.2], "edge": [0.8, 3.0]},
    "dark": {"level": [0.38, 0.82], "infiltration": [0.0, 0.5], "edge": [0.8, 4.0],
             "oedema": [0.0, 6.0]},
    "cystic": {"level": [0.9, 1.8], "cysts": [0.1, 0.5], "cavity_level": [0.25, 0.6]},
}  # fmt: skip
"""What differs from :data:`_NUMBERS`; the names' meanings are in the phantom's ``phenotypes.yaml``."""
_WIDE_SHARES: Final = (0.26, 0.3, 0.16, 0.18, 0.1)
_ML: Final = (0.3, 150.0)

_BENIGN: Final[dict[str, list[float]]] = {
    **_NUMBERS, "texture": [0.0, 0.05], "mottle": [0.0, 0.05], "edge": [0.4, 1.0], "cysts": [0.0, 0.0],
    "calcified": [0.0, 0.0], "oedema": [0.0, 0.0], "oedema_depth": [0.0, 0.0],
    "irregularity": [0.05, 0.2],
}  # fmt: skip
_BRIGHT: Final = (1.1, 2.4)
_PLACES: Final[dict[str, tuple[Point, float, tuple[float, float], bool, float]]] = {
    "pituitary": ((0, 2, -31), 1.5, (0.1, 1.2), False, 0.5),
    "pineal": ((0, -31, 3), 1.5, (0.03, 0.4), False, 0.4),
    "plexus": ((24, -41, 9), 2.5, (0.1, 1.2), True, 0.45),
    "plexus of the body": ((12, -20, 18), 3.0, (0.03, 0.2), True, 0.25),
    "plexus of the fourth ventricle": ((2, -49, -38), 1.5, (0.03, 0.2), True, 0.25),
    "cavernous sinus": ((15, -1, -31), 2.0, (0.2, 1.6), True, 0.5),
    "great vein": ((0, -43, 9), 2.0, (0.05, 0.4), False, 0.4),
    "torcula": ((0, -100, -11), 3.0, (0.3, 2.5), False, 0.4),
    "transverse sinus": ((40, -84, -27), 6.0, (0.2, 2.0), True, 0.5),
    "sigmoid sinus": ((54, -46, -38), 4.0, (0.3, 2.5), True, 0.5),
    "sagittal sinus": ((0, -30, 80), 12.0, (0.2, 1.5), False, 0.3),
    "middle cerebral artery": ((42, 0, -10), 6.0, (0.03, 0.2), True, 0.4),
    "basilar artery": ((0, -18, -24), 1.5, (0.05, 0.25), False, 0.4),
}
"""What enhances without a tumour: centre, its sd in mm, ml, whether on both sides, and how often."""


@dataclass(frozen=True, slots=True)
class Head:
    """A synthetic head as the localizer sees a processed scan, with its truth; 2 mm grid.

    Attributes:
        image: standardised, smoothed, 0 outside the mask.
        mask: of the brain, as well or badly as a tool finds it.
        core: of the tumours, solid part and cavities.
        whole: core and oedema.
    """

    image: Field
    mask: Mask
    core: Mask
    whole: Mask


def wide_head(seed: int, index: int, *, tumour_free: bool | None = None) -> Head:
    """Draw a head; seed and index fix every byte.

    Args:
        seed: of a set of heads.
        index: of the head in it.
        tumour_free: without a tumour or with one; where None, :data:`TUMOUR_FREE` decides.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([0x5EED, seed, index])))
    free = rng.random() < TUMOUR_FREE if tumour_free is None else tumour_free
    atlas = _varied(rng, anatomy.template())
    pose = deformation.draw_pose(rng, _shape(rng))
    tumours = [] if free else _tumours(rng, atlas)
    cavities = _cavities(rng, atlas)
    warp = deformation.warp(pose, [lesion.mass for lesion in (*tumours, *cavities)], atlas)
    signal = rendering.bare_head(rng, atlas, _contrast(rng), warp, _AXES)
    labels = np.zeros(signal.shape, np.uint8)
    for drawn in (_normal(rng), cavities):
        rendering.add_lesions(signal, labels, drawn, pose, warp, atlas, _AXES)
    labels[...] = 0
    rendering.add_lesions(signal, labels, tumours, pose, warp, atlas, _AXES)
    if not free and np.count_nonzero((labels == CORE) | (labels == CAVITY)) < 16:
        return wide_head(seed, index + 1_000_000, tumour_free=False)
    brain = contrasts.sample(atlas.brain, warp.template_points(_AXES)) / np.float32(255)
    scan = _scanned(rng, np.power(signal, np.float32(rng.uniform(0.75, 1.3))))
    return _as_processed(rng, scan, brain, labels)


def _between(rng: Rng, ends: Sequence[float]) -> float:
    return float(rng.uniform(ends[0], ends[1]))


def _log_between(rng: Rng, ends: Sequence[float]) -> float:
    return float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]))))


def _varied(rng: Rng, atlas: anatomy.HeadMaps) -> anatomy.HeadMaps:
    """Return the template with thicker, weaker, one-sided vessels and glands."""
    maps: dict[str, Any] = {}
    for name in ("vessels", "glands"):
        values = getattr(atlas, name)
        if rng.random() < 0.35:
            values = ndimage.maximum_filter(values, 3)
            maps[f"near_{name}"] = ndimage.maximum_filter(values, 3) > 0
        sides = rng.uniform(0.3, 1.0, 2) if rng.random() < 0.5 else rng.uniform(0.6, 1.0, 1)[[0, 0]]
        middle = values.shape[0] // 2
        gain = np.repeat(sides, [middle, values.shape[0] - middle]).astype(np.float32)
        maps[name] = (values * gain[:, None, None]).astype(np.uint8)
    return dataclasses.replace(atlas, **maps)


def _shape(rng: Rng) -> deformation.Shape:
    """Draw what registration leaves: of SyN little, of one affine more, now and then much."""
    loose = _between(rng, (0.2, 1.0)) if rng.random() < 0.85 else _between(rng, (1.0, 1.8))
    wide = rng.random() < 0.25
    x, y, z = rng.normal(0, (1.8, 1.6, 1.8)) * loose
    right, front, up = rng.normal(0, (1.6, 2.0, 2.0)) * loose
    scale = rng.normal(1.0, 0.018 * loose, 3)
    return deformation.Shape(
        rotation=(x, y, z),
        translation=(right, front, up),
        scale=(scale[0], scale[1], scale[2]),
        wide=2.6 * loose,
        fine=_between(rng, (0.4, 1.0)),
        folds=_between(rng, (0.6, 1.6)),
        ventricles=_between(rng, (2.0, 6.0) if wide else (-1.5, 2.5)),
    )


def _contrast(rng: Rng) -> contrasts.Contrast:
    fluid = _between(rng, (0.1, 0.5))
    return contrasts.Contrast(
        fluid=fluid,
        grey=_between(rng, (max(0.58, fluid + 0.2), 0.94)),
        vessel=_between(rng, (0.9, 2.6)),
        gland=_between(rng, (0.9, 2.1)),
        fat=_between(rng, (0.8, 2.2)),
        shell=_between(rng, (0.5, 1.2)),
        crispness=_between(rng, (0.1, 1.0)),
        atrophy=_between(rng, (-0.05, 0.45)),
        small_vessels=_between(rng, (0.0, 1.3)),
        speckle=_between(rng, (0.005, 0.03)),
        gyrus=_between(rng, (6.0, 10.0)),
        gap=_between(rng, (0.2, 1.0)),
    )


def _anywhere(rng: Rng, atlas: anatomy.HeadMaps, depth: tuple[float, float]) -> Point:
    """Return a place in the brain so many mm below its surface."""
    found = np.argwhere((atlas.depth > depth[0]) & (atlas.depth <= depth[1]))
    at = found[int(rng.integers(len(found)))] * anatomy.HELPER_STEP + rng.uniform(-2, 2, 3)
    x, y, z = at + np.array(ORIGIN_MM)
    return float(x), float(y), float(z)


def _tumours(rng: Rng, atlas: anatomy.HeadMaps) -> list[Lesion]:
    """Draw one to four tumours of one look, often at one of the phantom's deep sites."""
    deep = rng.random() < 0.4
    looks = list(PHENOTYPES["looks"]) if deep else list(_WIDE_LOOKS)
    shares = None if deep else _WIDE_SHARES
    look = looks[int(rng.choice(len(looks), p=shares))]
    row: Mapping[str, Any] = (
        PHENOTYPES["looks"][look]
        if deep
        else {"nodule": 0.08, "drawn": {"level": [0.0, 0.0], **_NUMBERS, **_WIDE_LOOKS[look]}}
    )
    count = int(rng.choice([1, 2, 3, 4], p=(0.72, 0.16, 0.08, 0.04)))
    found = []
    for number in range(count):
        site, centre = _place(rng, atlas, deep)
        ml = _log_between(rng, (0.5, 60.0) if deep else _ML)
        largest = PHENOTYPES["sites"].get(site, {}).get("largest_ml", _ML[1])
        ml = min(ml, largest) if number == 0 else min(ml, 8.0)
        found.append(shaped(rng, look, site, centre, ml, row))
    return found


def _place(rng: Rng, atlas: anatomy.HeadMaps, deep: bool) -> tuple[str, Point]:
    """Return a site's name and a place at it, twice as spread as the phantom's; anywhere: no name."""
    if not deep:
        # A name of the fluid sites lets a tumour fill fluid, too.
        name = FLUID_SITES[1] if rng.random() < 0.4 else "anywhere"
        return name, _anywhere(rng, atlas, (0.0, 99.0))
    sites = list(PHENOTYPES["sites"])
    site = sites[int(rng.integers(len(sites)))]
    place = PHENOTYPES["sites"][site]
    x, y, z = np.array(place["centre"]) + rng.normal(0, 1.5, 3) * place["jitter"]
    return site, (float(x) * (1 if rng.random() < 0.5 else -1), float(y), float(z))


def _benign(rng: Rng, name: str, centre: Point, ml: float, level: float, **drawn: Any) -> Lesion:
    row = {"nodule": 0.0, "drawn": {"level": [level, level], **_BENIGN, **drawn}}
    return shaped(rng, name, FLUID_SITES[0], centre, ml, row)


def _normal(rng: Rng) -> list[Lesion]:
    """Draw what enhances without a tumour, and the small dark spots of age."""
    found = []
    still = {"push": [0.0, 0.0]}
    for name, (centre, sd, ml, both, share) in _PLACES.items():
        if rng.random() >= share:
            continue
        level, size = _between(rng, _BRIGHT), _log_between(rng, ml)
        sides = (1, -1) if both and rng.random() < 0.8 else (1 if rng.random() < 0.5 else -1,)
        for side in sides:
            x, y, z = np.array(centre) * (side if both else 1, 1, 1) + rng.normal(0, sd, 3) * 0.7
            found.append(_benign(rng, name, (x, y, z), size, level, **still))
    for _ in range(int(rng.poisson(1.2))):
        found.append(_vessel(rng))
    if rng.random() < 0.2:
        level = _between(rng, (0.4, 0.85))
        for _ in range(int(rng.integers(2, 9))):
            x, y, z = rng.normal((24, -5, 24), (4, 26, 8))
            for side in (1, -1):
                spot = (side * x, y + rng.normal(0, 3), z + rng.normal(0, 3))
                size = _log_between(rng, (0.02, 0.5))
                found.append(_benign(rng, "spot", spot, size, level, edge=[0.8, 2.0], **still))
    return found


def _vessel(rng: Rng) -> Lesion:
    """Return a vein on its way: a chain of balls along a curve."""
    way = rng.normal(0, 1, 3)
    at = rng.normal((0, -18, 10), (30, 40, 30))
    radius = _between(rng, (0.8, 2.2))
    first = _benign(
        rng, "vessel", (at[0], at[1], at[2]), 0.02, _between(rng, _BRIGHT), push=[0.0, 0.0]
    )
    lobes = []
    for _ in range(int(rng.integers(6, 18))):
        way += rng.normal(0, 0.35, 3)
        at = at + 2.2 * way / np.sqrt((way**2).sum())
        lobes.append(Ellipsoid((at[0], at[1], at[2]), (radius, radius, radius), np.eye(3)))
    middle = np.mean([lobe.centre for lobe in lobes], axis=0)
    return dataclasses.replace(
        first, lobes=tuple(lobes), radius=24.0, centre=(middle[0], middle[1], middle[2]),
        drawn={**first.drawn, "irregularity": 0.01},
    )  # fmt: skip


def _cavities(rng: Rng, atlas: anatomy.HeadMaps) -> list[Lesion]:
    """Draw cysts and what an operation left: fluid, without a rim or with a thin one."""
    found = []
    if rng.random() < 0.08:
        centre = _anywhere(rng, atlas, (0.0, 16.0))
        rim = _between(rng, (0.6, 1.2)) if rng.random() < 0.4 else 0.0
        level = _between(rng, (0.9, 1.3)) if rim else _between(rng, (0.15, 0.45))
        found.append(
            _benign(rng, "operated", centre, _log_between(rng, (3.0, 50.0)), level, rim=[rim, rim],
                    cavity_level=[0.15, 0.45], push=[0.0, 0.5])
        )  # fmt: skip
    if rng.random() < 0.08:
        x = 14.0 if rng.random() < 0.5 else -14.0
        centre = (x + rng.normal(0, 3), rng.normal(0, 22), 18 + rng.normal(0, 5))
        level = _between(rng, (0.15, 0.45))
        found.append(
            _benign(rng, "wide ventricle", centre, _log_between(rng, (3.0, 30.0)), level,
                    push=[0.3, 0.9])
        )  # fmt: skip
    return found


def _scanned(rng: Rng, signal: Array) -> Array:
    """Return what a scanner makes of a head: slices of any thickness in any plane, shading, noise."""
    thick = int(rng.choice([1, 2, 3], p=(0.6, 0.2, 0.2)))
    in_plane = _between(rng, (0.3, 0.9))
    device = scanner.Scanner(
        white=1000.0,
        bias=_between(rng, (0.01, 0.16)),
        noise=_log_between(rng, (0.008, 0.05)) * thick**0.5,
        blur=(in_plane, in_plane, in_plane),
        ghost=_between(rng, (0.0, 0.015)),
    )
    scan = scanner.acquire(rng, device, signal, _AXES).astype(np.float32)
    return scan if thick == 1 else _in_slices(scan, int(rng.integers(3)), thick, rng)


def _in_slices(scan: Array, axis: int, thick: int, rng: Rng) -> Array:
    """Return a scan that was taken in slices of ``thick`` voxels, read linearly in between."""
    start = int(rng.integers(thick))
    mean = ndimage.uniform_filter1d(scan, thick, axis=axis)
    n = scan.shape[axis]
    known = np.arange(start, n, thick)
    at = np.clip(np.interp(np.arange(n), known, np.arange(len(known))), 0, len(known) - 1)
    low = np.minimum(at.astype(int), max(len(known) - 2, 0))
    share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    below = np.take(mean, known[low], axis=axis)
    above = np.take(mean, known[np.minimum(low + 1, len(known) - 1)], axis=axis)
    return np.asarray(below + share * (above - below), dtype=np.float32)


def _as_processed(rng: Rng, scan: Array, brain: Array, labels: Any) -> Head:
    mask = _mask(rng, brain) & _field_of_view(rng)
    image = smoothed(standardised(scan, mask).astype(np.float32), mask, SCAN_SMOOTH_MM)
    core = ((labels == CORE) | (labels == CAVITY)) & mask
    return Head(image, mask, core, core | ((labels == OEDEMA) & mask))


def _mask(rng: Rng, brain: Array) -> Mask:
    """Return the brain's mask: the template's, or the head's own, here too tight, there too loose."""
    if rng.random() < 0.3:
        return atlas_template().mask
    sigma = _between(rng, (0.5, 2.0))
    uneven = smooth_noise(rng, SHAPE, 6.0) * np.float32(_between(rng, (0.0, 0.2)))
    level = np.float32(np.clip(rng.normal(0.45, 0.12), 0.2, 0.7))
    mask: Mask = ndimage.gaussian_filter(brain, sigma) + uneven > level
    near: Mask = ndimage.gaussian_filter(brain, 2.5) > 0.05
    labels, count = ndimage.label(mask & near)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes))))


def _field_of_view(rng: Rng) -> Mask:
    """Return what the scan holds: now and then its top, its bottom or a side is cut off."""
    inside = np.ones(SHAPE, bool)
    if rng.random() < 0.12:
        axis, cut = int(rng.choice([0, 1, 2], p=(0.15, 0.15, 0.7))), int(rng.integers(8, 26))
        ends = slice(None, cut) if rng.random() < 0.6 else slice(-cut, None)
        inside[tuple(ends if i == axis else slice(None) for i in range(3))] = False
    return inside
