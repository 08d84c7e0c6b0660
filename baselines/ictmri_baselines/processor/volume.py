"""A scan as the steps hand it on: voxels in RAS order, a way to millimetres, and the brain's mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri.atlas.alignment import extracted_support
from ictmri.atlas.geometry import Affine, canonical, orthogonal
from ictmri.io.files import sha256_bytes

Voxels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Volume:
    """What goes into a step and what comes out of it.

    Attributes:
        voxels: (X, Y, Z) float32, axes nearest to right, anterior, superior.
        affine: (4, 4) float64, voxel to the scan's mm (RAS).
        mask: the brain, None before its extraction.
    """

    voxels: Voxels
    affine: Affine
    mask: Mask | None = None

    @property
    def edges_mm(self) -> npt.NDArray[np.float64]:
        """Voxel edges in mm, (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def plain(self) -> Affine:
        """The affine without its shear, which ITK's images cannot hold."""
        return orthogonal(self.affine)

    @property
    def brain(self) -> Mask:
        """The mask, of a volume whose brain was extracted."""
        if self.mask is None:
            raise ValueError("this step needs a volume with a brain mask")
        return self.mask

    def with_mask(self, mask: Mask) -> Volume:
        """Return the same voxels with a mask of the brain."""
        return replace(self, mask=mask)

    def with_voxels(self, voxels: Voxels) -> Volume:
        """Return other voxels with the same mask."""
        return replace(self, voxels=voxels)

    def coarser(self, target_mm: float) -> tuple[Voxels, Affine]:
        """Average whole blocks of voxels, so that no edge is much finer than ``target_mm``."""
        return block_means(self.voxels, self.affine, target_mm)

    def digest(self) -> str:
        """Return the SHA-256 of the voxels and their place; how the file stored them is left out."""
        shape = np.asarray(self.voxels.shape, dtype=np.int64)
        return sha256_bytes(
            shape.tobytes() + self.affine.tobytes() + np.ascontiguousarray(self.voxels).tobytes()
        )


def volume_of(image: nib.Nifti1Image) -> Volume:
    """Return a scan's voxels and affine."""
    voxels, affine = canonical(image)
    return Volume(np.ascontiguousarray(voxels), affine)


def support_of(volume: Volume) -> Mask | None:
    """Return the brain of a scan that holds nothing but a brain, else None."""
    return extracted_support(volume.voxels, volume.affine)


def on_plain_background(volume: Volume) -> Volume:
    """Return a bare brain on a background just below its darkest voxel.

    Whatever constant the background was, no interpolation across the brain's edge brings it in.
    """
    support = support_of(volume)
    if support is None:
        return volume
    below = np.nextafter(volume.voxels[support].min(), np.float32(-np.inf))
    return volume.with_voxels(np.where(support, volume.voxels, below).astype(np.float32))


def block_means(
    voxels: npt.NDArray[Any], affine: Affine, target_mm: float
) -> tuple[Voxels, Affine]:
    """Return voxels averaged over whole blocks, and their affine.

    A remainder that fills no block is left out, as ITK's BinShrink does.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    factors = [max(1, int(target_mm / edge + 0.25)) for edge in edges]
    if max(factors) == 1:
        return voxels.astype(np.float32), affine.copy()
    coarse = voxels
    for axis, factor in enumerate(factors):
        if factor > 1:
            count = coarse.shape[axis] // factor
            kept = np.take(coarse, np.arange(count * factor), axis=axis)
            split = (*kept.shape[:axis], count, factor, *kept.shape[axis + 1 :])
            coarse = kept.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    larger = affine @ np.diag([*factors, 1.0])
    larger[:3, 3] = affine[:3, :3] @ [(factor - 1) / 2 for factor in factors] + affine[:3, 3]
    return coarse, larger


def in_stored_order(data: npt.NDArray[Any], like: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return an array in RAS order as an image on the grid of ``like``, as that was stored."""
    to_ras = nib.io_orientation(like.affine)
    ras = nib.orientations.axcodes2ornt(("R", "A", "S"))
    stored = nib.apply_orientation(data, nib.orientations.ornt_transform(ras, to_ras))
    image = nib.Nifti1Image(np.ascontiguousarray(stored), like.affine)
    header: Any = like.header
    image.header["sform_code"] = int(header["sform_code"]) or 1
    return image
