"""One affine from the template to a scan, by mutual information on coarse grids, in a second.

The search starts from many poses around the centre of mass, keeps the best, fits a similarity at
8 mm and an affine at 4 mm. One thread and fixed sampling seeds: the same scan gives the same bytes.

Source: Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI
2003, doi:10.1109/TMI.2003.809072 (the metric).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ictmri.atlas.geometry import Affine, to_itk, world_affine
from ictmri.atlas.template import template

COARSE_MM: Final = 8
FINE_MM: Final = 4
BINS: Final = 32
"""Histogram bins of the metric (ITK's and ANTs' usual choice)."""

FINE_SAMPLING: Final = 0.5
"""Share of the fine grid's voxels that the metric looks at."""

SEED: Final = 20260101
"""Seed of that sampling; any fixed number would do."""

PITCH_DEGREES: Final = (-20.0, 0.0, 20.0)
"""Start rotations about the left-right axis: how heads differ most in a scanner."""

SHIFT_Y_MM: Final = (-16.0, 0.0, 16.0)
SHIFT_Z_MM: Final = (-40.0, -20.0, 0.0, 20.0, 40.0)
"""Start shifts: a neck, or a field of view that cuts the head, moves the centre of mass."""

TURNED: Final = 3
"""Shifts at which the head is turned as well."""

COARSE_STEPS: Final = 60
FINE_STEPS: Final = 40
TRIES: Final = 4
"""Descents before a start is kept as it is, each with half the step of the one before: on one phantom of
249 the first step leapt out of the basin."""
BRAIN_MARGIN_MM: Final = 8.0
"""The fine stage looks at the brain and this much around it, where the skull's edge is."""


T = TypeVar("T", sitk.Similarity3DTransform, sitk.AffineTransform)


@dataclass(frozen=True, slots=True)
class RegistrationTarget:
    """What a scan is registered to: the template's head, or its brain."""

    coarse: sitk.Image
    fine: sitk.Image
    fine_mask: sitk.Image
    centre_mm: npt.NDArray[np.float64]


@lru_cache(maxsize=2)
def reference(*, brain_only: bool) -> RegistrationTarget:
    """Return the template's brain, or its whole head, on the two registration grids."""
    coarse, fine = template(COARSE_MM), template(FINE_MM)
    near = sitk.BinaryDilate(
        to_itk(fine.mask.astype(np.uint8), fine.affine), [round(BRAIN_MARGIN_MM / FINE_MM)] * 3
    )
    image = to_itk(coarse.brain if brain_only else coarse.head, coarse.affine)
    return RegistrationTarget(
        coarse=image,
        fine=to_itk(fine.brain if brain_only else fine.head, fine.affine),
        fine_mask=near,
        centre_mm=centre_of_mass(image),
    )


def centre_of_mass(image: sitk.Image) -> npt.NDArray[np.float64]:
    """Return the centroid, (3,) LPS mm, of what Otsu's threshold calls foreground."""
    values = sitk.GetArrayViewFromImage(image)
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.SetNumberOfThreads(1)
    threshold.Execute(image)
    # Otsu parts bright from dark; at half of his threshold dark tissue counts as head too.
    indices = np.argwhere(values > threshold.GetThreshold() * 0.5)[:, ::-1]
    middle = indices.mean(axis=0) if len(indices) else np.array(image.GetSize()) / 2
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))


def register(fixed: RegistrationTarget, coarse: sitk.Image, fine: sitk.Image) -> Affine:
    """Return the (4, 4) RAS affine that takes the template's mm to the scan's mm.

    Args:
        fixed: what to register to.
        coarse: the scan on voxels of about 8 mm.
        fine: the scan on voxels of about 4 mm.
    """
    start = _best_start(fixed, coarse)
    pose = _fitted(_method(1.0), fixed.coarse, coarse, start, step=4.0, steps=COARSE_STEPS)
    method = _method(FINE_SAMPLING)
    method.SetMetricFixedMask(fixed.fine_mask)
    start = _recentred(pose, fixed.centre_mm)
    return world_affine(_fitted(method, fixed.fine, fine, start, step=2.0, steps=FINE_STEPS))


def _recentred(pose: sitk.Transform, centre: npt.NDArray[np.float64]) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetCenter(centre.tolist())
    affine.SetMatrix(pose.GetMatrix())
    moved = np.array(pose.TransformPoint(centre.tolist()))
    affine.SetTranslation((moved - centre).tolist())
    return affine


def _method(sampling: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    if sampling < 1.0:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(sampling, SEED)
    return method


def _fitted(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    start: T,
    *,
    step: float,
    steps: int,
) -> T:
    """Descend from a start; where that ends higher than it began, descend again in smaller steps."""
    method.SetInitialTransform(start)
    before = method.MetricEvaluate(fixed, moving)
    for halvings in range(TRIES):
        found = type(start)(start)
        method.SetInitialTransform(found, inPlace=True)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=step / 2**halvings,
            minStep=0.02,
            numberOfIterations=steps,
            relaxationFactor=0.6,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.Execute(fixed, moving)
        if method.GetMetricValue() < before:
            return found
    return start


def _best_start(fixed: RegistrationTarget, coarse: sitk.Image) -> sitk.Similarity3DTransform:
    """Return the best of the start poses: upright at every shift, then turned at the best shifts.

    On 255 heads (249 phantoms, six real scans) this finds the pose that trying all of them finds.
    """
    method = _method(1.0)
    # A metric's value needs no gradient, and filtering two images for it takes half of the time.
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    offset = centre_of_mass(coarse) - fixed.centre_mm

    def judged(pitch: float, y: float, z: float) -> tuple[float, sitk.Similarity3DTransform]:
        pose = sitk.Similarity3DTransform()
        pose.SetCenter(fixed.centre_mm.tolist())
        pose.SetRotation([1.0, 0.0, 0.0], float(np.deg2rad(pitch)))
        pose.SetTranslation((offset + np.array([0.0, y, z])).tolist())
        method.SetInitialTransform(pose)
        return method.MetricEvaluate(fixed.coarse, coarse), pose

    upright = {shift: judged(0.0, *shift) for shift in product(SHIFT_Y_MM, SHIFT_Z_MM)}
    nearest = sorted(upright, key=lambda shift: upright[shift][0])[:TURNED]
    turned = [judged(pitch, *shift) for shift in nearest for pitch in PITCH_DEGREES if pitch]
    return min([*upright.values(), *turned], key=lambda one: one[0])[1]
