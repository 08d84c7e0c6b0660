"""A picture of an attention map on what the network was shown: an axial, a coronal and a sagittal plane."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.pages.triplanar import DASH, Planes, Point, brain_grey, deepest, draw

PRIOR_INK: Final = (90, 200, 255)
LESION_INK: Final = (120, 240, 120)

Volume = NDArray[np.float32]


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
    x, y, z = ((count - 1) / 2 for count in found.shape)
    planes, voxels = Planes(_centre(found, lesion), (x, y, z), float(max(found.shape))), np.eye(4)
    lines = [(prior, PRIOR_INK, DASH), (lesion, LESION_INK, 0)]
    return draw(
        planes,
        planes.cut(brain_grey(image, brain > 0.5) * brain, voxels),
        heat=planes.cut(found, voxels),
        lines=[(planes.cut(v, voxels), ink, dash) for v, ink, dash in lines if v is not None],
    )


def _centre(found: Volume, lesion: Volume | None) -> Point:
    """Return the voxel of the lesion that is deepest, else the map's centre, else the middle."""
    inside = None if lesion is None else deepest(lesion > 0.5)
    if inside is not None:
        return inside
    if found.any():
        x, y, z = (float(round(place)) for place in ndimage.center_of_mass(found))
    else:
        x, y, z = (float(count // 2) for count in found.shape)
    return x, y, z
