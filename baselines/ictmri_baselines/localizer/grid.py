"""The MNI152 grids that boxes are counted on: voxels to millimetres and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ictmri.atlas.template import ORIGIN_MM, grid_affine

if TYPE_CHECKING:
    import nibabel as nib

FULL_SHAPE: Final = (193, 229, 193)
"""Voxels of the template's own grid of 1 mm."""
_SAME_MM: Final = 1e-3
"""Affines are stored as float32: at 200 mm that is exact to 1e-5 mm."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every ``spacing_mm``-th voxel of the template, axes right, anterior, superior."""

    spacing_mm: int

    @classmethod
    def of(cls, image: nib.Nifti1Image) -> Grid:
        """Return the grid of a processed volume.

        Raises:
            ValueError: it does not lie on a grid of the template.
        """
        spacing = round(float(np.linalg.norm(image.affine[:3, 0])))
        grid = cls(max(spacing, 1))
        near = np.allclose(image.affine, grid_affine(grid.spacing_mm), atol=_SAME_MM, rtol=0)
        if not near or image.shape != grid.shape:
            raise ValueError(
                f"the volume of {'x'.join(map(str, image.shape))} voxels lies on no MNI152 grid"
            )
        return grid

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        x, y, z = (len(range(0, n, self.spacing_mm)) for n in FULL_SHAPE)
        return x, y, z

    def edge_mm(self, axis: int, index: float) -> float:
        """Return where the voxel ``index`` begins along ``axis``, MNI mm."""
        return ORIGIN_MM[axis] + (index - 0.5) * self.spacing_mm

    def edge_index(self, axis: int, mm: float) -> float:
        """Return the voxel edge at ``mm``, the inverse of :meth:`edge_mm`; no rounding."""
        return (mm - ORIGIN_MM[axis]) / self.spacing_mm + 0.5
