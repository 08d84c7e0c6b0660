"""The template's head as a scanner would see it after the head moved; scipy does the resampling."""

import nibabel as nib
import numpy as np
from scipy import ndimage

from ictmri.atlas.template import template


def moved(
    pitch: float = 0.0,
    yaw: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float, float] = (0, 0, 0),
) -> np.ndarray:
    """An affine from MNI mm to scan mm."""
    a, b = np.deg2rad([pitch, yaw])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = scale * turn_x @ turn_z
    affine[:3, 3] = shift
    return affine


def scan_of(
    scan_from_mni: np.ndarray,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    *,
    brain_only: bool = False,
    background: float = 0.0,
    seed: int = 0,
) -> nib.Nifti1Image:
    """A head, or its brain on a constant background, float32, with noise."""
    source = template()
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-110, -140, -100)
    shape = tuple(np.ceil(np.array([220, 260, 210]) / spacing).astype(int))
    voxel = np.linalg.inv(source.affine) @ np.linalg.inv(scan_from_mni) @ affine
    data = source.brain if brain_only else source.head
    values = ndimage.affine_transform(data, voxel[:3, :3], voxel[:3, 3], shape, order=1)
    noise = np.random.default_rng(seed).normal(0, 2, shape)
    if brain_only:
        inside = ndimage.affine_transform(
            source.mask.astype(np.float32), voxel[:3, :3], voxel[:3, 3], shape, order=1
        )
        values = np.where(inside > 0.5, values + noise, background)
    else:
        values = values + noise + background
    return nib.Nifti1Image(values.astype(np.float32), affine)


def brain_mask_of(scan: nib.Nifti1Image, scan_from_mni: np.ndarray) -> nib.Nifti1Image:
    """The template's brain mask on a scan's grid, uint8."""
    source = template()
    voxel = np.linalg.inv(source.affine) @ np.linalg.inv(scan_from_mni) @ scan.affine
    inside = ndimage.affine_transform(
        source.mask.astype(np.float32), voxel[:3, :3], voxel[:3, 3], scan.shape, order=1
    )
    return nib.Nifti1Image((inside > 0.5).astype(np.uint8), scan.affine)


def reordered(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same image with its axes stored in another order, for example "PSL"."""
    wanted = nib.orientations.axcodes2ornt(tuple(codes))
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted)
    )
