"""A picture of both priors on a brain in MNI152 space: three planes through the lesion.

Radiological convention: the patient's right is on the viewer's left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from ictmri.pages.letters import PLANES
from ictmri.pages.tiles import EDGE, Plane, sheet, tile, windowed

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.localize import Localization

COARSE_INK: Final = (90, 200, 255)
REFINED_INK: Final = (255, 170, 40)
BOX_INK: Final = (150, 150, 150)


def figure(brain: Brain, found: Localization) -> bytes:
    """Return a WebP picture: axial, coronal and sagittal plane through the lesion.

    The coarse prior's half is outlined in blue, the refined prior in orange, the boxes of the axial plane
    in grey. Where nothing was found the planes pass the middle of the grid.
    """
    image = brain.image.get_fdata(dtype=np.float32)
    coarse = np.asarray(found.coarse.dataobj, dtype=np.float32)
    refined = np.asarray(found.refined.dataobj, dtype=np.float32)
    boxes = _boxed(found, coarse.shape)
    middle = _middle(refined if refined.any() else coarse)
    grey = windowed(image, np.asarray(brain.mask.dataobj) > 0)
    tiles = []
    for axis, letters in PLANES:
        shown, *priors = (_plane(volume, axis, middle) for volume in (grey, boxes, coarse, refined))
        inks = zip(priors, (BOX_INK, COARSE_INK, REFINED_INK), strict=True)
        tiles.append(tile(shown, [(plane, ink, 0) for plane, ink in inks], letters))
    return sheet(tiles)


def _middle(prior: Plane) -> tuple[int, int, int]:
    """Return the voxel inside the prior that is deepest, else the middle of the grid."""
    inside = prior > 0.5
    if not inside.any():
        x, y, z = (count // 2 for count in prior.shape)
        return x, y, z
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    x, y, z = (int(place) for place in np.unravel_index(int(depth.argmax()), depth.shape))
    return x, y, z


def _boxed(found: Localization, shape: tuple[int, ...]) -> Plane:
    boxed = np.zeros(shape, dtype=np.float32)
    for row in found.boxes:
        for box in row.boxes:
            boxed[box.x0 : box.x1, box.y0 : box.y1, row.slice] = 1
    return boxed


def _plane(volume: Plane, axis: int, middle: tuple[int, int, int]) -> Plane:
    """Return a plane as it is seen: superior or anterior up, the patient's right or front at the left."""
    cut = np.take(volume, middle[axis], axis=axis)[::-1, ::-1].T
    edge = max(volume.shape)
    padding = [((edge - n) // 2, edge - n - (edge - n) // 2) for n in cut.shape]
    square = np.pad(cut, padding)
    zoomed: Plane = ndimage.zoom(square, EDGE / edge, order=1, grid_mode=True, mode="nearest")
    return zoomed
