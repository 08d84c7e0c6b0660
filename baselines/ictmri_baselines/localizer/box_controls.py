"""What any detector's boxes are held against: their mirror image, a random place, the mirrored brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.localizer.prior import stacked_boxes
from ictmri_baselines.localizer.region import Region

if TYPE_CHECKING:
    from ictmri_baselines.localizer.detectors import Detector

Mask = npt.NDArray[np.bool_]
DROP_VERSION: Final = "2"
"""Of what becomes of boxes that do not mirror: raised where priors change that were made without them."""
SAME: Final = 0.5
"""Intersection over union from which a box is the mirror image of another."""


def mirrored_boxes(rows: Sequence[SliceBoxes], width: int) -> list[SliceBoxes]:
    """Return the boxes on the other side of a grid of ``width`` voxels from left to right."""
    return [
        replace(
            row,
            boxes=tuple(replace(b, x0=width - b.x1, x1=width - b.x0) for b in row.boxes),
        )
        for row in rows
    ]


def moved_boxes(
    rows: Sequence[SliceBoxes], brain: Mask, random: np.random.Generator
) -> list[SliceBoxes]:
    """Return the stack of boxes, each of its size, with its middle at a random voxel of the brain.

    Args:
        rows: of one case.
        brain: the mask, on the grid of the boxes; what comes to lie outside the grid is cut off.
        random: where.
    """
    there = np.argwhere(stacked_boxes(rows, brain.shape))
    if not len(there):
        return list(rows)
    target = np.argwhere(brain)[random.integers(np.count_nonzero(brain))]
    x, y, z = (int(n) for n in target - np.round(there.mean(axis=0)).astype(int))
    nx, ny, nz = brain.shape
    moved = []
    for row in rows:
        shifted = (
            Box(max(b.x0 + x, 0), max(b.y0 + y, 0), min(b.x1 + x, nx), min(b.y1 + y, ny), b.score)
            for b in row.boxes
            if b.x1 + x > 0 and b.y1 + y > 0 and b.x0 + x < nx and b.y0 + y < ny
        )
        if 0 <= row.slice + z < nz:
            moved.append(replace(row, slice=row.slice + z, boxes=tuple(shifted)))
    return moved


class MirrorChecked:
    """A detector that is asked about the mirrored brain, too: what is there must be found there again.

    Attributes:
        boxes: how many boxes the last brain gave.
        confirmed: how many of them came back mirrored.
    """

    def __init__(self, detector: Detector, *, drop: bool) -> None:
        self._detector = detector
        self._drop = drop
        self.boxes = self.confirmed = 0

    def detect(self, brain: Brain) -> list[SliceBoxes] | Region:
        """Return what the detector finds, without the boxes that do not mirror where these are dropped."""
        again = _rows(self._detector.detect(_flipped(brain)))
        found = self._detector.detect(brain)
        other = {row.slice: row.boxes for row in mirrored_boxes(again, brain.image.shape[0])}
        rows = _rows(found)
        kept = [
            replace(row, boxes=tuple(b for b in row.boxes if _among(b, other.get(row.slice, ()))))
            for row in rows
        ]
        self.boxes, self.confirmed = (sum(len(row.boxes) for row in r) for r in (rows, kept))
        if not self._drop:
            return found
        return _only(kept, found) if isinstance(found, Region) else kept


def _only(kept: Sequence[SliceBoxes], found: Region) -> Region:
    """Return a map without what lies outside these boxes, and without the parts of the others in them."""
    left = found.map * stacked_boxes(kept, found.map.shape)
    for row in kept:
        labels, boxes = found.parts(row.slice)
        other = [place for place, box in enumerate(boxes, start=1) if box not in row.boxes]
        left[:, :, row.slice][np.isin(labels, other)] = 0
    return replace(found, map=left)


def _rows(found: list[SliceBoxes] | Region) -> list[SliceBoxes]:
    return found.boxes() if isinstance(found, Region) else list(found)


def _flipped(brain: Brain) -> Brain:
    """Return the other side of a brain; the template's grids are the same on both."""
    image, mask = (
        nib.Nifti1Image(np.ascontiguousarray(np.asarray(v.dataobj)[::-1]), v.affine)
        for v in (brain.image, brain.mask)
    )
    return Brain(image, mask)


def _among(box: Box, others: Sequence[Box]) -> bool:
    return any(_overlap(box, other) >= SAME for other in others)


def _overlap(a: Box, b: Box) -> float:
    """Return the intersection over the union."""
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    along = min(a.y1, b.y1) - max(a.y0, b.y0)
    both = max(across, 0) * max(along, 0)
    areas = ((c.x1 - c.x0) * (c.y1 - c.y0) for c in (a, b))
    return both / (sum(areas) - both)
