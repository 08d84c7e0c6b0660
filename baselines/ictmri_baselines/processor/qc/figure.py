"""A picture of a processed scan in MNI152 space: three planes, the brain mask's and the template's outline.

The scan itself is shown, not its extracted brain, so that what the mask cut off can be seen. Radiological
convention: the patient's right is on the viewer's left.
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
from ictmri.atlas.template import ORIGIN_MM, SHAPE, SPACING_MM, template
from ictmri.pages.letters import PLANES
from ictmri.pages.tiles import DASH, EDGE, WINDOW, Plane, sheet, tile

if TYPE_CHECKING:
    from ictmri_baselines.processor.mapping import Mapping as Way
    from ictmri_baselines.processor.process import Processed

CENTRE_MM: Final = (2.0, -18.0, 10.0)
"""MNI point that the planes pass where nothing draws them elsewhere: thalamus, beside the midline."""
TELLING: Final = 0.4
"""Share of the brain's largest section along an axis that a plane must show: more than a brainstem."""
MASK_INK: Final = (255, 170, 40)
TEMPLATE_INK: Final = (90, 200, 255)
"""Orange and blue are told apart by everyone; the template's line is broken as well."""

Point = tuple[float, float, float]


def figure(processed: Processed, image: nib.Nifti1Image, centre_mm: Point | None = None) -> bytes:
    """Return a WebP picture: axial, coronal and sagittal plane of a processed scan.

    Args:
        processed: what became of a scan.
        image: the scan.
        centre_mm: MNI point that the planes pass, such as :func:`centre_of`; :data:`CENTRE_MM` where None.
    """
    centre = telling(processed.brain.mask, CENTRE_MM if centre_mm is None else centre_mm)
    voxels, affine = canonical(image)
    mask, mask_affine = canonical(processed.scan_mask)
    inside = voxels[mask > 0] if (mask > 0).any() else voxels.ravel()
    low, high = (float(value) for value in np.percentile(inside, WINDOW))
    low = min(low, float(np.median(voxels[np.ix_(*[(0, -1)] * 3)])))
    tiles = []
    for axis, letters in PLANES:
        points = plane_points(axis, centre)
        grey = _looked_up(voxels, affine, processed.mapping, points, outside=low)
        edges = [
            (_looked_up(mask, mask_affine, processed.mapping, points), MASK_INK, 0),
            (_of_template(points), TEMPLATE_INK, DASH),
        ]
        shown = np.clip((grey - low) / max(high - low, 1e-30), 0, 1)
        tiles.append(tile(shown, edges, letters))
    return sheet(tiles)


def telling(brain: nib.Nifti1Image, centre_mm: Point) -> Point:
    """Return the point nearest to a given one, axis by axis, whose planes show much of a brain.

    Args:
        brain: a mask on the MNI152 grid of 1 or 2 mm.
        centre_mm: MNI mm.
    """
    inside = np.asarray(brain.dataobj) > 0
    moved = list(centre_mm)
    for axis in range(3):
        sections = inside.sum(axis=tuple({0, 1, 2} - {axis}))
        large = np.flatnonzero(sections >= TELLING * max(sections.max(), 1))
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


def plane_points(axis: int, centre_mm: Point) -> npt.NDArray[np.float64]:
    """Return the MNI mm of a tile's pixels, (EDGE, EDGE, 3): rows run down, columns to the right."""
    extent = [SPACING_MM * (count - 1) for count in SHAPE]
    step = max(extent) / (EDGE - 1)
    across, down = (other for other in range(3) if other != axis)
    from_middle = (np.arange(EDGE) - (EDGE - 1) / 2) * step
    points = np.empty((EDGE, EDGE, 3))
    points[..., axis] = centre_mm[axis]
    points[..., across] = ORIGIN_MM[across] + extent[across] / 2 - from_middle[None, :]
    points[..., down] = ORIGIN_MM[down] + extent[down] / 2 - from_middle[:, None]
    return points


def _looked_up(
    voxels: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    mapping: Way,
    points: npt.NDArray[np.float64],
    outside: float = 0.0,
) -> Plane:
    mm = mapping.scan_points(points.reshape(-1, 3))
    at = apply_affine(np.linalg.inv(affine), mm).T
    values = ndimage.map_coordinates(voxels, at, np.float32, order=1, mode="constant", cval=outside)
    return np.asarray(values.reshape(points.shape[:2]), dtype=np.float32)


def _of_template(points: npt.NDArray[np.float64]) -> Plane:
    target = template()
    at = apply_affine(np.linalg.inv(target.affine), points.reshape(-1, 3)).T
    values = ndimage.map_coordinates(target.mask.astype(np.float32), at, order=1)
    return np.asarray(values.reshape(points.shape[:2]), dtype=np.float32)
