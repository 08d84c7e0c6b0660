"""What a detector that sees voxels gives: a map on the brain's grid, and the boxes around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri_baselines.localizer.boxes import Box, SliceBoxes

MARKED: Final = 0.5
"""Value of a map above which a voxel is marked."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where a detector sees a tumour, voxel by voxel.

    Attributes:
        map: float32 in [0, 1] on the brain's grid of 1 or 2 mm, same shape; above :data:`MARKED` marked. 0
            where nothing is: from there the refinement takes its examples of normal brain.
        detector: its name.
        margin_mm: how much the coarse prior is wider: what the detector is known to miss at a rim.
        drawn: whether it is an outline that was drawn, which no refinement knows better.
    """

    map: npt.NDArray[np.float32]
    detector: str
    margin_mm: float = 0.0
    drawn: bool = False

    def boxes(self) -> list[SliceBoxes]:
        """Return a box around each part of each axial slice, its score the part's highest value."""
        used = np.flatnonzero((self.map > MARKED).any(axis=(0, 1)))
        return [SliceBoxes(int(z), self.parts(z)[1], self.detector) for z in used]

    def parts(self, z: int) -> tuple[npt.NDArray[np.int32], tuple[Box, ...]]:
        """Return the parts of an axial slice: (X, Y) labels from 1 on, 0 elsewhere, and the box of each."""
        labels, _ = ndimage.label(self.map[:, :, z] > MARKED)
        boxes = (
            Box(x.start, y.start, x.stop, y.stop, round(float(self.map[x, y, z].max()), 3))
            for x, y in ndimage.find_objects(labels)
        )
        return labels, tuple(boxes)
