import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ictmri.atlas.alignment import AlignmentError
from ictmri.atlas.geometry import canonical, orthogonal, to_itk, world_affine
from ictmri.atlas.template import DEEP_LABELS, VENTRICLE_LABELS, template
from ictmri_baselines.processor import process

NOT_DEEP = {5, 56}
CORNERS = np.array([[x, y, z, 1.0] for x in (-50, 50) for y in (-80, 50) for z in (-20, 60)]).T


def moved(
    pitch: float = 0.0,
    yaw: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float, float] = (0, 0, 0),
) -> np.ndarray:
    """An affine from MNI mm to scan mm."""
    a, b = np.deg2rad([pitch, yaw])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = scale * turn_x @ turn_z
    affine[:3, 3] = shift
    return affine


def scan_of(
    scan_from_mni: np.ndarray,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    *,
    brain_only: bool = False,
    background: float = 0.0,
    seed: int = 0,
) -> nib.Nifti1Image:
    """The template's head as a scanner would see it after the head moved; scipy does the resampling."""
    source = template()
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-110, -140, -100)
    shape = tuple(np.ceil(np.array([220, 260, 210]) / spacing).astype(int))
    voxel = np.linalg.inv(source.affine) @ np.linalg.inv(scan_from_mni) @ affine
    data = source.brain if brain_only else source.head
    values = ndimage.affine_transform(data, voxel[:3, :3], voxel[:3, 3], shape, order=1)
    inside = ndimage.affine_transform(
        source.mask.astype(np.float32), voxel[:3, :3], voxel[:3, 3], shape, order=1
    )
    noise = np.random.default_rng(seed).normal(0, 2, shape)
    if brain_only:
        values = np.where(inside > 0.5, values + noise, background)
    else:
        values = values + noise + background
    return nib.Nifti1Image(values.astype(np.float32), affine)


def error_mm(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm((found @ CORNERS - truth @ CORNERS)[:3], axis=0).mean())


@pytest.mark.parametrize(
    ("truth", "spacing"),
    [
        (moved(), (2.0, 2.0, 2.0)),
        (moved(pitch=18, yaw=-8, scale=1.08, shift=(4, -12, 25)), (1.5, 1.5, 3.0)),
        (moved(pitch=-12, yaw=10, scale=0.9, shift=(-8, 10, -30)), (1.0, 1.0, 5.0)),
    ],
)
def test_a_known_placement_is_found(truth: np.ndarray, spacing: tuple[float, ...]) -> None:
    done = process(scan_of(truth, spacing))
    assert error_mm(done.scan_from_mni, truth) < 3.0
    assert done.qc["correlation_template"] > 0.9


def test_the_same_scan_stored_otherwise_gives_the_same_brain() -> None:
    scan = scan_of(moved(pitch=8, shift=(3, 5, 10)), (2.0, 2.0, 2.5))
    stored = nib.orientations.axcodes2ornt(("P", "S", "L"))
    from_ras = nib.orientations.ornt_transform(nib.io_orientation(scan.affine), stored)
    first, second = process(scan), process(scan.as_reoriented(from_ras))
    np.testing.assert_array_equal(first.image.dataobj, second.image.dataobj)
    np.testing.assert_array_equal(first.scan_from_mni, second.scan_from_mni)


def test_an_extracted_brain_keeps_its_own_mask_whatever_the_background() -> None:
    truth = moved(pitch=6, shift=(2, -4, 8))
    results = [process(scan_of(truth, brain_only=True, background=b)) for b in (0.0, -1000.0)]
    for done in results:
        assert done.qc["already_extracted"] == 1.0
        assert done.qc["dice_template"] > 0.95
        assert error_mm(done.scan_from_mni, truth) < 3.0
    np.testing.assert_array_equal(results[0].brain_mask.dataobj, results[1].brain_mask.dataobj)
    assert np.abs(results[0].image.get_fdata() - results[1].image.get_fdata()).max() < 0.1


def test_intensities_are_standardised_inside_the_brain_and_zero_outside() -> None:
    done = process(scan_of(moved(), background=300.0))
    mask = np.asarray(done.brain_mask.dataobj) > 0
    inside = done.image.get_fdata()[mask]
    assert abs(np.median(inside)) < 0.01
    assert abs(1.4826 * np.median(np.abs(inside - np.median(inside))) - 1) < 0.01
    assert (done.image.get_fdata()[~mask] == 0).all()
    assert done.image.shape == (97, 115, 97)
    assert nib.aff2axcodes(done.image.affine) == ("R", "A", "S")


def test_a_shear_is_put_back() -> None:
    sheared = np.array([[2.0, 0.1, 0, 5], [0, 2, 0.15, -3], [0, 0, 2.5, 8], [0, 0, 0, 1]])
    plain = orthogonal(sheared)
    rotation = plain[:3, :3] / np.linalg.norm(plain[:3, :3], axis=0)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(plain[:3, :3], axis=0), np.linalg.norm(sheared[:3, :3], axis=0)
    )


def test_itk_sees_the_same_place_as_nibabel() -> None:
    affine = moved(pitch=20, yaw=30, shift=(5, 6, 7)) @ np.diag([1.0, 2, 3, 1])
    data = np.zeros((5, 6, 7), dtype=np.float32)
    point = to_itk(data, affine).TransformIndexToPhysicalPoint((4, 2, 3))
    np.testing.assert_allclose(
        np.array(point) * [-1, -1, 1], nib.affines.apply_affine(affine, [4, 2, 3])
    )


def test_world_affines_survive_the_way_to_itk_and_back() -> None:
    from ictmri.atlas.geometry import itk_transform

    affine = moved(pitch=20, yaw=30, scale=1.1, shift=(5, 6, 7))
    np.testing.assert_allclose(world_affine(itk_transform(affine)), affine, atol=1e-12)


def test_canonical_keeps_every_voxel_in_its_place() -> None:
    affine = np.array([[0, 0, -3.0, 10], [-1.5, 0, 0, 20], [0, 2.0, 0, -5], [0, 0, 0, 1]])
    data = np.zeros((6, 7, 8), dtype=np.int16)
    data[1, 2, 3] = 9
    found, moved_affine = canonical(nib.Nifti1Image(data, affine))
    assert nib.aff2axcodes(moved_affine) == ("R", "A", "S")
    (place,) = np.argwhere(found == 9)
    np.testing.assert_allclose(
        nib.affines.apply_affine(moved_affine, place), nib.affines.apply_affine(affine, [1, 2, 3])
    )


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.full((40, 40, 40), 7.0), "same value"),
        (np.full((40, 40, 40), np.nan), "NaN"),
        (np.random.default_rng(0).normal(size=(60, 60, 3)), "field of view is 240 x 240 x 12 mm"),
        (np.pad(np.ones((1, 1, 1)), 20), "cannot be aligned"),
    ],
)
def test_what_is_no_head_is_refused_with_the_reason(voxels: np.ndarray, message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        process(nib.Nifti1Image(voxels.astype(np.float32), np.diag([4.0, 4, 4, 1])))


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte() -> None:
    code = (
        "import hashlib; from test_processor import moved, scan_of;"
        "from ictmri_baselines.processor import process;"
        "done = process(scan_of(moved(pitch=9)));"
        "print(hashlib.sha256(done.image.to_bytes() + done.scan_from_mni.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_label_tables_name_both_sides_once() -> None:
    sides = [side for right, left, _ in DEEP_LABELS for side in (right, left)]
    assert len(set(sides)) == len(sides)
    assert set(VENTRICLE_LABELS) - NOT_DEEP <= set(sides)


def test_the_deep_structures_lie_in_the_brain_around_the_midline() -> None:
    target = template()
    assert (target.deep & target.mask).sum() / target.deep.sum() > 0.95
    centre = nib.affines.apply_affine(target.affine, np.argwhere(target.deep).mean(axis=0))
    assert abs(centre[0]) < 1.0
