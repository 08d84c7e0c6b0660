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
from ictmri.atlas.geometry import Affine
from ictmri.atlas.template import grid_affine, template
from ictmri_baselines.processor.mapping import Mapping, stored_warp
from ictmri_baselines.processor.registration.affine import brain_affine, brain_voxels
from ictmri_baselines.processor.registration.ants_syn import SynParameters, check_ants, syn
from ictmri_baselines.processor.step import version_of
from ictmri_baselines.processor.volume import Volume, block_means

GRID_MM: Final = 2
MARGIN_MM: Final = 6
"""Around the template's brain: SyN holds the border of its grid still. 12 mm gave the same overlaps."""

RIM_MM: Final = 6
"""Around the brain the metric looks on: the step from brain to background is what aligns the outlines."""


@dataclass(frozen=True, slots=True)
class AffineOnly:
    """One affine.

    Attributes:
        again: find it again from brain to brain; of no use where the brain was found by the affine.
    """

    again: bool = True

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters."""
        return {"name": "affine", "version": "1", "parameters": {"again": self.again}}

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
        return {
            "name": "syn",
            "version": f"antspyx {version_of('antspyx', 'SyN (antspyx)')}",
            "parameters": {
                "again": self.again,
                "masked": self.masked,
                "grid_mm": GRID_MM,
                **asdict(self.parameters),
            },
        }

    def run(self, volume: Volume, place: Aligned) -> Mapping:
        """Return the mapping of a volume whose brain was extracted.

        Raises:
            MissingDependencyError: ANTs is not installed.
            RuntimeError: ANTs failed.
        """
        target = template(GRID_MM)
        box = _box()
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


def _box() -> tuple[slice, ...]:
    mask = template(GRID_MM).mask
    margin = MARGIN_MM // GRID_MM
    slices = []
    for axis in range(3):
        (filled,) = np.nonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        slices.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + margin + 1))
    return tuple(slices)


def _box_affine(box: tuple[slice, ...]) -> Affine:
    affine = grid_affine(float(GRID_MM))
    affine[:3, 3] += [GRID_MM * part.start for part in box]
    return affine
