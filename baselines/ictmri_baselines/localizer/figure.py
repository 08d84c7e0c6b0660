"""A picture of both priors on a brain in MNI152 space: three planes through the lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from ictmri.atlas.template import SPACING_MM, grid_affine
from ictmri.pages.triplanar import (
    MIDDLE_MM,
    Point,
    brain_grey,
    deepest,
    draw,
    mni_planes,
)
from ictmri_baselines.localizer.prior import stacked_boxes

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.localize import Localization

COARSE_INK: Final = (90, 200, 255)
REFINED_INK: Final = (255, 170, 40)
BOX_INK: Final = (150, 150, 150)
ON_HEAT_INK: Final = (255, 255, 255)
"""Of the refined prior on the colours of attention, which hold orange."""
Volume = NDArray[np.float32]


def figure(
    brain: Brain, found: Localization, *, boxes: bool = True, attention: Volume | None = None
) -> bytes:
    """Return a WebP picture: axial, coronal and sagittal plane through the lesion.

    The coarse prior's half is outlined in blue, the refined prior in orange, the boxes in grey; on
    attention the refined prior alone, in white.

    Args:
        brain: on the MNI152 grid of 1 or 2 mm.
        found: its priors.
        boxes: outline the boxes.
        attention: (97, 115, 97) in [0, 1], on the MNI152 grid of 2 mm; its colours lie inside the brain.
    """
    planes = mni_planes(centre_of(found))
    affine = np.asarray(brain.image.affine, dtype=np.float64)
    grey = planes.cut(shown_brain(brain), affine)
    coarse, refined = (np.asarray(v.dataobj, np.float32) for v in (found.coarse, found.refined))
    if attention is not None:
        heat = planes.cut(attention, grid_affine(SPACING_MM))
        return draw(
            planes,
            grey,
            lines=[(planes.cut(refined, affine), ON_HEAT_INK, 0)],
            heat=lambda axis: heat(axis) * (grey(axis) > 0),
        )
    priors = [(coarse, COARSE_INK), (refined, REFINED_INK)]
    boxed = stacked_boxes(found.boxes if boxes else (), coarse.shape).astype(np.float32)
    drawn = [(boxed, BOX_INK), *priors] if boxes else priors
    return draw(planes, grey, lines=[(planes.cut(v, affine), ink, 0) for v, ink in drawn])


def centre_of(found: Localization) -> Point:
    """Return the MNI mm of the point deepest inside the refined prior; else inside the coarse prior's half.

    The middle of the brain where both are empty.
    """
    for volume in (found.refined, found.coarse):
        voxel = deepest(np.asarray(volume.dataobj) > 0.5)
        if voxel is not None:
            x, y, z = (float(mm) for mm in apply_affine(volume.affine, voxel))
            return x, y, z
    return MIDDLE_MM


def shown_brain(brain: Brain) -> Volume:
    """Return a brain's intensities in 0..1 as they are shown, 0 outside it."""
    image = brain.image.get_fdata(dtype=np.float32)
    return brain_grey(image, np.asarray(brain.mask.dataobj) > 0)
