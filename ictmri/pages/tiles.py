"""Tiles of a figure: an axial, a coronal and a sagittal plane, with outlines and letters.

Radiological convention: the patient's right is on the viewer's left.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.pages.letters import letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

EDGE: Final = 280
"""Pixels of a tile's edge; the template's 229 mm from front to back fill it."""
GAP: Final = 4
SIZE: Final = (3 * EDGE + 2 * GAP, EDGE)
"""Width and height of a figure in pixels."""
QUALITY: Final = 74
"""WebP quality: outlines stay sharp, and 249 figures stay below 10 MB."""
DASH: Final = 6
"""Pixels of a dash of a broken line, and of the gap after it."""
WINDOW: Final = (1.0, 99.0)
"""Percentiles of the brain's values that become black and white."""
Plane = npt.NDArray[np.float32]
Ink = tuple[int, int, int]


def sheet(tiles: Sequence[Image.Image]) -> bytes:
    """Return three tiles side by side as a WebP picture of :data:`SIZE`."""
    from PIL import Image

    whole = Image.new("RGB", SIZE)
    for place, picture in enumerate(tiles):
        whole.paste(picture, (place * (EDGE + GAP), 0))
    stream = io.BytesIO()
    whole.save(stream, "WEBP", quality=QUALITY, method=4)
    return stream.getvalue()


def windowed(image: npt.NDArray[Any], brain: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return intensities in 0..1 as they are shown, 0 outside the brain.

    The window is the brain's own, so that vessels and sinuses, which are few of its voxels, are bright and
    darken nothing else.
    """
    low, high = np.percentile(image[brain], WINDOW) if brain.any() else (0.0, 1.0)
    grey = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
    return np.where(brain, grey, 0).astype(np.float32)


def outline(plane: Plane) -> npt.NDArray[np.bool_]:
    """Return the two outermost pixels of what is above one half; WebP blurs the colour of thinner lines."""
    solid = plane > 0.5
    edge: npt.NDArray[np.bool_] = solid & ~ndimage.binary_erosion(
        solid, iterations=2, border_value=1
    )
    return edge


def tile(grey: Plane, edges: list[tuple[Plane, Ink, int]], letters: str) -> Image.Image:
    """Return a plane in 0..1 with outlines (plane, ink, length of a dash or 0) and letters at its edges."""
    from PIL import Image

    colours = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=-1)
    rows, columns = np.indices(grey.shape)
    for plane, ink, dash in edges:
        line = outline(plane)
        if dash:
            line &= (rows + columns) % (2 * dash) < dash
        colours[line] = ink
    picture = Image.fromarray(colours)
    letter(picture, letters)
    return picture
