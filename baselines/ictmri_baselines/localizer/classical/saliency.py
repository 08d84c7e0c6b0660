"""The offline detector [equations 2 and 3]: enhancement, abnormality and asymmetry; no weights, no network.

A place is a candidate if it is bright (above white matter and above anything that the template has within
reach, rings filled) and thicker than the normal vessels there, or dark where no fluid belongs. A
candidate's weight is its volume times how abnormal it is; what has no counterpart on the other side weighs
more. The heaviest candidates become boxes. Nothing depends on how deep a tumour lies, apart from the
calibre of the normal vessels near the surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.template import SPACING_MM
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.localizer.classical.evidence import (
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

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

VERY_BRIGHT: Final = (2.5, 4.5)
"""Spreads between which brightness comes to make up for a lack of asymmetry, away from normal vessels."""
BRIGHT: Final = 1.5
"""Spreads of white matter above which tissue counts as enhancing."""
LOCAL: Final = 1.0
"""Spreads by which tissue must stand out from its surroundings to count as enhancing, too: a lesion in
oedema may be no brighter than white matter elsewhere."""
PEAK: Final = (2.0, 4.0)
"""Spreads that the brightest tenth of a candidate should reach: below the first it weighs nothing (white
matter under a drift), from the second on all."""
DARK: Final = 1.0
"""Spreads below the expected range from which tissue counts as too dark."""
FAINT: Final = 1.0
"""Spreads that do not count towards a candidate's weight: white matter under a drift reaches them."""
CAP: Final = 4.0
"""Spreads beyond which more says nothing more: blood in a sinus is brighter than most tumours."""
DARK_DEPTH_MM: Final = 8.0
"""Sulci, and what a mask left of the skull, reach so far into the brain."""
DARK_RADIUS_MM: Final = 4.0
"""Thinner dark structures are sulci and perivascular spaces."""
VENTRICLE_MM: Final = 6.0
"""Within this distance of the template's ventricles dark is fluid: ventricles widen with age."""
SYMMETRIC: Final = 0.15
"""Weight of a bright candidate whose mirror image looks the same; midline tumours are such."""
DARK_WEIGHT: Final = 0.4
"""Of the darkness of a candidate relative to brightness, which is what contrast agent was given for ..."""
DARK_SYMMETRIC: Final = 0.15
"""... and of one whose mirror image looks the same."""
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
DEEP_FLOOR: Final = 0.5
"""From which the greatest peak is reported if nothing else outweighs it: who is scanned for a biopsy has a
tumour."""
DEEP_EDGE: Final = 0.5
"""Share of a peak down to which its surroundings belong to it."""
MIN_ML: Final = 0.25
MIN_WEIGHT: Final = 0.4
"""ml x spreads: below this nothing is reported."""
FURTHER: Final = 0.2
"""A further candidate must weigh this share of the heaviest, ..."""
CLEAR: Final = 6.0
"""... or this much in any case: a second tumour beside a large one."""
NEAR: Final = 0.05
NEAR_MM: Final = 16.0
"""So near to one that is kept, this share is enough: parts of one tumour."""
MAX_PARTS: Final = 8
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

    def detect(self, brain: Brain) -> list[SliceBoxes]:
        """Return boxes around the heaviest candidates, slice by slice, on the brain's own grid.

        Raises:
            InputError: the brain lies on neither of the template's grids.
        """
        seen = evidence_of(brain)
        if seen is None:
            return []
        kept = chosen(candidates(seen))
        if not kept:
            return []
        region = whole(kept) & seen.mask
        strength = np.clip(np.maximum(seen.bright, seen.dark), 0, CAP) * region
        fine = on_brain_grid(region.astype(np.float32), brain) >= 0.5
        return _slices(fine, on_brain_grid(strength, brain))


class Saliency(DetectorSettings):
    """Enhancement and asymmetry, offline; there is nothing to choose."""

    name = "saliency"
    version = "3"
    offline = True

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> SaliencyDetector:  # noqa: ARG002
        """Return the detector."""
        return SaliencyDetector()


def candidates(seen: Evidence) -> list[TumourCandidate]:
    """Return everything that may be a tumour, heaviest first."""
    found = _bright(seen) + _dark(seen) + _deep(seen)
    return sorted(found, key=lambda candidate: -candidate.weight)


def chosen(found: list[TumourCandidate]) -> list[TumourCandidate]:
    """Return the candidates that are reported: heavy, or near to a heavy one."""
    heavy = [c for c in found if c.weight >= MIN_WEIGHT or c.kind == "deep"]
    if not heavy:
        return []
    first = heavy[0].weight
    enough = FURTHER * first
    kept = [c for c in heavy if c.weight >= (min(enough, CLEAR) if c.kind == "bright" else enough)]
    kept = kept[:MAX_PARTS]
    near = within(np.logical_or.reduce([c.region for c in kept]), NEAR_MM)
    kept += [c for c in found if NEAR * first <= c.weight < enough and (c.region & near).any()]
    return kept[:MAX_PARTS]


def whole(kept: list[TumourCandidate]) -> Mask:
    """Return what the candidates cover with the gaps between and inside them: a tumour is compact."""
    return closed(np.logical_or.reduce([c.region for c in kept]), CLOSING_MM)


def _bright(seen: Evidence) -> list[TumourCandidate]:
    alone = np.clip(seen.mirror_bright, 0, 1)
    filled = _rings_filled((seen.bright > BRIGHT) | ((seen.local > LOCAL) & (alone > 0)), seen)
    thick = thicker_than_normal(filled, seen.depth)
    strength = np.clip(seen.bright - FAINT, np.clip(seen.local, 0, alone), CAP)
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
    """Look a second time, at the deep brain: less sharp, so that little contrast suffices."""
    pooled = (
        _pooled_unlikeness(seen) * np.exp(-from_deep() / DEEP_MM) * (seen.depth > DARK_DEPTH_MM)
    )
    first = float(pooled.max())
    if first < DEEP_FLOOR:
        return []
    least = min(first, DEEP_PEAK)
    found = []
    for part in _parts(pooled > DEEP_EDGE * least, pooled, "deep"):
        peak = float(pooled[part.region].max())
        if peak >= least:
            region = part.region & (pooled > DEEP_EDGE * peak)
            weight = float(pooled[region].sum() * VOXEL_ML)
            found.append(TumourCandidate(region, weight, "deep"))
    return found


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
    place: Mask = (seen.depth > DARK_DEPTH_MM) & (from_ventricles() > VENTRICLE_MM)
    return place & ~in_cistern(seen.depth)


def _dark(seen: Evidence) -> list[TumourCandidate]:
    dark = (seen.dark > DARK) & _without_fluid(seen)
    thick = opened(dark, DARK_RADIUS_MM)
    strength = DARK_WEIGHT * np.clip(seen.dark, 0, CAP)
    alone = np.clip(seen.mirror_dark + 1, 0, 1)
    weight = strength * (DARK_SYMMETRIC + (1 - DARK_SYMMETRIC) * alone)
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
            if ring.any():
                out[...] |= _holes(ring, dark)
    return filled


def _holes(ring: npt.NDArray[np.bool_], dark: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    holes, count = ndimage.label(ndimage.binary_fill_holes(ring) & ~ring)
    if not count:
        return np.zeros_like(ring)
    numbers = np.arange(1, count + 1)
    area = ndimage.sum_labels(np.ones(ring.shape), holes, numbers) * SPACING_MM**2
    share = ndimage.mean(dark, holes, numbers)
    return np.isin(holes, numbers[(area <= HOLE_MM2) & (share > 0.5)])


def _slices(region: Mask, strength: Field) -> list[SliceBoxes]:
    rows = []
    for z in np.flatnonzero(region.any(axis=(0, 1))):
        labels, _ = ndimage.label(region[:, :, z])
        boxes = tuple(
            Box(x.start, y.start, x.stop, y.stop, round(float(strength[x, y, z].max()), 3))
            for x, y in ndimage.find_objects(labels)
        )
        rows.append(SliceBoxes(int(z), boxes, Saliency.name))
    return rows
