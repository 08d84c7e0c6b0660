"""The way to MNI152 space and back, against closed forms, scipy's solver and SimpleITK."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage, optimize
from support.moved_heads import moved, reordered

from ictmri.atlas.geometry import to_itk
from ictmri.atlas.template import grid_affine, template
from ictmri_baselines.processor import Mapping
from ictmri_baselines.processor.mapping import stored_warp
from ictmri_baselines.processor.points import inverse_displacement

CENTRE, WIDTH = np.array([10.0, -20.0, 15.0]), 22.0
PUSH = np.array([7.0, -5.0, 4.0])
PLACE = moved(pitch=12, yaw=-7, scale=1.05, shift=(4, 9, -6))


def bump(mm: np.ndarray) -> np.ndarray:
    """An analytic displacement, smooth and without folds: (..., 3) mm to (..., 3) mm."""
    distance = ((mm - CENTRE) ** 2).sum(axis=-1, keepdims=True)
    return PUSH * np.exp(-distance / (2 * WIDTH**2))


def mni_points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def bump_warp(spacing: float = 2.0) -> nib.Nifti1Image:
    affine = grid_affine(spacing)
    affine[:3, 3] += 10
    shape = tuple(int(extent / spacing) for extent in (176, 206, 176))
    field = np.moveaxis(bump(mni_points(shape, affine)), -1, 0)
    return stored_warp(field.astype(np.float32), affine)


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    return Mapping(PLACE, bump_warp())


@pytest.fixture(scope="module")
def brain_mm() -> np.ndarray:
    places = np.argwhere(template(2).mask)
    chosen = np.random.default_rng(0).choice(places, 400, replace=False)
    return nib.affines.apply_affine(grid_affine(2), chosen + 0.3)


@pytest.mark.parametrize("spacing", [2.0, 3.0])
def test_a_stored_warp_moves_points_as_its_formula_does(
    spacing: float, brain_mm: np.ndarray
) -> None:
    found = Mapping(PLACE, bump_warp(spacing)).scan_points(brain_mm)
    truth = nib.affines.apply_affine(PLACE, brain_mm + bump(brain_mm))
    assert np.linalg.norm(found - truth, axis=1).max() < 0.1


def test_a_stored_warp_is_small_and_says_what_it_is() -> None:
    """As rough as SyN's fields are: smooth over 2 voxels, 0 outside the brain, 3 mm on average."""
    noise = np.random.default_rng(0).normal(size=(3, *template(2).mask.shape))
    rough = np.stack([ndimage.gaussian_filter(one, 2.0) for one in noise]) * template(2).mask
    field = (rough * (3 / rough.std())).astype(np.float32)
    warp = stored_warp(field, grid_affine(2))
    assert len(gzip.compress(warp.to_bytes(), 4)) < 3e6
    assert warp.header.get_intent()[0] == "vector"
    assert warp.shape == (97, 115, 97, 1, 3)
    found = Mapping(PLACE, warp).field()
    assert np.abs(found - field).max() < 0.01
    # Written and read, then stored again, it is the same field bit by bit.
    read = nib.Nifti1Image.from_bytes(warp.to_bytes())
    again = stored_warp(Mapping(PLACE, read).field(), np.asarray(read.affine))
    np.testing.assert_array_equal(Mapping(PLACE, again).field(), found)


def test_the_way_back_is_the_inverse_that_scipy_finds(
    mapping: Mapping, brain_mm: np.ndarray
) -> None:
    scan_mm = mapping.scan_points(brain_mm)
    assert np.linalg.norm(mapping.mni_points(scan_mm) - brain_mm, axis=1).max() < 0.1
    back = nib.affines.apply_affine(np.linalg.inv(PLACE), scan_mm[:10])
    for wanted, found in zip(back, mapping.mni_points(scan_mm[:10]), strict=True):
        solved = optimize.fsolve(lambda mm, wanted=wanted: mm + bump(mm) - wanted, wanted)
        assert np.linalg.norm(found - solved) < 0.1


def test_an_inverse_is_found_where_tissue_is_stretched_threefold() -> None:
    """p + 20 tanh(p / 10) stretches by up to 3; full steps alone would diverge."""
    x = np.arange(0.0, 63.0, 1.0)
    line = 20 * np.tanh((x - 31) / 10)
    field = np.zeros((3, 63, 5, 5), np.float32)
    field[0] = line[:, None, None]
    inverse = inverse_displacement(field, 1.0)[0, :, 2, 2]
    inside = np.abs(x - 31) < 25
    for q, found in zip(x[inside], inverse[inside], strict=True):
        solved = optimize.brentq(lambda p, q=q: p + np.interp(p, x, line) - q, 0, 62)
        assert abs(q + found - solved) < 0.05


@pytest.mark.parametrize("spot", [(12.0, -18.0, 20.0), (-30.0, 22.0, 8.0)])
def test_an_image_and_its_points_go_the_same_way(
    spot: tuple[float, float, float], mapping: Mapping
) -> None:
    """A bright spot in the scan stands in MNI space where its point is, and back again."""
    affine = np.array([[0, -2.5, 0, 140.0], [2, 0, 0, -130], [0, 0, 3.0, -110], [0, 0, 0, 1]])
    scan_mm = nib.affines.apply_affine(PLACE, spot + bump(np.array(spot)))
    apart = mni_points((138, 108, 80), affine) - scan_mm
    image = nib.Nifti1Image(np.exp(-(apart**2).sum(-1) / 50).astype(np.float32), affine)
    there = mapping.to_mni(image, 2)
    centre = nib.affines.apply_affine(grid_affine(2), ndimage.center_of_mass(there**4))
    assert np.linalg.norm(centre - spot) < 1.0
    back = mapping.to_scan(nib.Nifti1Image(there, grid_affine(2)), image)
    np.testing.assert_array_equal(back.affine, affine)
    place = nib.affines.apply_affine(affine, ndimage.center_of_mass(back.get_fdata() ** 4))
    assert np.linalg.norm(place - scan_mm) < 1.0


@pytest.mark.parametrize("spacing", [1, 2])
def test_resampling_through_a_warp_agrees_with_itk(mapping: Mapping, spacing: int) -> None:
    rng = np.random.default_rng(3)
    voxels = ndimage.gaussian_filter(rng.random((48, 57, 48)), 1).astype(np.float32)
    scan_affine = np.diag([4.0, 4, 4, 1])
    scan_affine[:3, 3] = (-90, -120, -80)
    found = mapping.to_mni(nib.Nifti1Image(voxels, scan_affine), spacing, outside=-1.0)
    warp = mapping.warp
    assert warp is not None
    vectors = np.moveaxis(mapping.field(), 0, -1).astype(np.float64) * [-1, -1, 1]
    field = sitk.GetImageFromArray(np.ascontiguousarray(vectors.transpose(2, 1, 0, 3)), True)
    field.CopyInformation(to_itk(vectors[..., 0], warp.affine))
    lps = np.diag([-1.0, -1, 1, 1]) @ PLACE @ np.diag([-1.0, -1, 1, 1])
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(lps[:3, :3].ravel().tolist())
    affine.SetTranslation(lps[:3, 3].tolist())
    # ITK applies the last one first.
    both = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])
    grid = to_itk(template(spacing).mask.astype(np.uint8), grid_affine(spacing))
    itk = sitk.Resample(to_itk(voxels, scan_affine), grid, both, sitk.sitkLinear, -1.0)
    truth = sitk.GetArrayFromImage(itk).T
    inside = (found >= 0) & (truth >= 0)
    assert inside.mean() > 0.5
    assert ((found < 0) != (truth < 0)).mean() < 1e-4
    assert np.abs(found - truth)[inside].max() < 2e-3


def test_the_jacobian_is_the_formulas() -> None:
    affine = grid_affine(2)
    mm = mni_points((60, 60, 60), affine)
    matrix = np.array([[0.2, 0.05, -0.1], [0.0, -0.15, 0.08], [0.04, -0.02, 0.1]])
    linear = np.moveaxis((mm - mm.mean(axis=(0, 1, 2))) @ matrix.T, -1, 0).astype(np.float32)
    found = Mapping(np.eye(4), stored_warp(linear, affine)).jacobian()
    # Rounding to 1/64 mm over 4 mm is what is left.
    assert np.abs(found - np.linalg.det(np.eye(3) + matrix)).max() < 0.03
    assert abs(float(found.mean()) - np.linalg.det(np.eye(3) + matrix)) < 1e-3


@pytest.mark.parametrize("spacing", [1, 2])
def test_a_volume_is_the_scans_and_not_the_templates(spacing: int) -> None:
    """A ball under a stretched affine, and under a warp that makes it another half as long."""
    affine = grid_affine(spacing)
    mm = mni_points(template(spacing).mask.shape, affine)
    ball = np.linalg.norm(mm - [10, -20, 15], axis=-1) < 25
    ml = 4 / 3 * np.pi * 25**3 / 1000
    place = np.diag([0.7, 0.9, 1.1, 1.0])
    assert Mapping(place).scan_ml(ball, affine) == pytest.approx(ml * 0.7 * 0.9 * 1.1, rel=0.01)
    grid = grid_affine(4)
    points = mni_points((46, 55, 46), grid)
    longer = np.zeros((3, *points.shape[:3]), dtype=np.float32)
    longer[1] = 0.5 * (points[..., 1] + 20)
    found = Mapping(place, stored_warp(longer, grid)).scan_ml(ball, affine)
    assert found == pytest.approx(1.5 * ml * 0.7 * 0.9 * 1.1, rel=0.01)


def test_the_jacobian_of_a_bump_is_its_closed_form(mapping: Mapping) -> None:
    warp = mapping.warp
    assert warp is not None
    mm = mni_points(warp.shape[:3], np.asarray(warp.affine))
    # det(I + a g^T) = 1 + g . a for the gradient g of the bump's height and its direction a.
    height = np.exp(-((mm - CENTRE) ** 2).sum(-1) / (2 * WIDTH**2))
    truth = 1 - height * ((mm - CENTRE) @ PUSH) / WIDTH**2
    inner = (slice(2, -2),) * 3
    assert np.abs(mapping.jacobian() - truth)[inner].max() < 0.03
    assert (Mapping(PLACE).jacobian() == 1).all()


def test_labels_stay_labels_and_a_sheared_oblique_scan_is_met(mapping: Mapping) -> None:
    sheared = np.array(
        [[2.0, 0.1, 0, -95.0], [0.05, 2, 0.15, -125], [0, 0.1, 2.5, -90], [0, 0, 0, 1]]
    )
    shape = (95, 115, 75)
    mni = mapping.mni_points(mni_points(shape, sheared).reshape(-1, 3)).reshape(*shape, 3)
    truth = np.where(np.linalg.norm(mni - [0, -20, 10], axis=-1) < 30, 3, 1)
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), sheared)
    ball = np.where(
        np.linalg.norm(mni_points((97, 115, 97), grid_affine(2)) - [0, -20, 10], axis=-1) < 30, 3, 1
    )
    found = mapping.to_scan(nib.Nifti1Image(ball.astype(np.uint8), grid_affine(2)), image, order=0)
    values = found.get_fdata()
    assert set(np.unique(values)) <= {0.0, 1.0, 3.0}
    assert (values == 3)[truth == 3].mean() > 0.97
    assert (values == 3)[truth == 1].mean() < 0.01


def test_the_stored_order_of_a_scan_is_kept(mapping: Mapping) -> None:
    volume = nib.Nifti1Image(template(2).brain, grid_affine(2))
    like = nib.Nifti1Image(np.zeros((60, 70, 50), np.int16), np.diag([3.0, 3, 3, 1]))
    like.affine[:3, 3] = (-90, -120, -60)
    plain, other = mapping.to_scan(volume, like), reordered(like, "PSL")
    turned = mapping.to_scan(volume, other)
    assert turned.shape == other.shape
    np.testing.assert_array_equal(nib.as_closest_canonical(turned).get_fdata(), plain.get_fdata())
