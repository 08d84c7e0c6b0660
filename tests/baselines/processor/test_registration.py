"""SyN on known deformations, the affine from brain to brain, and the same bytes every time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from support.moved_heads import brain_mask_of, moved, scan_of

from ictmri.atlas.alignment import align
from ictmri.atlas.template import grid_affine, template
from ictmri.phantom import render, roster
from ictmri_baselines.processor import PRESETS, Processed, process
from ictmri_baselines.processor.points import inverse_displacement
from ictmri_baselines.processor.registration.ants_syn import SynParameters, syn
from ictmri_baselines.processor.registration.register import brain_affine, overlap
from ictmri_baselines.processor.step_cache import StepCache
from ictmri_baselines.processor.volume import volume_of

EDGE = 4
SHORT = SynParameters(iterations=(15, 8))
PUSH = np.array([6.0, -4.0, 5.0], np.float32)


def bump(mm: np.ndarray, centre: tuple[float, float, float]) -> np.ndarray:
    """A smooth displacement, (3, ...) mm."""
    middle = np.reshape(centre, (3, *[1] * (mm.ndim - 1)))
    height = np.exp(-((mm - middle) ** 2).sum(axis=0) / (2 * 30.0**2))
    return np.reshape(PUSH, middle.shape) * height


@pytest.fixture(scope="module")
def pushed() -> tuple[np.ndarray, np.ndarray]:
    """The template's brain on 4 mm pushed by a known field; and the field, fixed to moving."""
    brain = template(EDGE).brain
    grid = np.indices(brain.shape, dtype=np.float32)
    field = bump(grid * EDGE, (96.0, 110.0, 90.0)).astype(np.float32)
    back = inverse_displacement(field, EDGE)
    moving = ndimage.map_coordinates(brain, grid + back / EDGE, np.float32, order=1)
    return moving, field


def test_the_field_goes_from_the_fixed_to_the_moving_points(
    pushed: tuple[np.ndarray, np.ndarray],
) -> None:
    moving, truth = pushed
    fixed, mask = template(EDGE).brain, template(EDGE).mask
    found = syn(fixed, moving, None, EDGE, SHORT)
    near = mask & (np.linalg.norm(truth, axis=0) > 4)
    left = np.linalg.norm(found - truth, axis=0)[near].mean()
    assert left < 0.5 * np.linalg.norm(truth, axis=0)[near].mean()
    for component, wanted in zip(found, truth, strict=True):
        assert np.sign(component[near].mean()) == np.sign(wanted[near].mean())
    grid = np.indices(fixed.shape, dtype=np.float32)
    warped = ndimage.map_coordinates(moving, grid + found / EDGE, order=1)
    assert np.abs(warped - fixed)[near].mean() < 0.7 * np.abs(moving - fixed)[near].mean()


@pytest.mark.long
def test_ants_that_others_brought_in_changes_no_byte(
    pushed: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """There SyN runs in its own process; here it is asked for in one whose ITK has four threads."""
    moving, _ = pushed
    np.save(tmp_path / "moving.npy", moving)
    code = (
        "import sys, hashlib, numpy as np, ants;"
        "from test_registration import EDGE, SHORT;"
        "from ictmri.atlas.template import template;"
        "from ictmri_baselines.processor.registration.ants_syn import syn;"
        "found = syn(template(EDGE).brain, np.load(sys.argv[1]), None, EDGE, SHORT);"
        "print(hashlib.sha256(found.tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "moving.npy"],
        cwd=Path(__file__).parent,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "4",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    here = syn(template(EDGE).brain, moving, None, EDGE, SHORT)
    assert done.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


def test_a_first_step_out_of_the_basin_is_taken_again_smaller() -> None:
    """A head on which a step of 2 ended at 1.8 times the volume; heads of the phantom are 0.8 to 1.25."""
    place = align(render(roster()[115]).image)
    assert 0.8 < np.linalg.det(place.scan_from_mni[:3, :3]) < 1.25
    assert place.overlap() > 0.9


def test_the_affine_is_found_again_from_brain_to_brain() -> None:
    """A head that was placed badly is put right by its brain."""
    truth = moved(pitch=25, shift=(3, -6, 12))
    scan = scan_of(truth, (1.5, 1.5, 5.0))
    volume = volume_of(scan)
    volume = volume.with_mask(np.asarray(brain_mask_of(scan, truth).dataobj) > 0)
    place = align(scan)
    wrong = moved(pitch=8, scale=0.85, shift=(0, 10, 0))
    found = brain_affine(volume, type(place)(place.scan, None, wrong, wrong))
    assert overlap(volume, found) > 0.96 > overlap(volume, wrong)
    corners = np.array([[x, y, z, 1.0] for x in (-50, 50) for y in (-80, 50) for z in (-20, 60)]).T
    assert np.linalg.norm((found @ corners - truth @ corners)[:3], axis=0).mean() < 3


def test_a_better_affine_is_not_given_up_for_a_worse_one() -> None:
    truth = moved(pitch=5)
    scan = scan_of(truth, (4.0, 4.0, 4.0))
    volume = volume_of(scan)
    volume = volume.with_mask(np.asarray(brain_mask_of(scan, truth).dataobj) > 0)
    place = align(scan)
    exact = type(place)(place.scan, None, truth, truth)
    assert overlap(volume, brain_affine(volume, exact)) >= overlap(volume, truth)


@pytest.fixture(scope="module")
def pushed_head() -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A scan on thick slices whose brain was pushed, and the mask of that brain."""
    place = moved(pitch=6, shift=(2, -4, 8))
    head = scan_of(place, (3.0, 3.0, 4.0))
    grid = np.indices(head.shape, dtype=np.float32)
    edges = np.reshape([3, 3, 4], (3, 1, 1, 1))
    at = grid + (bump(grid * edges, (110.0, 140.0, 110.0)) / edges).astype(np.float32)
    voxels = ndimage.map_coordinates(head.get_fdata(dtype=np.float32), at, order=1)
    own = brain_mask_of(head, place).get_fdata(dtype=np.float32)
    mask = ndimage.map_coordinates(own, at, order=1) > 0.5
    return (
        nib.Nifti1Image(voxels, head.affine),
        nib.Nifti1Image(mask.astype(np.uint8), head.affine),
    )


@pytest.mark.long
def test_a_deformed_head_is_brought_to_the_template_and_resumes(
    pushed_head: tuple[nib.Nifti1Image, nib.Nifti1Image], tmp_path: Path
) -> None:
    """N4 and SyN as the paper has them; killed after N4, or after SyN, it ends with the same bytes."""
    scan, mask = pushed_head
    settings = PRESETS["paper"].model_copy(update={"spacing_mm": 2})
    cache = StepCache(tmp_path, "case")
    done = process(scan, settings, own_mask=mask, cache=cache)
    target, found = template(2), np.asarray(done.brain.mask.dataobj) > 0
    assert 2 * (found & target.mask).sum() / (found.sum() + target.mask.sum()) > 0.98
    assert done.mapping.jacobian().min() > 0
    points = nib.affines.apply_affine(grid_affine(2), np.argwhere(target.deep)[::50])
    back = done.mapping.mni_points(done.mapping.scan_points(points))
    assert np.linalg.norm(back - points, axis=1).max() < 0.1
    again = process(scan, settings, own_mask=mask, cache=cache)
    assert again.steps["registration"] == done.steps["registration"]  # found: the same seconds
    assert content(again) == content(done)
    for path in tmp_path.glob("*registration*.nii"):
        path.unlink()
    resumed = process(scan, settings, own_mask=mask, cache=cache)
    assert resumed.steps["bias"] == done.steps["bias"]
    assert content(resumed) == content(done)


def content(done: Processed) -> bytes:
    warp = done.mapping.warp
    assert warp is not None
    images = (done.brain.image, done.brain.mask, done.scan_mask, warp)
    return b"".join(one.to_bytes() for one in images) + done.mapping.scan_from_mni.tobytes()
