"""Between a scan and MNI152 space: one affine, and where SyN was run a warp; both ways.

Points in MNI space are warped first, then carried to the scan:
``scan_mm = scan_from_mni @ (mni_mm + warp(mni_mm))``, all RAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine
from scipy import ndimage

from ictmri.atlas.box import Box
from ictmri.atlas.geometry import Affine, canonical
from ictmri.atlas.template import SHAPE, SPACING_MM, grid_affine
from ictmri.phantom.fields import resample_axes
from ictmri_baselines.processor.points import (
    Array,
    carried,
    grid_points,
    inverse_displacement,
    look_up,
    look_up_affine,
    look_up_vectors,
    slabs,
)
from ictmri_baselines.processor.volume import in_stored_order

Points = npt.NDArray[np.float64]

WARP_LEVELS: Final = 64
"""Stored levels a mm: rounding moves a point by less than 0.014 mm, and the file packs well."""


SETTLING: Final = 2
"""Half steps of the fixed point after the inverse field was interpolated: between its voxels the
interpolation is 0.13 mm off where SyN pushes hardest."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """The way from MNI152 space to a scan and back.

    Attributes:
        scan_from_mni: (4, 4) float64, MNI mm to scan mm (RAS).
        warp: (X, Y, Z, 1, 3) displacement in mm (RAS) on an MNI grid with axes R, A, S; linear
            between its voxels, 0 outside them. None where one affine is all.
    """

    scan_from_mni: Affine
    warp: nib.Nifti1Image | None = None

    def to_mni(
        self, image: nib.Nifti1Image, spacing_mm: int, order: int = 1, outside: float = 0.0
    ) -> Array:
        """Return an image of the scan's space on the MNI152 grid of 1 or 2 mm, float32.

        Args:
            image: on any grid in the scan's space.
            spacing_mm: edge of the result's voxels.
            order: 0, the nearest voxel, for labels; 1, linear, for anything else.
            outside: value where the image has none.
        """
        voxels, affine = canonical(image)
        return self.pull(voxels, affine, spacing_mm, order=order, outside=outside)

    def pull(
        self,
        voxels: npt.NDArray[Any],
        affine: Affine,
        spacing_mm: int,
        *,
        order: int = 1,
        outside: float = 0.0,
        only: Box | None = None,
    ) -> Array:
        """Return voxels in RAS order, placed by ``affine`` (to scan mm), on the MNI152 grid.

        ``only`` is the box of that grid that is looked up; the rest is ``outside``.
        """
        index = np.linalg.inv(affine) @ self.scan_from_mni
        axes = mni_axes(spacing_mm)
        shape = [len(axis) for axis in axes]
        if self.warp is None:
            mni = index @ grid_affine(spacing_mm)
            return look_up_affine(voxels, mni, shape, order, outside, only)
        source, field = np.asarray(voxels, dtype=np.float32), self.field()
        result = np.full(shape, outside, dtype=np.float32)
        box = only or (slice(None),) * len(shape)
        wanted = result[box]
        for part, slab in slabs([axis[side] for axis, side in zip(axes, box, strict=True)]):
            at = grid_points(slab, index, self._on_grid(field, slab))
            wanted[part] = look_up(source, at, order, outside)
        return result

    def to_scan(
        self,
        volume: nib.Nifti1Image,
        like: nib.Nifti1Image,
        order: int = 1,
        outside: float = 0.0,
    ) -> nib.Nifti1Image:
        """Return a volume of MNI152 space on the scan's own grid, float32, stored as ``like`` is.

        Args:
            volume: on any MNI grid.
            like: the scan; only its grid is used.
            order: 0, the nearest voxel, for labels; 1, linear, for anything else.
            outside: value where the volume has none.
        """
        voxels, affine = canonical(volume)
        grid: Any = nib.as_closest_canonical(like)
        shape = grid.shape[:3]
        mni = np.asarray(np.linalg.inv(self.scan_from_mni) @ grid.affine, dtype=np.float64)
        index = np.asarray(np.linalg.inv(affine), dtype=np.float64)
        if self.warp is None:
            return in_stored_order(look_up_affine(voxels, index @ mni, shape, order, outside), like)
        source = np.asarray(voxels, dtype=np.float32)
        field, inverse = self.field(), self.inverse_field()
        of_field = np.asarray(np.linalg.inv(self._field_affine()), dtype=np.float64)
        result = np.empty(shape, dtype=np.float32)
        for part, slab in slabs([np.arange(size, dtype=np.float32) for size in shape]):
            start = grid_points(slab, mni)
            points = start + look_up_vectors(inverse, carried(start, of_field))
            for _ in range(SETTLING):
                points = (points + start - look_up_vectors(field, carried(points, of_field))) / 2
            result[part] = look_up(source, carried(points, index), order, outside)
        return in_stored_order(result, like)

    def scan_ml(self, inside: npt.NDArray[np.bool_], affine: Affine) -> float:
        """Return the volume in the scan's own space, in ml, of voxels of MNI152 space.

        Args:
            inside: which voxels, (X, Y, Z).
            affine: voxel to MNI mm.
        """
        voxel_ml = abs(float(np.linalg.det(self.scan_from_mni[:3, :3] @ affine[:3, :3]))) / 1000
        if self.warp is None:
            return voxel_ml * float(np.count_nonzero(inside))
        at = apply_affine(np.linalg.inv(self._field_affine()) @ affine, np.argwhere(inside)).T
        growth = ndimage.map_coordinates(self.jacobian(), at, np.float64, order=1, mode="nearest")
        return voxel_ml * float(growth.sum())

    def scan_points(self, mni_mm: Points) -> Points:
        """Return the scan mm of MNI mm, both (n, 3)."""
        moved = mni_mm + self._at(self.field(), mni_mm)
        return np.asarray(apply_affine(self.scan_from_mni, moved), dtype=np.float64)

    def mni_points(self, scan_mm: Points) -> Points:
        """Return the MNI mm of scan mm, both (n, 3)."""
        back = np.asarray(apply_affine(np.linalg.inv(self.scan_from_mni), scan_mm))
        found = back + self._at(self.inverse_field(), back)
        for _ in range(SETTLING):
            found = (found + back - self._at(self.field(), found)) / 2
        return np.asarray(found, dtype=np.float64)

    def field(self) -> Array:
        """Return the warp as (3, X, Y, Z) float32 mm; one voxel of zeros without a warp."""
        if self.warp is None:
            return np.zeros((3, 1, 1, 1), dtype=np.float32)
        data = np.asarray(self.warp.dataobj, dtype=np.float32)
        return np.ascontiguousarray(np.moveaxis(data[:, :, :, 0], -1, 0))

    def inverse_field(self) -> Array:
        """Return the displacement that undoes the warp, on the warp's grid."""
        if self.warp is None:
            return self.field()
        return inverse_displacement(self.field(), float(self._field_affine()[0, 0]))

    def jacobian(self) -> Array:
        """Return how much larger the scan's tissue is than MNI152's, voxel by voxel of the warp.

        The determinant of d(mni + warp)/d(mni) by central differences: above 0 where nothing folds.
        The affine's share, the same everywhere, is left out. Ones without a warp.
        """
        if self.warp is None:
            return np.ones(SHAPE, dtype=np.float32)
        edge = float(self._field_affine()[0, 0])
        rows = [list(np.gradient(component.astype(np.float64), edge)) for component in self.field()]
        for i in range(3):
            rows[i][i] = rows[i][i] + 1
        (a, b, c), (d, e, f), (g, h, k) = rows
        determinant = a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g)
        return np.asarray(determinant, dtype=np.float32)

    def _field_affine(self) -> Affine:
        affine = grid_affine(SPACING_MM) if self.warp is None else self.warp.affine
        return np.asarray(affine, dtype=np.float64)

    def _on_grid(self, field: Array, axes: list[Array]) -> Array:
        """Return the warp on a grid given by its MNI mm along each axis, (3, a, b, c)."""
        affine = self._field_affine()
        indices = [
            ((axis - affine[i, 3]) / affine[i, i]).astype(np.float32) for i, axis in enumerate(axes)
        ]
        moved = resample_axes(field, indices)
        for i, index in enumerate(indices):
            outside = (index < 0) | (index > field.shape[i + 1] - 1)
            moved[(slice(None),) * (i + 1) + (outside,)] = 0
        return moved

    def _at(self, field: Array, mni_mm: Points) -> Points:
        indices = apply_affine(np.linalg.inv(self._field_affine()), mni_mm).T
        return np.asarray(look_up_vectors(field, indices).T, dtype=np.float64)


def stored_warp(field: Array, affine: Affine) -> nib.Nifti1Image:
    """Return a displacement field as it is kept: int16 with a slope, intent "vector".

    Args:
        field: (3, X, Y, Z) mm, RAS.
        affine: its voxels' MNI mm.
    """
    levels = np.clip(np.round(field * WARP_LEVELS), -32767, 32767).astype(np.int16)
    image = nib.Nifti1Image(np.moveaxis(levels, 0, -1)[:, :, :, None], affine)
    image.header.set_intent("vector")
    image.header.set_slope_inter(1 / WARP_LEVELS, 0.0)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    # Only an image that was read applies its slope: the one in memory must not differ from the stored.
    return nib.Nifti1Image.from_bytes(image.to_bytes())


def mni_axes(spacing_mm: int) -> list[Array]:
    """Return the MNI mm of the template grid's voxels along R, A and S."""
    origin = grid_affine(spacing_mm)[:3, 3]
    counts = [(size - 1) * int(SPACING_MM) // spacing_mm + 1 for size in SHAPE]
    return [
        (start + spacing_mm * np.arange(count)).astype(np.float32)
        for start, count in zip(origin, counts, strict=True)
    ]
