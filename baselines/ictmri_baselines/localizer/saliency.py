"""The offline detector: what is brighter or darker than the template allows, deep in the brain.

It looks at one processed volume and at the template, nothing else. Alignment by an affine is off by
millimetres, so a voxel is compared with the range of the template's intensities around it. Depth counts
because the cohort is defined by it: tumours of deep sites only; sinuses, dura and cortex do not.
The constants were set on phantoms of another seed than the published one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.atlas.template import SPACING_MM, template
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.processor import Processed

Field = npt.NDArray[np.float64]

SMOOTH_MM: Final = 2.5
POOL_MM: Final = 4.0
"""Sigma over which evidence is pooled: a lesion is larger, a vessel thinner."""
TOLERANCE_VOXELS: Final = 5
"""Edge of the cube in which the template's range is taken: 4 mm of misalignment either way."""
MARGIN: Final = 0.3
"""Standardised intensity beyond that range from which tissue counts as abnormal."""
MIN_DEPTH_MM: Final = 8.0
DEEP_DECAY_MM: Final = 8.0
"""Distance from the deep structures over which the weight falls by e."""
RELATIVE_THRESHOLD: Final = 0.2
MAX_PARTS: Final = 2
SECOND_PART: Final = 0.4
"""A further part is kept if its evidence is at least this share of the first one's."""


class SaliencyDetector:
    """Classical saliency on the processed volume; needs no weights and no network."""

    name = "saliency"
    version = "1"

    def detect(self, case: Processed) -> list[SliceBoxes]:
        """Return boxes around the most salient parts, slice by slice."""
        score = saliency(case)
        return _slices(_parts(score), score)


def saliency(case: Processed) -> Field:
    """Return the evidence for a tumour, >= 0, on the grid of the processed volume."""
    image = np.asarray(case.image.get_fdata(), dtype=np.float64)
    mask = np.asarray(case.brain_mask.dataobj) > 0
    smooth = _smoothed(image, mask)
    low, high, weight = _expectation()
    evidence = np.maximum(smooth - high, low - smooth) - MARGIN
    found: Field = ndimage.gaussian_filter(
        np.maximum(evidence, 0) * weight * mask, POOL_MM / SPACING_MM
    )
    return found


def _smoothed(image: Field, mask: npt.NDArray[np.bool_]) -> Field:
    """Return the Gaussian mean over the brain's voxels only."""
    sigma = SMOOTH_MM / SPACING_MM
    share = ndimage.gaussian_filter(mask.astype(np.float64), sigma)
    total: Field = ndimage.gaussian_filter(np.where(mask, image, 0.0), sigma)
    mean: Field = np.divide(total, share, out=np.zeros_like(total), where=mask & (share > 0))
    return mean


@lru_cache(maxsize=1)
def _expectation() -> tuple[Field, Field, Field]:
    """Return the lowest and highest intensity to expect at each place, and the place's weight."""
    target = template()
    inside = target.brain[target.mask].astype(np.float64)
    middle = np.median(inside)
    spread = 1.4826 * np.median(np.abs(inside - middle))
    standard = np.where(target.mask, (target.brain - middle) / spread, 0.0)
    smooth = _smoothed(standard, target.mask)
    depth = ndimage.distance_transform_edt(target.mask, sampling=SPACING_MM)
    off = ndimage.distance_transform_edt(~target.deep, sampling=SPACING_MM)
    weight = np.exp(-off / DEEP_DECAY_MM) * (depth > MIN_DEPTH_MM)
    low: Field = ndimage.minimum_filter(smooth, TOLERANCE_VOXELS)
    high: Field = ndimage.maximum_filter(smooth, TOLERANCE_VOXELS)
    return low, high, weight


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
