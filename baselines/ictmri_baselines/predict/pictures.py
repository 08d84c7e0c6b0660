"""Pictures of a brain in MNI152 space: three planes with the priors' outlines and where the models looked.

Radiological convention: the patient's right is on the viewer's left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.atlas.template import SPACING_MM, grid_affine
from ictmri.pages import tiles
from ictmri.pages.letters import PLANES
from ictmri.pages.tiles import Plane, outline, sheet, tile
from ictmri_baselines.localizer.figure import COARSE_INK, REFINED_INK
from ictmri_baselines.processor.qc.figure import CENTRE_MM, Point, plane_points

if TYPE_CHECKING:
    from PIL import Image

    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer import Localization

COLD: Final = (120, 40, 140)
HOT: Final = (255, 240, 120)
"""Colours of little and of all attention; between them lies their mixture."""
STRONGEST: Final = 0.7
"""Opacity of the strongest attention: the brain stays visible below it."""


def centre_of(found: Localization) -> Point:
    """Return the MNI mm of the point deepest inside the refined prior; else inside the coarse prior's half.

    The middle of the brain where both are empty.
    """
    for volume in (found.refined, found.coarse):
        inside = np.asarray(volume.dataobj) > 0.5
        if inside.any():
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
            place = np.unravel_index(int(depth.argmax()), depth.shape)
            x, y, z = (float(mm) for mm in apply_affine(volume.affine, place))
            return x, y, z
    return CENTRE_MM


def windowed(brain: Brain) -> NDArray[np.float32]:
    """Return the brain's intensities in 0..1 as they are shown, 0 outside it."""
    return tiles.windowed(
        brain.image.get_fdata(dtype=np.float32), np.asarray(brain.mask.dataobj) > 0
    )


def prior_picture(brain: Brain, found: Localization) -> bytes:
    """Return a WebP picture: the coarse prior's half outlined in blue, the refined prior in orange."""
    return sheet(_tiles(brain, found, None))


def attention_picture(brain: Brain, found: Localization, attention: NDArray[np.float32]) -> bytes:
    """Return a WebP picture of the same planes below the attention, the refined prior outlined.

    Args:
        brain: on the MNI152 grid of 1 or 2 mm.
        found: its priors.
        attention: in [0, 1], on the MNI152 grid of 2 mm.
    """
    return sheet(_tiles(brain, found, attention))


def _tiles(
    brain: Brain, found: Localization, attention: NDArray[np.float32] | None
) -> list[Image.Image]:
    centre, grey = centre_of(found), windowed(brain)
    coarse, refined = (np.asarray(v.dataobj, np.float32) for v in (found.coarse, found.refined))
    affine = brain.image.affine
    made = []
    for axis, letters in PLANES:
        points = plane_points(axis, centre)
        shown = _cut(grey, affine, points)
        inner = _cut(refined, affine, points)
        edges = [] if attention is not None else [(_cut(coarse, affine, points), COARSE_INK, 0)]
        picture = tile(shown, [*edges, (inner, REFINED_INK, 0)], letters)
        if attention is not None:
            heat = _cut(attention, grid_affine(SPACING_MM), points) * (shown > 0)
            picture = _heated(picture, heat * ~outline(inner))
        made.append(picture)
    return made


def _cut(volume: NDArray[Any], affine: NDArray[np.float64], points: NDArray[np.float64]) -> Plane:
    at = apply_affine(np.linalg.inv(affine), points.reshape(-1, 3)).T
    values = ndimage.map_coordinates(volume, at, np.float32, order=1, mode="constant", cval=0)
    return np.asarray(values.reshape(points.shape[:2]), dtype=np.float32)


def _heated(picture: Image.Image, heat: Plane) -> Image.Image:
    """Lay attention in [0, 1] over a tile: the more, the brighter and the less transparent."""
    from PIL import Image

    share = np.clip(heat, 0, 1)[..., None]
    colours = (np.array(COLD) * (1 - share) + np.array(HOT) * share).astype(np.uint8)
    opacity = (255 * STRONGEST * np.sqrt(share[..., 0])).astype(np.uint8)
    return Image.composite(Image.fromarray(colours), picture, Image.fromarray(opacity))


def colour_scale() -> list[tuple[int, int, int]]:
    """Return the colours of no to all attention in eleven steps, for a legend."""
    shares = np.linspace(0, 1, 11)[:, None]
    mixed = (np.array(COLD) * (1 - shares) + np.array(HOT) * shares).astype(int)
    return [(int(r), int(g), int(b)) for r, g, b in mixed]
