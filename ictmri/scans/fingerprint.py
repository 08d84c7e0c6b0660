"""Whether two scans show the same head, however they were stored, resampled, cropped or scaled.

A head's fingerprint is a small picture of it in the template's place. What all heads have in common, the
template, is removed before two of them are compared; before a pair is called the same, one is moved onto
the other, because two alignments with the template never agree quite.

An outline needs no template: it does not depend on how the axes are stored, on how values are scaled, or
on how much background lies around the head. Copies that were turned or cropped only a fingerprint finds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.geometry import from_itk, to_itk
from ictmri.atlas.template import SPACING_MM, grid_affine, template
from ictmri.io.files import sha256_bytes
from ictmri.scans.examine import corners, foreground

GRID_MM: Final = 4
BLUR_VOXELS: Final = 1.2
"""Sigma, in voxels of the template's 2 mm grid, before every other one is kept."""
LEAST_VOXELS: Final = 2000
"""Voxels of brain that both scans must show."""
MARGIN_VOXELS: Final = 2
"""The skull around the brain helps to move one head onto the other."""
STEPS: Final = 60
EDGE: Final = 16
"""For an outline the head is averaged in so many blocks along each axis."""
FINE: Final = 96
"""Of axes with twice as many voxels, and so on, only every second one is looked at."""
STRAY: Final = 0.002
"""Share of a head's voxels at each end of an axis that may be noise outside of it."""

Fingerprint = npt.NDArray[np.float16]
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float32]


def values_digest(image: nib.Nifti1Image) -> str:
    """Return the SHA-256 of a volume's values but for its background, in whatever order they stand."""
    values = np.asarray(image.dataobj)
    own = np.sort(values[values != np.sort(corners(values))[4]], axis=None)
    return sha256_bytes(own.dtype.str.encode() + own.tobytes())


def outline(image: nib.Nifti1Image) -> Vector:
    """Return (EDGE^3,) float32 ranks of the head's blocks, with mean 0 and length 1."""
    canonical: Any = nib.as_closest_canonical(image)
    thinned = tuple(slice(None, None, max(1, length // FINE)) for length in canonical.shape)
    blocks = np.asarray(canonical.dataobj)[thinned]
    solid = foreground(blocks)
    ends = []
    for axis in range(3):
        below = np.cumsum(solid.sum(axis=tuple({0, 1, 2} - {axis})))
        low, high = np.searchsorted(below, (STRAY * below[-1], (1 - STRAY) * below[-1]))
        ends.append(slice(low, high + 1))
    blocks = blocks[tuple(ends)].astype(np.float32)
    for axis in range(3):
        blocks = _in_blocks(blocks, axis)
    return _ranks(blocks.ravel())


def _in_blocks(values: Vector, axis: int) -> Vector:
    """Average along an axis in EDGE blocks of equal length, whole voxels and parts of them."""
    moved = np.moveaxis(values, axis, 0)
    summed = np.zeros((len(moved) + 1, *moved.shape[1:]))
    np.cumsum(moved, axis=0, out=summed[1:])
    place = np.linspace(0, len(moved), EDGE + 1)
    below = np.minimum(place.astype(int), len(moved) - 1)
    share = (place - below)[:, None, None]
    at_edges = summed[below] * (1 - share) + summed[below + 1] * share
    return np.moveaxis(np.diff(at_edges, axis=0), 0, axis)


def fingerprint(aligned: Aligned) -> Fingerprint:
    """Return a scan in the template's place, (49, 58, 49) float16 on 4 mm, bright voxels about 1."""
    smooth = ndimage.gaussian_filter(aligned.on_template(), BLUR_VOXELS)
    step = round(GRID_MM / SPACING_MM)
    small = smooth[::step, ::step, ::step]
    bright = max(float(np.percentile(small, 99)), 1e-9)
    picture: Fingerprint = np.clip(small / bright, 0, 100).astype(np.float16)
    return picture


def pattern(picture: Fingerprint) -> Vector:
    """Return (n,) float32 of unit length: what is a head's own inside the brain, by rank."""
    return _own(picture.astype(np.float32), _brain())


def likeness(first: Fingerprint, second: Fingerprint) -> float:
    """Return the rank correlation, -1 to 1, of two heads' own patterns after moving one onto the other.

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
    # The middle of the brain in ITK's LPS mm: turns about it move its surface least.
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


def _clipped(picture: Fingerprint) -> Volume:
    volume = picture.astype(np.float32)
    return np.asarray(np.minimum(volume, np.float32(np.percentile(volume, 99.5))))


def _own(volume: Volume, part: Mask) -> Vector:
    """Return the ranks of a part of a head without what they share with the template's."""
    common = _ranks(template(GRID_MM).brain[part])
    own = _ranks(volume[part])
    # What is left is a partial correlation: ranks, so that no contrast curve or scaling matters.
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
