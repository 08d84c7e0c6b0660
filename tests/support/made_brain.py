"""Made-up brains on the template's grids: a block of tissue in some slices, bright boxes in it."""

import nibabel as nib
import numpy as np

from ictmri.atlas.template import grid_affine
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer.boxes import Box
from ictmri_baselines.localizer.grid import Grid


def made_brain(bright: dict[int, Box | None], *, spacing_mm: int = 2, level: float = 6.0) -> Brain:
    """Return a brain with tissue in the slices named, in each a box of ``level``, or none."""
    grid = Grid(spacing_mm)
    image = np.zeros(grid.shape, np.float32)
    mask = np.zeros(grid.shape, np.uint8)
    nx, ny, _ = grid.shape
    for index, box in bright.items():
        mask[nx // 5 : -(nx // 5), ny // 5 : -(ny // 5), index] = 1
        if box is not None:
            image[box.x0 : box.x1, box.y0 : box.y1, index] = level
    affine = grid_affine(spacing_mm)
    return Brain(nib.Nifti1Image(image, affine), nib.Nifti1Image(mask, affine))
