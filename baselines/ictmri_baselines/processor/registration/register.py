"""To MNI152 space: by the affine alone, or by SyN after it.

SyN runs from the template's brain to the scan's brain, which the affine has brought to the template's
grid before: so its grid is small, its voxels are cubes whatever the scan's are, and its field is the
mapping's warp. ANTs' default runs 40 iterations at a quarter and 20 at half of the resolution and none
at the full one, which is what 2 mm with two levels does; here the second level runs 30, because the
affine before it is rougher than ANTs' own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from scipy import ndimage

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.box import box_of
from ictmri.atlas.geometry import Affine, shrink, to_itk
from ictmri.atlas.registration import COARSE_MM, FINE_MM, reference, register
from ictmri.atlas.template import grid_affine, template
from ictmri_baselines.processor.mapping import Mapping, stored_warp
from ictmri_baselines.processor.registration.ants_syn import SynParameters, check_ants, syn
from ictmri_baselines.processor.step import described, version_of
from ictmri_baselines.processor.volume import Volume, Voxels, block_means

GRID_MM: Final = 2
MARGIN_MM: Final = 6
"""Around the template's brain: SyN holds the border of its grid still. 12 mm gave the same overlaps."""

RIM_MM: Final = 6
"""Around the brain the metric looks on: the step from brain to background is what aligns the outlines."""
_JUDGED_MM: Final = 2


def brain_affine(volume: Volume, place: Aligned) -> Affine:
    """Return the better of two affines, MNI mm to scan mm: the one of the head, and one of the brain.

    The first affine is found from the whole head. On slices of 5 mm a skull's thickness and the neck can
    make it a fifth too small or too large, which SyN would not make up for: on one of two real heads with
    thick slices the template's brain came out at 1.21 litres where HD-BET found 1.62.

    Better is the one under which the scan's brain and the template's overlap more (Dice).

    Args:
        volume: with its brain's mask.
        place: the affine of the head.
    """
    image = to_itk(brain_voxels(volume), volume.plain)
    fine = shrink(image, float(FINE_MM))
    try:
        found = register(reference(brain_only=True), shrink(fine, float(COARSE_MM)), fine)
    except RuntimeError:
        return place.scan_from_mni  # ITK found no overlap to start from
    again = volume.affine @ np.linalg.inv(volume.plain) @ found
    return max(place.scan_from_mni, again, key=lambda affine: overlap(volume, affine))


def overlap(volume: Volume, scan_from_mni: Affine) -> float:
    """Return the Dice of the scan's brain and the template's under an affine."""
    share, affine = block_means(volume.brain, volume.affine, float(_JUDGED_MM))
    moved = Mapping(scan_from_mni).pull(share, affine, _JUDGED_MM) > 0.5
    target = template(_JUDGED_MM).mask
    return float(2 * (moved & target).sum() / max(moved.sum() + target.sum(), 1))


def brain_voxels(volume: Volume) -> Voxels:
    """Return the brain, its least value at 0, on a background of 0."""
    inside: Any = np.where(volume.brain, volume.voxels - volume.voxels[volume.brain].min(), 0)
    return np.asarray(inside, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class AffineOnly:
    """One affine.

    Attributes:
        again: find it again from brain to brain; of no use where the brain was found by the affine.
    """

    again: bool = True

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters."""
        return described("affine", again=self.again)

    def run(self, volume: Volume, place: Aligned) -> Mapping:
        """Return the mapping without a warp."""
        return Mapping(brain_affine(volume, place) if self.again else place.scan_from_mni)


@dataclass(frozen=True, slots=True)
class Syn:
    """ANTs' SyN.

    Attributes:
        again: find the affine again from brain to brain before.
        masked: the metric looks at the template's brain and a rim alone.
        parameters: of ANTs.
    """

    again: bool = True
    masked: bool = True
    parameters: SynParameters = field(default_factory=SynParameters)

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters.

        Raises:
            MissingDependencyError: ANTs is not installed.
        """
        check_ants()
        return described(
            "syn",
            f"antspyx {version_of('antspyx', 'SyN (antspyx)')}",
            again=self.again,
            masked=self.masked,
            grid_mm=GRID_MM,
            **asdict(self.parameters),
        )

    def run(self, volume: Volume, place: Aligned) -> Mapping:
        """Return the mapping of a volume whose brain was extracted.

        Raises:
            MissingDependencyError: ANTs is not installed.
            RuntimeError: ANTs failed.
        """
        target = template(GRID_MM)
        box = box_of(target.mask, MARGIN_MM // GRID_MM)
        start = brain_affine(volume, place) if self.again else place.scan_from_mni
        coarse = block_means(brain_voxels(volume), volume.affine, float(GRID_MM))
        moving = Mapping(start).pull(*coarse, GRID_MM)[box]
        near = ndimage.binary_dilation(target.mask, iterations=RIM_MM // GRID_MM)[box]
        found = syn(
            np.ascontiguousarray(target.brain[box]),
            np.ascontiguousarray(moving),
            near if self.masked else None,
            float(GRID_MM),
            self.parameters,
        )
        return Mapping(start, stored_warp(found, _box_affine(box)))


def _box_affine(box: tuple[slice, ...]) -> Affine:
    affine = grid_affine(float(GRID_MM))
    affine[:3, 3] += [GRID_MM * part.start for part in box]
    return affine
