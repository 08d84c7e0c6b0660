"""Tumours as continuous fields in lesion space: drawn without a grid, read at any points.

A tumour is a union of ellipsoids whose boundary is shifted by random fields; depth below that
boundary decides what is rim, cavity or oedema. Mask labels: 1 solid core with its rim, 2 necrosis or
cyst, 3 oedema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.phantom.deformation import Mass, rotation_matrix
from ictmri.phantom.fields import Array, Texture, sigmoid, smoothstep
from ictmri.phantom.phenotypes import PHENOTYPES, SUBTYPES

CORE: Final = 1
CAVITY: Final = 2
OEDEMA: Final = 3

FLUID_SITES: Final = ("pineal", "suprasellar", "third_ventricle", "fourth_ventricle", "septum")
"""Sites whose tumours grow inside cerebrospinal fluid."""

_FLUID_BARRIER_MM: Final = 5.0
"""How far the boundary of any other tumour draws back from fluid."""

_LARGEST_ML: Final = 45.0
_BLEND_MM: Final = 2.0
_BOX_MARGIN: Final = 1.75
"""Half-width of a lesion's box in radii, before oedema is added."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """One lobe: centre in lesion-space mm, semi-axes in mm, rows of the rotation."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    turn: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One tumour: its drawn numbers (``phenotypes.yaml`` has their meanings) and its random fields."""

    site: str
    look: str
    centre: tuple[float, float, float]
    radius: float
    lobes: tuple[Ellipsoid, ...]
    nodule: Ellipsoid | None
    drawn: Mapping[str, float]
    textures: Mapping[str, Texture]

    @property
    def reach(self) -> float:
        """Half-width in mm of the box that holds core and oedema."""
        return _BOX_MARGIN * self.radius + 1.4 * self.drawn["oedema"] + 4.0

    @property
    def mass(self) -> Mass:
        """The tumour as the tissue around it feels it."""
        return Mass(self.centre, self.radius, self.drawn["push"])

    def describe(self) -> dict[str, Any]:
        """Return what was drawn, ready for JSON."""
        return {
            "site": self.site,
            "look": self.look,
            "centre_mni_mm": [round(value, 2) for value in self.centre],
            "radius_mm": round(self.radius, 2),
            "lobes": len(self.lobes),
            "mural_nodule": self.nodule is not None,
            **{name: round(value, 4) for name, value in self.drawn.items()},
        }


def draw_look(rng: np.random.Generator, subtype: str) -> tuple[str, bool]:
    """Draw the look of a case and whether it is another class's."""
    label = SUBTYPES[subtype].label
    atypical = bool(rng.random() < PHENOTYPES["atypical"])
    if atypical:
        others = [name for name, row in SUBTYPES.items() if row.label != label]
        subtype = others[int(rng.integers(len(others)))]
    return _choose(rng, PHENOTYPES["subtypes"][subtype]["looks"]), atypical


def draw_lesions(rng: np.random.Generator, subtype: str, look: str) -> list[Lesion]:
    """Draw one to three tumours of a look at sites that the subtype prefers."""
    several = PHENOTYPES["looks"][look]["several"]
    count = 1 + int(np.searchsorted(np.cumsum(several), rng.random() * sum(several)))
    sites = dict(PHENOTYPES["subtypes"][subtype]["sites"])
    lesions: list[Lesion] = []
    for number in range(min(count, 3)):
        site = _choose(rng, sites)
        if subtype == "germinoma" and number == 1 and lesions[0].site in ("pineal", "suprasellar"):
            site = "suprasellar" if lesions[0].site == "pineal" else "pineal"
        lesions.append(draw_lesion(rng, look, site, share=1.0 if number == 0 else 0.45))
        if site in FLUID_SITES:
            sites.pop(site, None)
    return lesions


def _choose(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = list(shares)
    edges = np.cumsum([shares[name] for name in names])
    return names[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def draw_lesion(rng: np.random.Generator, look: str, site: str, share: float) -> Lesion:
    """Draw one tumour; ``share`` scales its volume."""
    looks = PHENOTYPES["looks"][look]
    median, sigma = looks["volume"]
    ml = share * median * float(np.exp(sigma * rng.normal()))
    ml = float(np.clip(ml, 1.0, PHENOTYPES["sites"][site].get("largest_ml", _LARGEST_ML)))
    centre = _site_centre(rng, site)
    return shaped(rng, look, site, centre, ml, looks)


def shaped(
    rng: np.random.Generator,
    look: str,
    site: str,
    centre: tuple[float, float, float],
    ml: float,
    looks: Mapping[str, Any],
) -> Lesion:
    """Draw the shape and the inside of a tumour of a given place and volume.

    Args:
        rng: what is drawn comes from it.
        look: its name, for the description.
        site: its name; tumours of :data:`FLUID_SITES` grow inside fluid.
        centre: lesion-space mm.
        ml: of the core, before the boundary is made irregular.
        looks: ``drawn`` and ``nodule`` as a row of ``looks`` in ``phenotypes.yaml``; ``drawn`` may hold
            ``oedema_depth`` too, the share of signal that is lost in oedema.
    """
    radius = float((3000 * ml / (4 * np.pi)) ** (1 / 3))
    lobes = _draw_lobes(rng, centre, radius)
    drawn = {name: float(rng.uniform(*ends)) for name, ends in looks["drawn"].items()}
    drawn["barrier"] = 0.0 if site in FLUID_SITES else _FLUID_BARRIER_MM
    nodule = _draw_nodule(rng, centre, radius) if rng.random() < looks["nodule"] else None
    if nodule and not drawn["rim"]:
        drawn["rim"] = float(rng.uniform(0.8, 1.6))
    return Lesion(site, look, centre, radius, lobes, nodule, drawn, _draw_textures(rng, radius))


def _site_centre(rng: np.random.Generator, site: str) -> tuple[float, float, float]:
    place = PHENOTYPES["sites"][site]
    side = 1 if rng.random() < 0.5 else -1
    x, y, z = np.array(place["centre"]) + rng.normal(0, 1, 3).clip(-2, 2) * place["jitter"]
    return side * float(x), float(y), float(z)


def _draw_lobes(
    rng: np.random.Generator, centre: tuple[float, float, float], radius: float
) -> tuple[Ellipsoid, ...]:
    count = int(rng.integers(1, 5))
    size = radius * (1.0 if count == 1 else 0.98 * count**-0.22)
    lobes = []
    for number in range(count):
        offset = rng.normal(0, 1, 3)
        offset *= (
            0.0 if number == 0 else rng.uniform(0.35, 0.75) * radius / np.sqrt((offset**2).sum())
        )
        stretch = np.exp(rng.normal(0, 0.17, 3))
        axes = (
            size
            * stretch
            / np.cbrt(stretch.prod())
            * (1.0 if number == 0 else rng.uniform(0.6, 0.95))
        )
        turn = rotation_matrix(rng.uniform(0, 180, 3))
        x, y, z = np.array(centre) + offset
        lobes.append(Ellipsoid((float(x), float(y), float(z)), (axes[0], axes[1], axes[2]), turn))
    return tuple(lobes)


def _draw_nodule(
    rng: np.random.Generator, centre: tuple[float, float, float], radius: float
) -> Ellipsoid:
    way = rng.normal(0, 1, 3)
    x, y, z = np.array(centre) + 0.68 * radius * way / np.sqrt((way**2).sum())
    axes = radius * rng.uniform(0.42, 0.62) * np.exp(rng.normal(0, 0.12, 3))
    return Ellipsoid((float(x), float(y), float(z)), (axes[0], axes[1], axes[2]), np.eye(3))


def _draw_textures(rng: np.random.Generator, radius: float) -> dict[str, Texture]:
    scales = {
        "shape": 0.42 * radius,
        "ripple": 0.17 * radius + 0.4,
        "fine": 1.3,
        "mottle": 3.2,
        "cysts": 1.6 + 0.06 * radius,
        "patches": 2.6,
        "rim": 3.5,
        "calcified": 1.1,
        "fingers": 4.5,
    }
    return {name: Texture.draw(rng, scale) for name, scale in scales.items()}


def _ellipsoid_distance(lobe: Ellipsoid, points: Array) -> Array:
    """Return about the mm from an ellipsoid's surface, negative inside."""
    offset = [points[i] - np.float32(lobe.centre[i]) for i in range(3)]
    norm = np.zeros(points.shape[1:], np.float32)
    for row, axis in zip(lobe.turn, lobe.axes, strict=True):
        along = sum(np.float32(row[i]) * offset[i] for i in range(3))
        norm += (along / np.float32(axis)) ** 2
    size = np.float32(np.cbrt(lobe.axes[0] * lobe.axes[1] * lobe.axes[2]))
    return (np.sqrt(norm) - 1) * size


def distance(lesion: Lesion, points: Array, tissue: Array) -> Array:
    """Return about the mm from the core's boundary at lesion-space points ``(3, ...)``, negative inside.

    Lobes are joined by a soft minimum, as metaballs are, so that they melt into one another.
    """
    total = np.zeros(points.shape[1:], np.float32)
    for lobe in lesion.lobes:
        total += np.exp(
            np.clip(-_ellipsoid_distance(lobe, points) / np.float32(_BLEND_MM), -40, 40)
        )
    d = -np.float32(_BLEND_MM) * np.log(np.maximum(total, np.float32(1e-17)))
    rough = np.float32(0.8) * lesion.textures["shape"].at(points)
    rough += np.float32(0.45) * lesion.textures["ripple"].at(points)
    d += np.float32(lesion.drawn["irregularity"] * lesion.radius) * rough
    d += np.float32(lesion.drawn["barrier"]) * smoothstep(tissue, 1.9, 1.2)
    return np.asarray(d, dtype=np.float32)


def core_weight(lesion: Lesion, points: Array, tissue: Array, brain: Array) -> Array:
    """Return the core's weight (solid part and cavities), 0 to 1; its border is at 0.5."""
    weight = sigmoid(-distance(lesion, points, tissue) / np.float32(lesion.drawn["edge"]))
    return weight * smoothstep(brain, 0.35, 0.65)


def _fraction_mask(texture: Array, fraction: float, softness: float = 0.12) -> Array:
    """Return weights that are high on about ``fraction`` of a unit Gaussian field's domain."""
    if fraction <= 0.002:
        return np.zeros_like(texture)
    threshold = np.float32(NormalDist().inv_cdf(1 - fraction))
    return sigmoid((texture - threshold) / np.float32(softness))


@dataclass(frozen=True, slots=True)
class Painted:
    """Signal and mask labels (uint8) of a block of points."""

    signal: Array
    labels: npt.NDArray[np.uint8]


def paint(lesion: Lesion, points: Array, tissue: Array, brain: Array, below: Painted) -> Painted:
    """Paint a tumour over the signal of a block of points.

    Args:
        lesion: what to paint.
        points: ``(3, ...)`` lesion-space mm.
        tissue: class under the tumour, 0 to 3.4.
        brain: weight of the brain cavity, 0 to 1.
        below: signal and labels before.
    """
    drawn = lesion.drawn
    d = distance(lesion, points, tissue)
    inside = smoothstep(brain, 0.35, 0.65)
    core = sigmoid(-d / np.float32(drawn["edge"])) * inside
    swollen = _oedema(lesion, points, tissue, d) * inside
    depth = np.float32(drawn.get("oedema_depth", 0.10 + 0.012 * drawn["oedema"]))
    base = below.signal * (1 - depth * swollen)
    cavity = _cavity(lesion, points, d)
    solid = _solid(lesion, points, base)
    content = solid + cavity * (np.float32(drawn["cavity_level"]) - solid)
    painted = base + core * (content - base)
    new = np.where(
        core > 0.5, np.where(cavity > 0.5, CAVITY, CORE), np.where(swollen > 0.5, OEDEMA, 0)
    )
    keep = (below.labels > 0) & ((new == 0) | (new == OEDEMA))
    return Painted(painted.astype(np.float32), np.where(keep, below.labels, new).astype(np.uint8))


def _oedema(lesion: Lesion, points: Array, tissue: Array, d: Array) -> Array:
    """Return the weight of oedema: it follows white matter in fingers."""
    extent = np.float32(lesion.drawn["oedema"])
    white = smoothstep(tissue, 2.25, 2.75)
    fingers = lesion.textures["fingers"].at(points)
    reach = extent * (
        np.float32(0.12) + np.float32(0.85) * white + np.float32(0.35) * fingers * white
    )
    weight = sigmoid((reach - np.maximum(d, 0)) / np.float32(1.1)) * smoothstep(tissue, 1.5, 2.0)
    return weight * np.float32(min(float(extent) / 2.0, 1.0))


def _cavity(lesion: Lesion, points: Array, d: Array) -> Array:
    """Return the weight of necrosis and cysts inside the core."""
    drawn = lesion.drawn
    weight = _fraction_mask(lesion.textures["cysts"].at(points), drawn["cysts"])
    weight *= sigmoid(-(d + 1.2) / np.float32(0.5))
    if drawn["rim"] > 0:
        rim = np.float32(drawn["rim"]) * (1 + np.float32(0.42) * lesion.textures["rim"].at(points))
        centre = sigmoid(-(d + np.maximum(rim, 0.6)) / np.float32(0.6))
        weight = np.maximum(weight, centre)
    if lesion.nodule is not None:
        knob = _ellipsoid_distance(lesion.nodule, points)
        knob += np.float32(0.8) * lesion.textures["ripple"].at(points)
        weight *= sigmoid(knob / np.float32(0.6))
    return weight


def _solid(lesion: Lesion, points: Array, base: Array) -> Array:
    """Return the signal of the solid part."""
    drawn, textures = lesion.drawn, lesion.textures
    level = np.full(base.shape, drawn["level"], np.float32)
    patches = _fraction_mask(textures["patches"].at(points), drawn["patches"], 0.25)
    level += patches * np.float32(drawn["patch_level"] - drawn["level"])
    level *= 1 + np.float32(drawn["texture"]) * textures["fine"].at(points)
    level *= 1 + np.float32(drawn["mottle"]) * textures["mottle"].at(points)
    level += np.float32(drawn["infiltration"]) * (base - np.float32(0.9)) * (1 - patches)
    specks = _fraction_mask(textures["calcified"].at(points), drawn["calcified"])
    return np.maximum(level * (1 - np.float32(0.75) * specks), np.float32(0.08))
