"""A small picture of a scan: three planes through the middle of the brain.

Radiological convention: the patient's right is on the viewer's left. All planes have one scale, the field
of view is framed, so that it can be seen where a scan ends.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.pages.letters import PLANES, letter
from ictmri.scans.examine import foreground

if TYPE_CHECKING:
    import nibabel as nib
    from PIL import Image

EDGE: Final = 200
"""Pixels of a plane's edge; the longest edge of the field of view fills it."""
GAP: Final = 4
SIZE: Final = (3 * EDGE + 2 * GAP, EDGE)
"""Width and height of a montage in pixels."""
QUALITY: Final = 78
"""WebP quality: 249 montages stay below 4 MB, and noise looks like noise."""
WINDOW: Final = (0.5, 99.7)
"""Percentiles that become black and white ..."""
NEAR_MM: Final = 55.0
"""... of the box that reaches so far around the middle: brain, without the bright scalp."""
_FRAME: Final = 64
Plane = npt.NDArray[np.uint8]


def montage(
    image: nib.Nifti1Image, centre_mm: npt.NDArray[np.float64] | None = None, *, sure: bool = True
) -> bytes:
    """Return a WebP picture of :data:`SIZE`: an axial, a coronal and a sagittal plane.

    Args:
        image: the scan, in any orientation.
        centre_mm: RAS mm of the point that all planes pass; the middle of the head where None.
        sure: False where left and right are a guess; the letters say so.
    """
    import nibabel as nib
    from PIL import Image

    canonical: Any = nib.as_closest_canonical(image)
    voxels = np.asanyarray(canonical.dataobj)
    centre = _centre(voxels, canonical.affine, centre_mm)
    spacing = np.linalg.norm(canonical.affine[:3, :3], axis=0)
    grey = _windowed(_near(voxels, centre, spacing))
    extent = spacing * voxels.shape
    sheet = Image.new("RGB", SIZE)
    for place, (axis, letters) in enumerate(PLANES):
        others = [other for other in range(3) if other != axis]
        # Rows run from the top down, columns from the right (or front) to the left (or back).
        plane = np.take(voxels, centre[axis], axis=axis).T[::-1, ::-1]
        size = [max(2, round(EDGE * extent[other] / extent.max())) for other in others]
        tile = _tile(grey(plane), (size[0], size[1]), letters, "" if sure else "?")
        sheet.paste(tile, (place * (EDGE + GAP), 0))
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=QUALITY, method=4)
    return stream.getvalue()


def _near(
    voxels: npt.NDArray[Any], centre: npt.NDArray[np.int64], spacing: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return every other voxel of the box around the centre."""
    reach = np.rint(NEAR_MM / spacing).astype(int)
    low, high = np.maximum(centre - reach, 0), centre + reach + 1
    return voxels[tuple(slice(a, b, 2) for a, b in zip(low, high, strict=True))]


def _windowed(voxels: npt.NDArray[Any]) -> Callable[[npt.NDArray[Any]], Plane]:
    """Return the function that takes values to 0 .. 255, given the voxels that should be seen well."""
    low, high = (float(v) for v in np.percentile(voxels, WINDOW))

    def grey(plane: npt.NDArray[Any]) -> Plane:
        scaled = (plane.astype(np.float32) - low) / max(high - low, 1e-30)
        shown: Plane = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
        return shown

    return grey


def _centre(
    voxels: npt.NDArray[Any], affine: npt.NDArray[Any], centre_mm: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.int64]:
    """Return the voxel that the planes pass, inside the volume."""
    if centre_mm is None:
        solid = foreground(voxels)
        used = [np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        found = np.array([(u[0] + u[-1]) / 2 if len(u) else 0 for u in used])
    else:
        found = (np.linalg.inv(affine) @ np.append(centre_mm, 1))[:3]
    inside: npt.NDArray[np.int64] = np.clip(
        np.rint(found).astype(np.int64), 0, np.array(voxels.shape) - 1
    )
    return inside


def _tile(plane: Plane, size: tuple[int, int], letters: str, doubt: str) -> Image.Image:
    from PIL import Image, ImageDraw

    scaled = Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (EDGE, EDGE))
    corner = ((EDGE - size[0]) // 2, (EDGE - size[1]) // 2)
    tile.paste(scaled.convert("RGB"), corner)
    draw = ImageDraw.Draw(tile)
    draw.rectangle(
        (*corner, corner[0] + size[0] - 1, corner[1] + size[1] - 1), outline=(_FRAME,) * 3
    )
    letter(tile, letters, doubt)
    return tile
