"""A picture of both priors on a brain in MNI152 space: three planes through the lesion.

Radiological convention: the patient's right is on the viewer's left.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

if TYPE_CHECKING:
    from PIL import Image

    from ictmri_baselines.brain import Brain
    from ictmri_baselines.localizer.localize import Localization

EDGE: Final = 280
"""Pixels of a tile's edge; the template's 229 mm from front to back fill it."""
GAP: Final = 4
SIZE: Final = (3 * EDGE + 2 * GAP, EDGE)
"""Width and height of a figure in pixels."""
WINDOW: Final = (-4.0, 6.0)
"""Standardised intensities that become black and white: brain in grey, enhancement bright."""
COARSE_INK: Final = (90, 200, 255)
REFINED_INK: Final = (255, 170, 40)
BOX_INK: Final = (150, 150, 150)
_QUALITY: Final = 74
_LETTER: Final = 14
_LETTER_INK: Final = (255, 214, 102)
_PLANES: Final = ((2, "R", "L"), (1, "R", "L"), (0, "A", "P"))
"""Axis that is cut (right, anterior, superior), and the letters at the left and right edge."""

Plane = npt.NDArray[np.float32]


def figure(brain: Brain, found: Localization) -> bytes:
    """Return a WebP picture of :data:`SIZE`: axial, coronal and sagittal plane through the lesion.

    The coarse prior's half is outlined in blue, the refined prior in orange, the boxes of the axial plane
    in grey. Where nothing was found the planes pass the middle of the grid.
    """
    from PIL import Image

    image = brain.image.get_fdata(dtype=np.float32)
    coarse = np.asarray(found.coarse.dataobj, dtype=np.float32)
    refined = np.asarray(found.refined.dataobj, dtype=np.float32)
    boxes = _boxed(found, coarse.shape)
    middle = _middle(refined if refined.any() else coarse)
    grey = np.clip((image - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
    grey[np.asarray(brain.mask.dataobj) == 0] = 0
    sheet = Image.new("RGB", SIZE)
    for place, (axis, left, right) in enumerate(_PLANES):
        cuts = [_plane(volume, axis, middle) for volume in (grey, boxes, coarse, refined)]
        sheet.paste(_tile(cuts, left, right), (place * (EDGE + GAP), 0))
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()


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


def _outline(plane: Plane) -> npt.NDArray[np.bool_]:
    solid = plane > 0.5
    edge: npt.NDArray[np.bool_] = solid & ~ndimage.binary_erosion(
        solid, iterations=2, border_value=1
    )
    return edge


def _tile(cuts: list[Plane], left: str, right: str) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    grey, *priors = cuts
    colours: npt.NDArray[Any] = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=-1)
    for plane, ink in zip(priors, (BOX_INK, COARSE_INK, REFINED_INK), strict=True):
        colours[_outline(plane)] = ink
    tile = Image.fromarray(colours)
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(_LETTER)
    for letter, x, anchor in ((left, 4, "lm"), (right, EDGE - 4, "rm")):
        black = (0, 0, 0)
        draw.text(
            (x, EDGE / 2), letter, _LETTER_INK, font, anchor, stroke_width=2, stroke_fill=black
        )
    return tile
