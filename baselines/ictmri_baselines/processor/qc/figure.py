"""A picture of a processed scan in MNI152 space: three planes, the brain mask's and the template's outline.

The scan itself is shown, not its extracted brain, so that what the mask cut off can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine
from scipy import ndimage

from ictmri.atlas.geometry import canonical
from ictmri.atlas.template import template
from ictmri.pages.triplanar import (
    BRAIN_WINDOW,
    DASH,
    MIDDLE_MM,
    Cut,
    Plane,
    Planes,
    Point,
    draw,
    mni_planes,
    window,
    windowed,
)

if TYPE_CHECKING:
    from ictmri_baselines.processor.mapping import Mapping as Way
    from ictmri_baselines.processor.process import Processed

LARGE: Final = 0.4
"""Share of the brain's largest section along an axis that a plane must show: more than a brainstem."""
MASK_INK: Final = (255, 170, 40)
TEMPLATE_INK: Final = (90, 200, 255)
"""Orange and blue are told apart by everyone; the template's line is broken as well."""


def figure(processed: Processed, image: nib.Nifti1Image, centre_mm: Point | None = None) -> bytes:
    """Return a WebP picture: axial, coronal and sagittal plane of a processed scan.

    Args:
        processed: what became of a scan.
        image: the scan.
        centre_mm: MNI point that the planes pass, such as :func:`centre_of`; the middle where None.
    """
    planes = mni_planes(
        through_brain(processed.brain.mask, MIDDLE_MM if centre_mm is None else centre_mm)
    )
    voxels, affine = canonical(image)
    mask, mask_affine = canonical(processed.scan_mask)
    low, high = window(voxels[mask > 0] if (mask > 0).any() else voxels.ravel(), BRAIN_WINDOW)
    low = min(low, float(np.median(voxels[np.ix_(*[(0, -1)] * 3)])))
    scan = _mapped(planes, voxels, affine, processed.mapping, outside=low)
    target = template()
    return draw(
        planes,
        windowed(scan, low, high),
        lines=[
            (_mapped(planes, mask, mask_affine, processed.mapping), MASK_INK, 0),
            (planes.cut(target.mask, target.affine), TEMPLATE_INK, DASH),
        ],
    )


def through_brain(brain: nib.Nifti1Image, centre_mm: Point) -> Point:
    """Return the point nearest to a given one, axis by axis, whose planes show much of a brain.

    Args:
        brain: a mask on the MNI152 grid of 1 or 2 mm.
        centre_mm: MNI mm.
    """
    inside = np.asarray(brain.dataobj) > 0
    moved = list(centre_mm)
    for axis in range(3):
        sections = inside.sum(axis=tuple({0, 1, 2} - {axis}))
        large = np.flatnonzero(sections >= LARGE * max(sections.max(), 1))
        mm = brain.affine[axis, axis] * large + brain.affine[axis, 3]
        plane = round((centre_mm[axis] - brain.affine[axis, 3]) / brain.affine[axis, axis])
        if len(large) and plane not in large:
            moved[axis] = float(mm[np.abs(mm - centre_mm[axis]).argmin()])
    x, y, z = moved
    return x, y, z


def centre_of(numbers: Mapping[str, float]) -> Point | None:
    """Return the MNI point of what a brain lacks, by its QC numbers, or None where it lacks nothing."""
    if "missing_x_mm" not in numbers:
        return None
    return numbers["missing_x_mm"], numbers["missing_y_mm"], numbers["missing_z_mm"]


def _mapped(
    planes: Planes,
    voxels: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    mapping: Way,
    outside: float = 0.0,
) -> Cut:
    """Return the planes of a volume in the scan's own space, looked up through the mapping."""

    def plane(axis: int) -> Plane:
        points = planes.points(axis)
        at = apply_affine(np.linalg.inv(affine), mapping.scan_points(points.reshape(-1, 3))).T
        values = ndimage.map_coordinates(voxels, at, np.float32, order=1, cval=outside)
        return np.asarray(values.reshape(points.shape[:2]), dtype=np.float32)

    return plane
