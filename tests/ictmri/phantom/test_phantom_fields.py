"""The phantom's building blocks against SciPy and closed forms."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial.transform import Rotation

from ictmri.phantom import anatomy, deformation, fields, scanner
from ictmri.phantom.deformation import Mass, Shape


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_resample_axes_is_linear_interpolation() -> None:
    values = generator().standard_normal((2, 5, 6, 7)).astype(np.float32)
    indices = [np.linspace(0, n - 1, 9, dtype=np.float32) for n in (5, 6, 7)]
    ours = fields.resample_axes(values, indices)
    grid = np.stack(np.meshgrid(*indices, indexing="ij"), axis=-1)
    for channel in range(2):
        oracle = RegularGridInterpolator([np.arange(n) for n in (5, 6, 7)], values[channel])(grid)
        np.testing.assert_allclose(ours[channel], oracle, atol=1e-5)


def test_texture_is_standardised_periodic_and_as_smooth_as_asked() -> None:
    texture = fields.Texture.draw(generator(), correlation=4.0)
    lattice = texture.lattice
    assert abs(lattice.mean()) < 1e-5
    assert abs(lattice.std() - 1) < 1e-5
    points = generator(1).uniform(-50, 50, (3, 200)).astype(np.float32)
    period = np.float32(lattice.shape[0] * texture.cell)
    np.testing.assert_allclose(texture.at(points), texture.at(points + period), atol=1e-3)
    step = round(4.0 / texture.cell)
    correlation = (lattice * np.roll(lattice, step, axis=0)).mean()
    expected = np.exp(-((step * texture.cell) ** 2) / (4 * 4.0**2))
    assert abs(correlation - expected) < 0.06


def test_rotation_matrix_is_scipys() -> None:
    angles = (10.0, -20.0, 35.0)
    oracle = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(deformation.rotation_matrix(angles), oracle, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_deformations_never_fold(seed: int) -> None:
    rng = generator(seed)
    shape = deformation.draw_shape(rng, age=20.0 * seed + 5, sex="male")
    pose = deformation.draw_pose(rng, shape)
    atlas = anatomy.template()
    warp = deformation.warp(pose, [Mass((15.0, -15.0, 8.0), 14.0, 0.7)], atlas)
    for displacement in (warp.to_lesion, warp.to_template):
        gradient = np.stack([np.stack(np.gradient(component, 4.0)) for component in displacement])
        jacobian = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))
        assert (jacobian > 0).mean() > 0.999
        assert np.median(jacobian) == pytest.approx(1 / np.prod(shape.scale), rel=0.06)


def test_mass_effect_keeps_the_volume_of_displaced_tissue() -> None:
    mass = Mass((0.0, -15.0, 15.0), 10.0, 0.6)
    distances = np.array([4.0, 10.0, 14.0, 20.0, 25.0], np.float32)
    points = np.zeros((3, 5, 1, 1), np.float32)
    points[:, :, 0, 0] = np.array(mass.centre, np.float32)[:, None]
    points[0, :, 0, 0] += distances
    moved = deformation.push_back(points, mass, anatomy.template())
    source = moved[0, :, 0, 0]
    outside = np.cbrt(distances[1:] ** 3 - 0.6 * 10.0**3)
    np.testing.assert_allclose(source, [4.0 * np.cbrt(0.4), *outside], atol=1e-3)


def test_pose_is_the_stated_rigid_motion_and_scale() -> None:
    shape = Shape((5.0, -3.0, 8.0), (2.0, -1.0, 3.0), (0.97, 1.02, 0.95), 0.0, 0.0, 0.0, 0.0)
    pose = deformation.draw_pose(generator(), shape)
    pivot = np.array([0.0, -18.0, 0.0])
    rotation = Rotation.from_euler("xyz", shape.rotation, degrees=True)
    local = pose.lesion[:, ::9, ::9, ::9].reshape(3, -1).T - pivot
    forward = rotation.apply(local * shape.scale) + pivot + shape.translation
    np.testing.assert_allclose(forward, pose.scan[:, ::9, ::9, ::9].reshape(3, -1).T, atol=1e-3)


def test_noise_is_rician() -> None:
    axes = deformation.axis_positions(4.0)
    device = scanner.Scanner(white=10000, bias=0.0, noise=0.05, blur=(0, 0, 0), ghost=0.0)
    empty = np.zeros([len(axis) for axis in axes], np.float32)
    air = scanner.acquire(generator(), device, empty, axes)
    assert air.mean() == pytest.approx(500 * np.sqrt(np.pi / 2), rel=0.01)
    bright = scanner.acquire(generator(), device, empty + 1, axes).astype(np.float64)
    assert bright.std() == pytest.approx(500, rel=0.02)
    assert np.mean(bright**2) == pytest.approx(10000**2 + 2 * 500**2, rel=0.005)
