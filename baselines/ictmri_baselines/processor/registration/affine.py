"""The affine again, from brain to brain, once the brain is known.

The first affine is found from the whole head. On slices of 5 mm a skull's thickness and the neck can
make it a fifth too small or too large, which SyN would not make up for: on one of two real heads with
thick slices the template's brain came out at 1.21 litres where HD-BET found 1.62.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.geometry import Affine, shrink, to_itk
from ictmri.atlas.registration import COARSE_MM, FINE_MM, reference, register
from ictmri.atlas.template import template
from ictmri_baselines.processor.mapping import Mapping
from ictmri_baselines.processor.volume import Volume, Voxels, block_means

_JUDGED_MM: Final = 2


def brain_affine(volume: Volume, place: Aligned) -> Affine:
    """Return the better of two affines, MNI mm to scan mm: the one of the head, and one of the brain.

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
