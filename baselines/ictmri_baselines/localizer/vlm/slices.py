"""A volume as pictures of its axial slices [equation 2], and the way from a picture back to voxels.

Pictures are shown as radiologists hang them: the patient's right on the left, the forehead at the top. One
picture is 224, 448, 672 or 896 pixels square, which is 1 to 4 pixels a millimetre. These are multiples of
28 and of 32, the pixels that one token of Qwen2.5-VL and of Qwen3-VL stands for, so neither resizes them.
A voxel is a whole number of pixels wide, so that the way back is exact.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from ictmri_baselines.localizer.grid import Grid

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain

WINDOW: Final = (-4.0, 6.0)
"""Standardised intensities shown as black and white.

On five real T1-CE brains the 1st percentile lies between -5.0 and -2.7; of the enhancing tumour of three
of them the medians lie between 1.7 and 5.1, the 95th percentiles between 3.4 and 6.8.
"""
MIN_AREA_CM2: Final = 5.0
"""Slices with less brain are not looked at: above and below 146 of the template's 155 mm of brain."""
FIELD_MM: Final = 224
"""Edge of what a picture shows; the template's brain is 145 x 181 mm, with 22 mm to spare."""
Pixels = Literal[224, 448, 672, 896]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class View:
    """How an axial slice lies in its picture.

    Attributes:
        pixels: edge of the square picture.
        zoom: pixels along the edge of a voxel.
        shape: voxels of the slice, right and anterior.
    """

    pixels: int
    zoom: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, grid: Grid, pixels: Pixels) -> View:
        """Return the view of a grid's slices."""
        return cls(pixels, pixels // FIELD_MM * grid.spacing_mm, grid.shape[:2])

    @property
    def corner(self) -> tuple[int, int]:
        """Pixel, column and row, at which the slice's left upper corner lies; negative where cut off."""
        columns, rows = ((self.pixels - n * self.zoom) // 2 for n in self.shape)
        return columns, rows

    def to_pixels(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
        """Return voxel edges as pixel edges: left, top, right, bottom."""
        left, top = self.corner
        nx, ny = self.shape
        return (
            left + (nx - x1) * self.zoom,
            top + (ny - y1) * self.zoom,
            left + (nx - x0) * self.zoom,
            top + (ny - y0) * self.zoom,
        )

    def to_voxels(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[int, int, int, int] | None:
        """Return the voxels x0, y0, x1, y1 (half open) of a box of pixel edges, left < right, top < bottom.

        Edges go to the nearest edge of a voxel. A box thinner than a voxel is the voxel that its centre is
        in. What lies beside the slice is cut off; None where nothing is left.
        """
        corner_left, corner_top = self.corner
        nx, ny = self.shape
        x = _span(nx - (right - corner_left) / self.zoom, nx - (left - corner_left) / self.zoom, nx)
        y = _span(ny - (bottom - corner_top) / self.zoom, ny - (top - corner_top) / self.zoom, ny)
        return (x[0], y[0], x[1], y[1]) if x and y else None

    def draw(self, values: npt.NDArray[np.float32]) -> Picture:
        """Return a slice's values in [0, 1], indexed right and anterior, as a picture (rows, columns)."""
        from PIL import Image

        upright = np.rint(np.clip(values[::-1, ::-1].T, 0, 1) * 255).astype(np.uint8)
        width, height = (n * self.zoom for n in self.shape)
        image = Image.fromarray(upright).resize((width, height), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (self.pixels, self.pixels))
        canvas.paste(image, self.corner)
        return np.asarray(canvas)


@dataclass(frozen=True, slots=True)
class Slice:
    """A picture of one axial slice."""

    index: int
    picture: Picture
    view: View


def pictures(brain: Brain, *, pixels: Pixels = 448, every: int = 1) -> Iterator[Slice]:
    """Yield pictures of the slices that show enough brain, from below.

    Args:
        brain: the volume, on a grid of the template.
        pixels: edge of a picture.
        every: take each ``every``-th slice, counted from the volume's first one.
    """
    grid = Grid.of(brain.image)
    view = View.of(grid, pixels)
    image = np.asarray(brain.image.dataobj, dtype=np.float32)
    mask = np.asarray(brain.mask.dataobj) > 0
    area_cm2 = mask.sum(axis=(0, 1)) * grid.spacing_mm**2 / 100
    low, high = WINDOW
    for index in range(0, grid.shape[2], every):
        if area_cm2[index] >= MIN_AREA_CM2:
            values = (image[:, :, index] - low) / (high - low) * mask[:, :, index]
            yield Slice(index, view.draw(values), view)


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG of three equal channels, which is what the models are made for."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.repeat(picture[:, :, None], 3, axis=2)).save(stream, "PNG")
    return stream.getvalue()


def _span(low: float, high: float, n: int) -> tuple[int, int] | None:
    """Return the voxels between two edges within 0 .. n; None where they lie beside it."""
    if high <= 0 or low >= n:
        return None
    first, last = math.floor(max(low, 0) + 0.5), math.floor(min(high, n) + 0.5)
    if first >= last:
        first = min(math.floor((max(low, 0) + min(high, n)) / 2), n - 1)
        last = first + 1
    return first, last
