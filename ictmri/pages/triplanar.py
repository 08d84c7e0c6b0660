"""Pictures of a head: an axial, a coronal and a sagittal plane through one point, side by side.

All planes have one scale and letters at their edges, in the radiological convention: the patient's right is
on the viewer's left. Lines and colours of other volumes can lie on them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.scans.examine import foreground

if TYPE_CHECKING:
    import nibabel as nib
    from PIL import Image

PLANES: Final = ((2, "RLAP"), (1, "RLSI"), (0, "APSI"))
"""Axis that is cut (right, anterior, superior); letters at the left, right, upper and lower edge."""
LETTERS: Final = (
    "Radiological convention: the patient’s right (R) is on the left of the picture; L left, A front, "
    "P back, S top, I bottom"
)
"""The legend of every picture."""
_SIZE: Final = 14
_INK: Final = (255, 214, 102)
EDGE: Final = 280
"""Pixels of a plane's edge; the template's 229 mm from front to back fill it."""
SMALL_EDGE: Final = 200
"""The same of a scan as it is stored."""
QUALITY: Final = 74
"""WebP quality: outlines stay sharp, and 249 pictures stay below 10 MB."""
SMALL_QUALITY: Final = 78
"""The same of small ones: 249 stay below 4 MB, and noise looks like noise."""
GAP: Final = 4
DASH: Final = 6
"""Pixels of a dash of a broken line, and of the gap after it."""
BRAIN_WINDOW: Final = (1.0, 99.0)
"""Percentiles of the brain's values that become black and white."""
SCAN_WINDOW: Final = (0.5, 99.7)
"""The same of the box that reaches so far around the middle of a scan: brain, without the bright scalp."""
NEAR_MM: Final = 55.0
MIDDLE_MM: Final = (2.0, -18.0, 10.0)
"""MNI point that the planes pass where nothing draws them elsewhere: thalamus, beside the midline."""
HEAT: Final = ((66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colours of a map from 0 to 1: every fifth of matplotlib's ``inferno``, without its black."""
OPACITY: Final = 0.6
"""Of the colours where the map is at least :data:`_FAINT`; below, they fade out with it."""
_FAINT: Final = 0.35
_FRAME: Final = (64, 64, 64)
Plane = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Ink = tuple[int, int, int]
Cut = Callable[[int], Plane]
"""Returns what lies in the plane across an axis, (edge, edge), rows down and columns to the right."""
Outline = tuple[Cut, Ink, int]
"""A volume in 0..1 whose half is outlined, the colour, and the length of a dash in pixels or 0."""


def letter(picture: Image.Image, letters: str, doubt: str = "") -> None:
    """Write letters of :data:`PLANES` at the edges of a picture.

    Args:
        picture: RGB; changed in place.
        letters: of the left, right, upper and lower edge.
        doubt: follows R and L where left and right are a guess.
    """
    from PIL import ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_SIZE)
    width, height = picture.size
    places = [(4, height / 2), (width - 4, height / 2), (width / 2, 4), (width / 2, height - 4)]
    for name, place, anchor in zip(letters, places, ("lm", "rm", "ma", "md"), strict=True):
        text = name + (doubt if name in "RL" else "")
        draw.text(place, text, _INK, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def sheet_size(edge: int) -> tuple[int, int]:
    """Return width and height of a picture whose planes have this edge, in pixels."""
    return 3 * edge + 2 * GAP, edge


SIZE: Final = sheet_size(EDGE)
SMALL_SIZE: Final = sheet_size(SMALL_EDGE)


@dataclass(frozen=True, slots=True)
class Planes:
    """What part of space is shown; its axes run to the right, the front and the top, in mm.

    Attributes:
        centre: the point that the planes pass.
        middle: the point in the middle of each picture, were it in its plane.
        extent: length of a picture's edge.
        edge: the same in pixels.
    """

    centre: Point
    middle: Point
    extent: float
    edge: int = EDGE

    def points(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the places of the pixels of the plane across an axis, (edge, edge, 3)."""
        across, down = (other for other in range(3) if other != axis)
        # Rows run from the top down, columns from the right (or front) to the left (or back).
        from_middle = ((self.edge - 1) / 2 - np.arange(self.edge)) * self.extent / self.edge
        points = np.empty((self.edge, self.edge, 3))
        points[..., axis] = self.centre[axis]
        points[..., across] = self.middle[across] + from_middle[None, :]
        points[..., down] = self.middle[down] + from_middle[:, None]
        return points

    def cut(
        self, volume: npt.NDArray[Any], affine: npt.NDArray[np.float64], *, order: int = 1
    ) -> Cut:
        """Return the planes of a volume whose axes are those of space; 0 outside it.

        Args:
            volume: (X, Y, Z).
            affine: voxel to mm, without a rotation. The slice nearest to the centre is shown. Voxels finer
                than pixels are averaged, or noise would look coarser than it is.
            order: of the splines between voxels; above 1 they are sharper and may overshoot.
        """
        from scipy import ndimage

        spacing, origin = np.diag(affine)[:3], affine[:3, 3]

        def plane(axis: int) -> Plane:
            at = (self.points(axis) - origin) / spacing
            index = int(np.clip(np.rint(at[0, 0, axis]), 0, volume.shape[axis] - 1))
            flat = np.take(volume, index, axis=axis).astype(np.float32)
            others = [other for other in range(3) if other != axis]
            finer = np.maximum(self.extent / self.edge / spacing[others], 1)
            flat = ndimage.gaussian_filter(flat, 0.5 * np.sqrt(finer**2 - 1))
            within = [at[..., other] for other in others]
            values = ndimage.map_coordinates(flat, within, order=order, mode="nearest")
            for place, count in zip(within, flat.shape, strict=True):
                values[(place < -0.5) | (place > count - 0.5)] = 0
            return np.asarray(values, dtype=np.float32)

        return plane


def mni_planes(centre: Point) -> Planes:
    """Return the planes of the template's field of view through a point in MNI mm."""
    from ictmri.atlas.template import ORIGIN_MM, SHAPE, SPACING_MM

    x, y, z = (
        start + SPACING_MM * (count - 1) / 2 for start, count in zip(ORIGIN_MM, SHAPE, strict=True)
    )
    return Planes(centre, (x, y, z), SPACING_MM * max(SHAPE))


def draw(
    planes: Planes,
    grey: Cut,
    *,
    lines: Sequence[Outline] = (),
    heat: Cut | None = None,
    field: Sequence[float] = (),
    doubt: str = "",
    quality: int = QUALITY,
) -> bytes:
    """Return a WebP picture of :func:`sheet_size`.

    Args:
        planes: what is shown.
        grey: in 0..1.
        lines: outlines upon it, the last uppermost.
        heat: a map in 0..1, as colours of :data:`HEAT` below the outlines.
        field: mm of a field of view around the middle, which is framed; none where empty.
        doubt: follows R and L where left and right are a guess.
        quality: of the WebP.
    """
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", sheet_size(planes.edge))
    for place, (axis, letters) in enumerate(PLANES):
        colours = np.repeat(255 * grey(axis)[..., None], 3, axis=-1)
        if heat is not None:
            colours = _heated(colours, heat(axis))
        for cut, ink, dash in lines:
            colours[_line(cut(axis), dash)] = ink
        tile = Image.fromarray(colours.round().astype(np.uint8))
        if len(field):
            sides = [
                field[other] / planes.extent * planes.edge for other in range(3) if other != axis
            ]
            corner = [round((planes.edge - side) / 2) for side in sides]
            opposite = [planes.edge - 1 - start for start in corner]
            ImageDraw.Draw(tile).rectangle((*corner, *opposite), outline=_FRAME)
        letter(tile, letters, doubt)
        sheet.paste(tile, (place * (planes.edge + GAP), 0))
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def montage(
    image: nib.Nifti1Image, centre_mm: npt.NDArray[np.float64] | None = None, *, sure: bool = True
) -> bytes:
    """Return a WebP picture of :data:`SMALL_SIZE` of a scan as it is stored, its field of view framed.

    Args:
        image: the scan, in any orientation.
        centre_mm: RAS mm of the point that all planes pass; the middle of the head where None.
        sure: False where left and right are a guess; the letters say so.
    """
    import nibabel as nib

    canonical: Any = nib.as_closest_canonical(image)
    voxels = np.asanyarray(canonical.dataobj)
    spacing = np.linalg.norm(canonical.affine[:3, :3], axis=0)
    centre = _centre(voxels, canonical.affine, centre_mm)
    # Along the scan's own axes, however they lie in space.
    x, y, z = (float(mm) for mm in centre * spacing)
    middle = [float(mm) for mm in (np.array(voxels.shape) - 1) / 2 * spacing]
    field = spacing * voxels.shape
    planes = Planes((x, y, z), (middle[0], middle[1], middle[2]), float(field.max()), SMALL_EDGE)
    cut = planes.cut(voxels, np.diag([*spacing, 1.0]), order=3)
    low, high = window(_near(voxels, centre, spacing), SCAN_WINDOW)
    return draw(
        planes,
        windowed(cut, low, high),
        field=field.tolist(),
        doubt="" if sure else "?",
        quality=SMALL_QUALITY,
    )


def window(values: npt.NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return the values that become black and white, given those that should be seen well."""
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 1.0)
    return float(low), float(high)


def scaled(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.float32]:
    """Return values in 0..1 between black and white."""
    grey = (values.astype(np.float32) - low) / max(high - low, 1e-30)
    return np.clip(grey, 0, 1).astype(np.float32)


def windowed(cut: Cut, low: float, high: float) -> Cut:
    """Return planes in 0..1 between black and white."""
    return lambda axis: scaled(cut(axis), low, high)


def brain_grey(image: npt.NDArray[Any], brain: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return intensities in 0..1 as they are shown, 0 outside the brain.

    The window is the brain's own, so that vessels and sinuses, which are few of its voxels, are bright and
    darken nothing else.
    """
    return np.where(brain, scaled(image, *window(image[brain], BRAIN_WINDOW)), 0).astype(np.float32)


def deepest(inside: npt.NDArray[np.bool_]) -> tuple[int, int, int] | None:
    """Return the voxel that lies deepest in a mask, None where it is empty."""
    from scipy import ndimage

    if not inside.any():
        return None
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(inside[box], 1))[1:-1, 1:-1, 1:-1]
    deep = np.unravel_index(int(depth.argmax()), depth.shape)
    x, y, z = (side.start + int(place) for side, place in zip(box, deep, strict=True))
    return x, y, z


def heat_colours(shares: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the colours of values in 0..1, (..., 3) in 0..255."""
    stops, ramp = np.linspace(0, 1, len(HEAT)), np.array(HEAT, dtype=np.float64)
    return np.stack([np.interp(shares, stops, ramp[:, channel]) for channel in range(3)], axis=-1)


def heat_scale() -> list[Ink]:
    """Return the colours from 0 to 1, for a legend."""
    colours = heat_colours(np.linspace(0, 1, 24)).round().astype(int).tolist()
    return [(r, g, b) for r, g, b in colours]


def _heated(colours: npt.NDArray[Any], heat: Plane) -> npt.NDArray[Any]:
    opacity = OPACITY * np.clip(heat / _FAINT, 0, 1)[..., None]
    mixed: npt.NDArray[Any] = (1 - opacity) * colours + opacity * heat_colours(heat)
    return mixed


def _line(plane: Plane, dash: int) -> npt.NDArray[np.bool_]:
    """Return the two outermost pixels of what is above one half; WebP blurs the colour of thinner lines."""
    from scipy import ndimage

    solid = plane > 0.5
    line: npt.NDArray[np.bool_] = solid & ~ndimage.binary_erosion(
        solid, iterations=2, border_value=1
    )
    rows, columns = np.indices(plane.shape)
    return line & ((rows + columns) % (2 * dash) < dash) if dash else line


def _near(
    voxels: npt.NDArray[Any], centre: npt.NDArray[np.int64], spacing: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return every other voxel of the box around the centre."""
    reach = np.rint(NEAR_MM / spacing).astype(int)
    low, high = np.maximum(centre - reach, 0), centre + reach + 1
    return voxels[tuple(slice(a, b, 2) for a, b in zip(low, high, strict=True))]


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
