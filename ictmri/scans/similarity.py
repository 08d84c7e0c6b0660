"""Whether two scans show the same head, however they were stored, resampled or scaled.

A head is kept as a small picture of it in the template's place. What all heads have in common, the
template, is removed before two of them are compared; before a pair is called the same, one is moved
onto the other, because two alignments with the template never agree quite.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.geometry import from_itk, to_itk
from ictmri.atlas.template import SPACING_MM, grid_affine, template

GRID_MM: Final = 4
BLUR_VOXELS: Final = 1.2
"""Sigma, in voxels of the template's 2 mm grid, before every other one is kept."""
LEAST_VOXELS: Final = 2000
"""Voxels of brain that both scans must show."""
MARGIN_VOXELS: Final = 2
"""The skull around the brain helps to move one head onto the other."""
STEPS: Final = 60

Picture = npt.NDArray[np.float16]
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float32]


def head_print(aligned: Aligned) -> Picture:
    """Return a scan in the template's place, (49, 58, 49) float16 on 4 mm, bright voxels about 1."""
    smooth = ndimage.gaussian_filter(aligned.on_template(aligned.scan), BLUR_VOXELS)
    step = round(GRID_MM / SPACING_MM)
    small = smooth[::step, ::step, ::step]
    bright = max(float(np.percentile(small, 99)), 1e-9)
    picture: Picture = np.clip(small / bright, 0, 100).astype(np.float16)
    return picture


def pattern(picture: Picture) -> Vector:
    """Return (n,) of unit length: what is a head's own inside the brain, by rank."""
    return _own(picture.astype(np.float32), _brain())


def likeness(first: Picture, second: Picture) -> float:
    """Return the rank correlation of two heads' own patterns after moving one onto the other.

    Measured: copies that were resampled, cropped, scaled or made noisy 0.95 and more, different heads
    0.65 and less.
    """
    fixed, moving = (_clipped(picture) for picture in (first, second))
    transform = _moved_onto(fixed, moving)
    if transform is None:
        return 0.0
    grid = to_itk(fixed, grid_affine(GRID_MM))
    other = to_itk(moving, grid_affine(GRID_MM))
    resampled = from_itk(sitk.Resample(other, grid, transform, sitk.sitkLinear, -1.0))
    seen = _brain() & (resampled >= 0)
    if seen.sum() < LEAST_VOXELS:
        return 0.0
    return float(_own(fixed, seen) @ _own(resampled, seen))


def _moved_onto(fixed: Volume, moving: Volume) -> sitk.AffineTransform | None:
    affine = grid_affine(GRID_MM)
    near = ndimage.binary_dilation(template(GRID_MM).mask, iterations=MARGIN_VOXELS)
    transform = sitk.AffineTransform(3)
    transform.SetCenter([0.0, 18.0, 8.0])
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(to_itk(near.astype(np.uint8), affine))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 0.05, STEPS, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2, 0])
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(to_itk(fixed, affine), to_itk(moving, affine))
    except RuntimeError:
        # ITK's way to say that the two do not overlap.
        return None
    return transform


def _clipped(picture: Picture) -> Volume:
    volume = picture.astype(np.float32)
    clipped: Volume = np.minimum(volume, np.float32(np.percentile(volume, 99.5)))
    return clipped


def _own(volume: Volume, part: Mask) -> Vector:
    """Return the ranks of a part of a head without what they share with the template's."""
    common = _ranks(template(GRID_MM).brain[part])
    own = _ranks(volume[part])
    own = own - (own @ common) * common
    length = float(np.linalg.norm(own))
    unit: Vector = own / np.float32(length or 1.0)
    return unit


def _ranks(values: npt.NDArray[np.float32]) -> Vector:
    ranks = values.argsort(kind="stable").argsort(kind="stable").astype(np.float32)
    ranks -= ranks.mean()
    unit: Vector = ranks / np.float32(np.linalg.norm(ranks))
    return unit


@lru_cache(maxsize=1)
def _brain() -> Mask:
    inner: Mask = ndimage.binary_erosion(template(GRID_MM).mask)
    return inner
