"""The offline detector: what is bright, lopsided or unlike the template, deep in the brain.

It looks at one processed volume and at the template. Depth counts because the cohort is defined by it:
tumours of deep sites only. What enhances in every brain (sinuses, choroid plexus) lies at the surface or
in the ventricles and counts less there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.processor import Processed
from ictmri_baselines.processor.template import SPACING_MM, template

Field = npt.NDArray[np.float64]

SMOOTH_MM: Final = 2.5
BRIGHT_FROM: Final = 1.6
"""Standardised intensity above which tissue counts as enhancing; white matter lies near 1."""
DARK_FROM: Final = 1.2
"""Drop below the template's intensity from which tissue counts as abnormally dark."""
LOPSIDED_FROM: Final = 0.8
WEIGHTS: Final = {"bright": 1.0, "lopsided": 0.7, "dark": 0.35}
DEPTH_MM: Final = 14.0
"""Depth below the brain's surface at which half the weight is reached."""
VENTRICLE_WEIGHT: Final = 0.5
RELATIVE_THRESHOLD: Final = 0.45
MAX_PARTS: Final = 2
SECOND_PART: Final = 0.5
"""A further part is kept if its evidence is at least this share of the first one's."""


class SaliencyDetector:
    """Classical saliency on the processed volume; needs no weights and no network."""

    name = "saliency"

    def detect(self, case: Processed) -> list[SliceBoxes]:
        """Return boxes around the most salient parts, slice by slice."""
        score = saliency(case)
        return _slices(_parts(score), score)


def saliency(case: Processed) -> Field:
    """Return the evidence for a tumour, >= 0, on the grid of the processed volume."""
    image = np.asarray(case.image.get_fdata(), dtype=np.float64)
    mask = np.asarray(case.brain_mask.dataobj) > 0
    smooth = _smoothed(image, mask)
    expected, weight = _expectation()
    mirrored = np.abs(smooth - smooth[::-1])
    evidence = (
        WEIGHTS["bright"] * np.maximum(smooth - BRIGHT_FROM, 0)
        + WEIGHTS["lopsided"] * np.maximum(mirrored - LOPSIDED_FROM, 0)
        + WEIGHTS["dark"] * np.maximum(expected - smooth - DARK_FROM, 0)
    )
    found: Field = ndimage.gaussian_filter(evidence * weight * mask, SMOOTH_MM / SPACING_MM)
    return found


def _smoothed(image: Field, mask: npt.NDArray[np.bool_]) -> Field:
    """Return the Gaussian mean over the brain's voxels only."""
    sigma = SMOOTH_MM / SPACING_MM
    share = ndimage.gaussian_filter(mask.astype(np.float64), sigma)
    total: Field = ndimage.gaussian_filter(np.where(mask, image, 0.0), sigma)
    mean: Field = np.divide(total, share, out=np.zeros_like(total), where=mask & (share > 0))
    return mean


@lru_cache(maxsize=1)
def _expectation() -> tuple[Field, Field]:
    """Return the template's standardised intensity and the weight of each place."""
    target = template()
    inside = target.brain[target.mask].astype(np.float64)
    middle = np.median(inside)
    spread = 1.4826 * np.median(np.abs(inside - middle))
    standard = np.where(target.mask, (target.brain - middle) / spread, 0.0)
    depth = ndimage.distance_transform_edt(target.mask, sampling=SPACING_MM)
    near = ndimage.distance_transform_edt(~target.deep, sampling=SPACING_MM)
    weight = 1 / (1 + np.exp(-(depth - DEPTH_MM) / 3)) + np.exp(-near / 8)
    weight = np.where(target.ventricles, VENTRICLE_WEIGHT, 1.0) * weight
    return _smoothed(standard, target.mask), weight * target.mask


def _parts(score: Field) -> npt.NDArray[np.bool_]:
    """Return the parts with the most evidence."""
    peak = score.max()
    if peak <= 0:
        return np.zeros(score.shape, dtype=bool)
    labels, count = ndimage.label(score > RELATIVE_THRESHOLD * peak)
    sums = ndimage.sum_labels(score, labels, np.arange(1, count + 1))
    order = np.argsort(-sums, kind="stable")[:MAX_PARTS]
    kept = [int(k) + 1 for k in order if sums[k] >= SECOND_PART * sums[order[0]]]
    return np.isin(labels, kept)


def _slices(parts: npt.NDArray[np.bool_], score: Field) -> list[SliceBoxes]:
    rows = []
    for z in np.flatnonzero(parts.any(axis=(0, 1))):
        labels, _ = ndimage.label(parts[:, :, z])
        boxes = tuple(
            Box(x.start, y.start, x.stop, y.stop, round(float(score[x, y, z].max()), 3))
            for x, y in ndimage.find_objects(labels)
        )
        rows.append(SliceBoxes(int(z), boxes, SaliencyDetector.name))
    return rows
