"""The offline detector [equations 2 and 3]: enhancement, abnormality and asymmetry; no weights, no network.

A place is a candidate if it is bright (above white matter and above anything that the template has within
reach, rings filled) and thicker than the normal vessels there, or dark where no fluid belongs. A
candidate's weight is its volume times how abnormal it is; what has no counterpart on the other side weighs
more. A second, less sharp look at the deep brain finds what hardly enhances; beside something clearly
enhancing it counts only where it touches it. What the heaviest candidates cover is the map. Nothing else
depends on how deep a tumour lies, apart from the calibre of the normal vessels near the surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.template import SHAPE, SPACING_MM
from ictmri_baselines.localizer.classical.evidence import (
    TOLERANCE_MM,
    Evidence,
    evidence_of,
    from_deep,
    from_ventricles,
)
from ictmri_baselines.localizer.classical.grid_2mm import (
    VOXEL_ML,
    Field,
    Mask,
    closed,
    on_brain_grid,
    opened,
    smoothed,
    within,
)
from ictmri_baselines.localizer.classical.vessel_atlas import (
    in_cistern,
    near_vessels,
    thicker_than_normal,
)
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.region import Region

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

VERY_BRIGHT: Final = (2.5, 4.5)
"""Spreads between which brightness comes to make up for a lack of asymmetry, away from normal vessels."""
BRIGHT: Final = 1.5
"""Spreads of white matter above which tissue counts as enhancing."""
NOTABLE: Final = 1.0
"""Spreads from which a difference counts: of dark tissue; of tissue that stands out from its surroundings,
which enhances, too, since a lesion in oedema may be no brighter than white matter elsewhere. What is bright
by less adds nothing to a candidate's weight: white matter under a drift reaches it."""
PEAK: Final = (2.0, 4.0)
"""Spreads that the brightest tenth of a candidate should reach: below the first it weighs nothing (white
matter under a drift), from the second on all."""
CAP: Final = 4.0
"""Spreads beyond which more says nothing more: blood in a sinus is brighter than most tumours."""
DARK_DEPTH_MM: Final = 8.0
"""Sulci, and what a mask left of the skull, reach so far into the brain."""
DARK_RADIUS_MM: Final = 4.0
"""Thinner dark structures are sulci and perivascular spaces."""
SYMMETRIC: Final = 0.15
"""Weight of a bright or dark candidate whose mirror image looks the same; midline tumours are such."""
DARK_WEIGHT: Final = 0.4
"""Of the darkness of a candidate relative to brightness, which is what contrast agent was given for."""
DEEP_MM: Final = 10.0
"""Distance from the deep structures over which the second look's weight falls by e."""
DEEP_MARGIN: Final = 0.5
"""Of its evidence, what counts for nothing."""
DEEP_CAP: Final = 3.0
POOL_MM: Final = 5.0
"""Sigma over which its evidence is pooled: a lesion is larger, a vessel thinner."""
DEEP_SYMMETRIC: Final = 0.3
"""Share of the evidence that counts where the other side looks the same: midline tumours are such."""
FLUID: Final = 4.5
"""Spreads below white matter from which a voxel is fluid: darker than grey matter is on any scan seen."""
DEEP_PEAK: Final = 1.0
"""Pooled evidence from which it is reported; lesion-free phantoms stay below it."""
LARGE_ML: Final = 20.0
"""A lump of this size that has its like on the other side is no tumour, but both thalami under an affine
that does not bring them into place."""
DEEP_EDGE: Final = 0.5
"""Share of a peak down to which its surroundings belong to it. The greatest peak is reported from this
share of :data:`DEEP_PEAK` on if nothing else outweighs it: who is scanned for a biopsy has a tumour."""
MIN_ML: Final = 0.25
MIN_WEIGHT: Final = 0.4
"""ml x spreads: below this nothing is reported."""
FURTHER: Final = 0.2
"""A further candidate must weigh this share of the heaviest, ..."""
CLEAR: Final = 6.0
"""... or this much in any case: a second tumour beside a large one. What enhances so much is clear."""
NEAR: Final = 0.05
NEAR_MM: Final = 16.0
"""So near to one that is kept, this share is enough: parts of one tumour."""
MAX_PARTS: Final = 8
MARGIN_MM: Final = 2.0
"""How much wider the coarse prior is than the candidates: tumours enhance less at their edge."""
GROWTH_MM: Final = 6.0
"""The thin parts of what enhances, this near to the thick ones, belong to them: the rim of a ring."""
CLOSING_MM: Final = 8.0
"""Gaps up to twice this are tumour too: necrosis, and tissue between two enhancing parts."""
HOLE_MM2: Final = 2500.0
"""Largest area of a plane that a ring may enclose: a cyst of 56 mm."""


@dataclass(frozen=True, slots=True)
class TumourCandidate:
    """A place that may be a tumour.

    Attributes:
        region: its voxels on the 2 mm grid.
        weight: ml x spreads of white matter.
        kind: bright, dark or deep.
    """

    region: Mask
    weight: float
    kind: str


class SaliencyDetector:
    """Classical saliency on the processed brain."""

    def detect(self, brain: Brain) -> Region:
        """Return what the heaviest candidates cover, on the brain's own grid.

        Raises:
            InputError: the brain lies on neither of the template's grids.
        """
        seen = evidence_of(brain)
        covered = np.zeros(SHAPE, dtype=np.float32)
        if seen is not None and (kept := reported(seen)):
            covered[whole(kept) & seen.mask] = 1
        return Region(on_brain_grid(covered, brain), Saliency.name, MARGIN_MM)


class Saliency(DetectorSettings):
    """Enhancement and asymmetry, offline; there is nothing to choose."""

    name = "saliency"
    version = "4"

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> SaliencyDetector:  # noqa: ARG002
        """Return the detector."""
        return SaliencyDetector()


def candidates(seen: Evidence) -> list[TumourCandidate]:
    """Return everything that may be a tumour, heaviest first."""
    found = _bright(seen) + _dark(seen) + _deep(seen)
    return sorted(found, key=lambda candidate: -candidate.weight)


def reported(seen: Evidence) -> list[TumourCandidate]:
    """Return the candidates that are reported; where there is none, the least usual place of all."""
    everywhere = np.ones(SHAPE, dtype=np.float32)
    return chosen(candidates(seen)) or _second_look(seen, everywhere)[:1]


def chosen(found: list[TumourCandidate]) -> list[TumourCandidate]:
    """Return the candidates that are heavy, or near to a heavy one.

    Beside something clearly enhancing nothing else is heavy, and of the second look counts what adjoins.
    """
    heavy = [c for c in found if c.weight >= MIN_WEIGHT or c.kind == "deep"]
    if any(c.kind == "bright" and c.weight >= CLEAR for c in heavy):
        heavy = [c for c in heavy if c.kind == "bright"]
    if not heavy:
        return []
    first = heavy[0].weight
    kept = [c for c in heavy if c.weight >= min(FURTHER * first, CLEAR)]
    covered = np.logical_or.reduce([c.region for c in kept])
    near, adjoining = within(covered, NEAR_MM), within(covered, GROWTH_MM)
    others = {id(c) for c in kept}
    for c in found:
        if c.weight >= NEAR * first and id(c) not in others and (c.region & near).any():
            kept.append(replace(c, region=c.region & adjoining) if c.kind == "deep" else c)
    return kept[:MAX_PARTS]


def whole(kept: list[TumourCandidate]) -> Mask:
    """Return what the candidates cover with the gaps between and inside them: a tumour is compact."""
    return closed(np.logical_or.reduce([c.region for c in kept]), CLOSING_MM)


def _bright(seen: Evidence) -> list[TumourCandidate]:
    alone = np.clip(seen.mirror_bright, 0, 1)
    filled = _rings_filled((seen.bright > BRIGHT) | ((seen.local > NOTABLE) & (alone > 0)), seen)
    thick = thicker_than_normal(filled, seen.depth)
    strength = np.clip(seen.bright - NOTABLE, np.clip(seen.local, 0, alone), CAP)
    clear = _share(seen.bright, VERY_BRIGHT) * ~near_vessels(seen.depth)
    alone = np.maximum(alone, clear)
    found = _parts(thick, strength * (SYMMETRIC + (1 - SYMMETRIC) * alone), "bright")
    return [
        replace(
            candidate,
            region=filled & within(candidate.region, GROWTH_MM),
            weight=candidate.weight
            * _share(np.percentile(seen.bright[candidate.region], 90), PEAK),
        )
        for candidate in found
    ]


def _share(value: Any, between: tuple[float, float]) -> Any:
    """Return 0 below the first, 1 above the second, linear in between."""
    return np.clip((value - between[0]) / (between[1] - between[0]), 0, 1)


def _deep(seen: Evidence) -> list[TumourCandidate]:
    """Look a second time, at the deep brain."""
    return _second_look(seen, np.exp(-from_deep() / DEEP_MM))


def _second_look(seen: Evidence, share: Field) -> list[TumourCandidate]:
    """Look less sharply, so that little contrast suffices; heaviest first.

    Args:
        seen: the brain, compared with the template.
        share: of the evidence, which counts at a place.
    """
    pooled = _pooled_unlikeness(seen) * share * (seen.depth > DARK_DEPTH_MM)
    least = min(float(pooled.max()), DEEP_PEAK)
    if least < DEEP_EDGE * DEEP_PEAK:
        return []
    found = []
    for part in _parts(pooled > DEEP_EDGE * least, pooled, "deep"):
        peak = float(pooled[part.region].max())
        region = part.region & (pooled > DEEP_EDGE * peak)
        large = region.sum() * VOXEL_ML > LARGE_ML
        if peak >= least and not (large and (region & region[::-1]).sum() > region.sum() / 2):
            weight = float(pooled[region].sum() * VOXEL_ML)
            found.append(TumourCandidate(region, weight, "deep"))
    return sorted(found, key=lambda candidate: -candidate.weight)


def _pooled_unlikeness(seen: Evidence) -> Field:
    """Return how unlike both the template and the other side a neighbourhood is, geometric mean.

    Brighter and darker voxels add up: a patchy tumour is both. Fluid counts only where none belongs.
    """
    known = seen.mask & ((seen.image > seen.white - FLUID * seen.spread) | _without_fluid(seen))
    unlike: Field = np.clip(np.abs(seen.unlike) - DEEP_MARGIN, 0, DEEP_CAP)
    other: Field = np.clip(seen.unlike - seen.unlike[::-1], -DEEP_CAP, DEEP_CAP)
    other = other * (known & known[::-1])
    away = smoothed(unlike, known, POOL_MM)
    alone = np.abs(smoothed(other, known, POOL_MM))
    pooled: Field = np.sqrt(away * np.maximum(alone, DEEP_SYMMETRIC * away))
    return pooled


def _without_fluid(seen: Evidence) -> Mask:
    place: Mask = (seen.depth > DARK_DEPTH_MM) & (from_ventricles() > TOLERANCE_MM)
    return place & ~in_cistern(seen.depth)


def _dark(seen: Evidence) -> list[TumourCandidate]:
    dark = (seen.dark > NOTABLE) & _without_fluid(seen)
    thick = opened(dark, DARK_RADIUS_MM)
    strength = DARK_WEIGHT * np.clip(seen.dark, 0, CAP)
    alone = np.clip(seen.mirror_dark + 1, 0, 1)
    weight = strength * (SYMMETRIC + (1 - SYMMETRIC) * alone)
    return _parts(thick, weight, "dark")


def _parts(region: Mask, weight: Field, kind: str) -> list[TumourCandidate]:
    labels, _ = ndimage.label(region)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == number
        if inside.sum() * VOXEL_ML < MIN_ML:
            continue
        part = np.zeros_like(region)
        part[box] = inside
        found.append(TumourCandidate(part, float(weight[box][inside].sum() * VOXEL_ML), kind))
    return found


def _rings_filled(bright: Mask, seen: Evidence) -> Mask:
    """Add what a bright ring encloses in any plane, if it is darker than white matter: necrosis, a cyst."""
    closed = ndimage.binary_closing(bright) & seen.mask | bright
    darker = seen.image < seen.white - seen.spread
    filled = bright.copy()
    for axis in range(3):
        planes = zip(*(np.moveaxis(v, axis, 0) for v in (closed, darker, filled)), strict=True)
        for ring, dark, out in planes:
            found = ndimage.find_objects(ring.view(np.uint8))
            if found:  # A hole lies between what encloses it.
                out[found[0]] |= _holes(ring[found[0]], dark[found[0]])
    return filled


def _holes(ring: npt.NDArray[np.bool_], dark: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    holes, count = ndimage.label(ndimage.binary_fill_holes(ring) & ~ring)
    if not count:
        return np.zeros_like(ring)
    numbers = np.arange(1, count + 1)
    area = ndimage.sum_labels(np.ones(ring.shape), holes, numbers) * SPACING_MM**2
    share = ndimage.mean(dark, holes, numbers)
    return np.isin(holes, numbers[(area <= HOLE_MM2) & (share > 0.5)])
