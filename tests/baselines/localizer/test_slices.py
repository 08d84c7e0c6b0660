"""Slices as pictures, and the way back to voxels."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.made_brain import made_brain

from ictmri.atlas.template import template
from ictmri_baselines.localizer.boxes import Box
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.vlm.slices import (
    FIELD_MM,
    MIN_AREA_CM2,
    WINDOW,
    View,
    pictures,
    png,
)

MARKS = [Box(22, 24, 60, 30), Box(30, 60, 31, 61), Box(70, 88, 77, 91), Box(25, 40, 70, 88)]


@pytest.mark.parametrize("spacing", [1, 2])
@pytest.mark.parametrize("pixels", [224, 448, 672, 896])
@pytest.mark.parametrize("mark", MARKS)
def test_a_rectangle_in_the_picture_maps_back_exactly(spacing: int, pixels: int, mark: Box) -> None:
    """Drawn in voxels, found as pixels brighter than half, read back as voxels."""
    scale = 2 // spacing
    mark = Box(mark.x0 * scale, mark.y0 * scale, mark.x1 * scale, mark.y1 * scale)
    brain = made_brain({60: mark}, spacing_mm=spacing, level=40.0)
    (shown,) = pictures(brain, pixels=pixels)
    assert shown.picture.shape == (pixels, pixels)
    # Tissue of 0 is shown at 0.4; a single voxel of white stays above 0.7 in its middle only.
    rows, columns = np.nonzero(shown.picture > 255 * 0.7)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    view = shown.view
    place = (mark.x0, mark.y0, mark.x1, mark.y1)
    assert view.to_voxels(*edges) == place
    thousandths = [round(edge * 1000 / pixels) * pixels / 1000 for edge in view.to_pixels(*place)]
    assert view.to_voxels(*thousandths) == place


@given(
    st.sampled_from([1, 2]),
    st.sampled_from([224, 448, 672, 896]),
    st.integers(4, 80),
    st.integers(4, 95),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_voxels_to_thousandths_and_back(
    spacing: int, pixels: int, x: int, y: int, width: int, height: int
) -> None:
    view = View.of(Grid(spacing), pixels)
    place = (x, y, x + width, y + height)
    edges = view.to_pixels(*place)
    assert view.to_voxels(*edges) == place
    if all(0 <= edge <= pixels for edge in edges):
        rounded = [round(edge * 1000 / pixels) * pixels / 1000 for edge in edges]
        assert view.to_voxels(*rounded) == place


def test_pictures_hang_as_radiologists_hang_them() -> None:
    """The patient's right (the first axis grows to the right) is left, the front is at the top."""
    right_front = Box(70, 85, 74, 89)
    (shown,) = pictures(made_brain({40: right_front}))
    rows, columns = np.nonzero(shown.picture > 200)
    assert columns.max() < 224
    assert rows.max() < 224
    assert (shown.index, shown.view.zoom) == (40, 4)


def test_the_window_is_fixed() -> None:
    low, high = WINDOW
    for level, grey in {
        low: 0,
        high: 255,
        low - 3: 0,
        high + 3: 255,
        (low + high) / 2: 128,
    }.items():
        (shown,) = pictures(made_brain({40: Box(30, 30, 60, 60)}, level=level))
        assert shown.picture[270, 220] == pytest.approx(grey, abs=1)
    assert shown.picture[0, 0] == 0
    assert not shown.picture[:70].any()  # in the slice, beside the brain


def test_slices_without_enough_brain_are_left_out() -> None:
    brain = made_brain({10: None, 11: None, 12: None, 13: None})
    mask = np.array(brain.mask.dataobj)
    voxels = round(MIN_AREA_CM2 * 100 / 4)
    mask[:, :, 11] = 0
    mask[30:35, 30 : 30 + voxels // 5, 11] = 1
    mask[:, :, 12] = 0
    mask[30:35, 30 : 30 + voxels // 5, 12] = 1
    mask[30, 30, 12] = 0
    brain.mask.dataobj[...] = mask
    assert [shown.index for shown in pictures(brain)] == [10, 11, 13]
    assert [shown.index for shown in pictures(brain, every=2)] == [10]


@pytest.mark.parametrize("spacing", [1, 2])
def test_the_field_holds_every_brain_that_fits_the_template(spacing: int) -> None:
    x, y, _ = np.nonzero(template(spacing).mask)
    view = View.of(Grid(spacing), 448)
    left, top, right, bottom = view.to_pixels(x.min(), y.min(), x.max() + 1, y.max() + 1)
    margin_mm = min(left, top, 448 - right, 448 - bottom) * FIELD_MM / 448
    assert margin_mm > 20


def test_the_png_holds_the_picture_three_times() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224)).astype(np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(picture))))
    np.testing.assert_array_equal(read, np.stack([picture] * 3, axis=2))
