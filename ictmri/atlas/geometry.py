"""Between nibabel's world (RAS mm) and SimpleITK's (LPS mm), and from one grid to another.

Every filter here runs on one thread: a sum over threads is not the same sum twice.
"""

from __future__ import annotations

from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""

Affine = npt.NDArray[np.float64]


def canonical(image: nib.Nifti1Image) -> tuple[npt.NDArray[np.float32], Affine]:
    """Return (X, Y, Z) float32, axes nearest to right, anterior, superior, and its (4, 4) affine, mm."""
    closest: Any = nib.as_closest_canonical(image)
    data = np.asarray(closest.dataobj, dtype=np.float32)
    if data.ndim > 3:
        data = data.reshape(data.shape[:3])
    return data, np.asarray(closest.affine, dtype=np.float64)


def orthogonal(affine: Affine) -> Affine:
    """Return the nearest (4, 4) affine without shear: same voxel sizes and centre, a pure rotation.

    ITK images cannot hold a shear; what differs is put back by composing with the true affine.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # The polar decomposition's rotation is the one nearest to a matrix, in the least squares.
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    plain = np.eye(4)
    plain[:3, :3] = (left @ right) * spacing
    plain[:3, 3] = affine[:3, 3]
    return plain


def to_itk(data: npt.NDArray[Any], affine: Affine) -> sitk.Image:
    """Return ``data`` (X, Y, Z) as an ITK image in LPS mm; ``affine`` (4, 4; RAS mm) must not shear."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_itk(image: sitk.Image) -> npt.NDArray[Any]:
    """Return an ITK image's voxels as (X, Y, Z); ITK hands them out as (Z, Y, X)."""
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T)


def shrink(image: sitk.Image, target_mm: float) -> sitk.Image:
    """Average whole blocks of voxels, so that no edge is much finer than ``target_mm``."""
    factors = [max(1, int(target_mm / edge + 0.25)) for edge in image.GetSpacing()]
    if max(factors) == 1:
        return image
    filtering = sitk.BinShrinkImageFilter()
    filtering.SetShrinkFactors(factors)
    filtering.SetNumberOfThreads(1)
    return filtering.Execute(image)


def resample(
    image: sitk.Image, grid: sitk.Image, scan_from_mni: Affine, *, outside: float
) -> npt.NDArray[Any]:
    """Return ``image`` on ``grid`` as (X, Y, Z), looked up through a RAS mm-to-mm affine (4, 4)."""
    filtering = sitk.ResampleImageFilter()
    filtering.SetReferenceImage(grid)
    filtering.SetTransform(itk_transform(scan_from_mni))
    filtering.SetInterpolator(sitk.sitkLinear)
    filtering.SetDefaultPixelValue(outside)
    filtering.SetNumberOfThreads(1)
    return from_itk(filtering.Execute(image))


def itk_transform(world: Affine) -> sitk.AffineTransform:
    """Return a RAS world-to-world affine (4, 4), mm, as ITK's."""
    lps = LPS @ world @ LPS
    result = sitk.AffineTransform(3)
    result.SetMatrix(lps[:3, :3].ravel().tolist())
    result.SetTranslation(lps[:3, 3].tolist())
    return result


def world_affine(transform: sitk.Transform) -> Affine:
    """Return an ITK linear transform as a RAS world-to-world affine (4, 4), mm."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    images = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    lps = np.eye(4)
    lps[:3, :3] = (images[1:] - images[0]).T
    lps[:3, 3] = images[0]
    return np.asarray(LPS @ lps @ LPS, dtype=np.float64)
