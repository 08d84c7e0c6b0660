"""The volumes of the interactive viewer: small NIfTI files as text."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ictmri.atlas.template import SPACING_MM, grid_affine
from ictmri.io.volumes import pack
from ictmri_baselines.localizer.figure import shown_brain

if TYPE_CHECKING:
    from ictmri_baselines.predict.result import Biopsy


def volumes_of(biopsy: Biopsy) -> dict[str, str]:
    """Return gzipped NIfTI in base64: ``brain`` and ``prior``, and ``attention`` where there is one.

    One byte a voxel, in MNI152 space, cut to what holds anything. Empty where the scan could not be
    processed.
    """
    processed, found = biopsy.processed, biopsy.found
    if processed is None or found is None:
        return {}
    affine = np.asarray(processed.brain.image.affine, dtype=np.float64)
    prior = np.asarray(found.refined.dataobj, dtype=np.float32)
    volumes = {
        "brain": packed(shown_brain(processed.brain), affine),
        "prior": packed(prior, affine),
    }
    if biopsy.diagnosis is not None:
        step = round(SPACING_MM / float(affine[0, 0]))
        inside = np.asarray(processed.brain.mask.dataobj)[(slice(None, None, step),) * 3] > 0
        attention = biopsy.diagnosis.attention * inside
        volumes["attention"] = packed(attention, grid_affine(SPACING_MM))
    return volumes


def packed(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> str:
    """Return a volume (X, Y, Z) in [0, 1], affine in mm, as NIfTI in 0..255, cut to what is not 0."""
    levels = np.round(volume * 255).astype(np.uint8)
    places = np.argwhere(levels)
    low, high = (places.min(axis=0), places.max(axis=0) + 1) if len(places) else ([0] * 3, [1] * 3)
    part = levels[tuple(slice(first, last) for first, last in zip(low, high, strict=True))]
    placed = affine.copy()
    placed[:3, 3] = affine[:3, :3] @ np.asarray(low) + affine[:3, 3]
    image = nib.Nifti1Image(np.ascontiguousarray(part), placed)
    image.set_sform(placed, 4)
    image.set_qform(placed, 4)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(pack(image, "volume")["bytes"]).decode()
