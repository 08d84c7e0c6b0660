"""Planes of a volume: where a pixel lies, what is averaged, what lies deepest, and the colours of a map."""

import io

import numpy as np
import pytest
from PIL import Image

from ictmri.pages.triplanar import EDGE, GAP, HEAT, PLANES, Planes, deepest, draw, heat_scale


def grid(spacing: float) -> tuple[Planes, np.ndarray]:
    """Planes of 120 mm, and the affine of a grid that fills them."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -60 + spacing / 2
    return Planes((10.0, -20.0, 30.0), (0.0, 0.0, 0.0), 120.0, 60), affine


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [1.0, 2.0, 4.0])
def test_a_pixel_shows_what_lies_at_its_point(axis: int, spacing: float) -> None:
    """Of a volume that is linear in space a plane is the same function of its points."""
    planes, affine = grid(spacing)
    count = round(120 / spacing)
    x, y, z = np.indices((count,) * 3) * spacing + affine[0, 3]
    points = planes.points(axis)
    at = np.clip(points, affine[0, 3], -affine[0, 3])  # the outermost half voxel is one value
    near = np.rint((planes.centre[axis] - affine[0, 3]) / spacing) * spacing + affine[0, 3]
    at[..., axis] = near
    expected = at @ [1.0, 10.0, 100.0]
    found = planes.cut(x + 10 * y + 100 * z, affine)(axis)
    inner = (slice(4, -4),) * 2
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-4, atol=0.02)


def test_outside_a_volume_there_is_nothing() -> None:
    planes, affine = grid(2.0)
    found = planes.cut(np.ones((30, 60, 60)), affine)(2)
    # The volume's half is that of the patient's left: at the right of the picture.
    assert not found[:, :30].any()
    assert (found[:, 30:] == 1).all()


def test_voxels_finer_than_pixels_are_averaged() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (240, 240, 240))
    planes, fine = grid(0.5)
    _, coarse = grid(2.0)
    assert (
        planes.cut(noise, fine)(2).std() < 0.4 * planes.cut(noise[:60, :60, :60], coarse)(2).std()
    )


def test_the_deepest_voxel_is_that_of_the_largest_ball() -> None:
    far = sum(
        (axis - at) ** 2 for axis, at in zip(np.ogrid[:40, :40, :40], (9, 20, 30), strict=True)
    )
    inside = far <= 64
    inside[25:29, :, :] = True
    assert deepest(inside) == (9, 20, 30)
    assert deepest(np.zeros((3, 3, 3), dtype=bool)) is None
    assert deepest(np.ones((3, 3, 3), dtype=bool)) == (1, 1, 1)


def test_a_map_has_the_colours_of_its_scale_and_fades_out() -> None:
    assert (heat_scale()[0], heat_scale()[-1]) == (HEAT[0], HEAT[-1])
    planes = Planes((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 100.0)
    ramp = np.repeat(np.linspace(0, 1, EDGE, dtype=np.float32)[:, None], EDGE, axis=1)
    content = draw(planes, lambda _: np.full((EDGE, EDGE), 0.5, np.float32), heat=lambda _: ramp)
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)
    for place in range(len(PLANES)):
        column = pixels[:, place * (EDGE + GAP) + 60]
        assert np.ptp(column[0]) < 8
        expected = 0.4 * 127.5 + 0.6 * np.array(HEAT[-1])
        assert np.abs(column[-3] - expected).max() < 12
