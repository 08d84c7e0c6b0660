"""A picture of an attention map on what the network was shown: an axial, a coronal and a sagittal plane.

Radiological convention: the patient's right is on the viewer's left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.pages.letters import PLANES
from ictmri.pages.tiles import DASH, EDGE, Ink, Plane, outline, sheet, tile, windowed

if TYPE_CHECKING:
    from PIL import Image

PRIOR_INK: Final = (90, 200, 255)
LESION_INK: Final = (120, 240, 120)
HEAT: Final = ((66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colours of a map from 0 to 1: every fifth of matplotlib's ``inferno``, without its black."""
OPACITY: Final = 0.6
"""Of the colours where the map is at least :data:`_FAINT`; below, they fade out with it."""
_FAINT: Final = 0.35

Volume = NDArray[np.float32]
Voxel = tuple[int, int, int]


def figure(
    image: Volume, brain: Volume, found: Volume, prior: Volume | None, lesion: Volume | None
) -> bytes:
    """Return a WebP picture of three planes through the true lesion, or through the map's centre.

    The prior's half is outlined in blue dashes, the true lesion in green.

    Args:
        image: (s, s, s) standardised intensities.
        brain: (s, s, s) in [0, 1]; the rest is drawn black.
        found: (s, s, s) the map in [0, 1].
        prior: (s, s, s) in [0, 1]; None where the network takes none.
        lesion: (s, s, s) in [0, 1]; None where nobody knows it.
    """
    centre = _centre(found, lesion)
    grey = windowed(image, brain > 0.5) * brain
    lines = [(prior, PRIOR_INK, DASH), (lesion, LESION_INK, 0)]
    tiles = []
    for axis, letters in PLANES:
        base = tile(_plane(grey, axis, centre), [], letters)
        inks = [
            (_plane(volume, axis, centre), ink, dash)
            for volume, ink, dash in lines
            if volume is not None
        ]
        tiles.append(_overlaid(base, _plane(found, axis, centre), inks))
    return sheet(tiles)


def _centre(found: Volume, lesion: Volume | None) -> Voxel:
    """Return the voxel of the lesion that is deepest, else the map's centre, else the middle."""
    if lesion is not None and (lesion > 0.5).any():
        depth = ndimage.distance_transform_edt(np.pad(lesion > 0.5, 1))[1:-1, 1:-1, 1:-1]
        x, y, z = (int(place) for place in np.unravel_index(int(depth.argmax()), depth.shape))
        return x, y, z
    middle: Any = [n // 2 for n in found.shape]
    if found.any():
        middle = [round(place) for place in ndimage.center_of_mass(found)]
    x, y, z = middle
    return x, y, z


def _plane(volume: Volume, axis: int, centre: Voxel) -> Plane:
    """Return a plane as it is seen: superior or anterior up, the patient's right or front at the left."""
    cut = np.take(volume, centre[axis], axis=axis)[::-1, ::-1].T
    factors = [EDGE / n for n in cut.shape]
    zoomed: Plane = ndimage.zoom(cut, factors, order=1, grid_mode=True, mode="nearest")
    return zoomed


def _overlaid(base: Image.Image, heat: Plane, lines: list[tuple[Plane, Ink, int]]) -> Image.Image:
    from PIL import Image

    stops = np.linspace(0, 1, len(HEAT))
    ramp = np.array(HEAT, dtype=np.float64)
    colours = np.stack([np.interp(heat, stops, ramp[:, channel]) for channel in range(3)], axis=-1)
    opacity = OPACITY * np.clip(heat / _FAINT, 0, 1)[..., None]
    blended = (1 - opacity) * np.asarray(base, dtype=np.float64) + opacity * colours
    rows, columns = np.indices(heat.shape)
    for plane, ink, dash in lines:
        line = outline(plane)
        if dash:
            line &= (rows + columns) % (2 * dash) < dash
        blended[line] = ink
    return Image.fromarray(blended.round().astype(np.uint8))
