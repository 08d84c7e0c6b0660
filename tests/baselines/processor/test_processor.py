"""The light settings on moved heads; what refuses, resumes and records whatever the settings."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.moved_heads import brain_mask_of, moved, reordered, scan_of

from ictmri.atlas.alignment import AlignmentError
from ictmri.atlas.geometry import canonical, orthogonal, to_itk, world_affine
from ictmri.atlas.template import DEEP_LABELS, VENTRICLE_LABELS, template
from ictmri.errors import InputError
from ictmri_baselines.processor import PRESETS, Processed, process
from ictmri_baselines.processor.process import used_steps
from ictmri_baselines.processor.step_cache import StepCache

LIGHT = PRESETS["light"]

NOT_DEEP = {5, 56}
CORNERS = np.array([[x, y, z, 1.0] for x in (-50, 50) for y in (-80, 50) for z in (-20, 60)]).T


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def correlation(done: Processed) -> float:
    mask = template().mask
    return float(np.corrcoef(done.brain.image.get_fdata()[mask], template().brain[mask])[0, 1])


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
    done = process(scan_of(truth, spacing), LIGHT)
    assert error_mm(done.mapping.scan_from_mni, truth) < 3.0
    assert correlation(done) > 0.9


def test_the_same_scan_stored_otherwise_gives_the_same_brain() -> None:
    scan = scan_of(moved(pitch=8, shift=(3, 5, 10)), (2.0, 2.0, 2.5))
    other = reordered(scan, "PSL")
    first, second = process(scan, LIGHT), process(other, LIGHT)
    np.testing.assert_array_equal(first.brain.image.dataobj, second.brain.image.dataobj)
    np.testing.assert_array_equal(first.mapping.scan_from_mni, second.mapping.scan_from_mni)
    assert second.scan_mask.shape == other.shape
    np.testing.assert_array_equal(second.scan_mask.affine, other.affine)
    np.testing.assert_array_equal(
        nib.as_closest_canonical(second.scan_mask).dataobj, first.scan_mask.dataobj
    )


def test_an_extracted_brain_keeps_its_own_mask_whatever_the_background() -> None:
    truth = moved(pitch=6, shift=(2, -4, 8))
    scans = [scan_of(truth, brain_only=True, background=b) for b in (0.0, -1000.0)]
    results = [process(scan, LIGHT) for scan in scans]
    own = np.asarray(brain_mask_of(scans[0], truth).dataobj) > 0
    for done in results:
        assert done.extracted
        assert done.steps["brain"]["name"] == "already extracted"
        assert dice(np.asarray(done.brain.mask.dataobj) > 0, template().mask) > 0.95
        assert dice(np.asarray(done.scan_mask.dataobj) > 0, own) > 0.995
        assert error_mm(done.mapping.scan_from_mni, truth) < 3.0
    first, second = (done.brain for done in results)
    np.testing.assert_array_equal(first.mask.dataobj, second.mask.dataobj)
    assert np.abs(first.image.get_fdata() - second.image.get_fdata()).max() < 0.1


def test_an_extraction_runs_again_where_it_is_asked_for() -> None:
    scan = scan_of(moved(), (4.0, 4.0, 4.0), brain_only=True)
    done = process(scan, LIGHT.model_copy(update={"extract_again": True}))
    assert done.extracted
    assert done.steps["brain"]["name"] == "template"


def test_intensities_are_standardised_inside_the_brain_and_zero_outside() -> None:
    done = process(scan_of(moved(), background=300.0), LIGHT).brain
    mask = np.asarray(done.mask.dataobj) > 0
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
        process(nib.Nifti1Image(voxels.astype(np.float32), np.diag([4.0, 4, 4, 1])), LIGHT)


def test_a_users_mask_takes_the_extractions_place() -> None:
    truth = moved(pitch=6, shift=(2, -4, 8))
    scan = scan_of(truth, (3.0, 3.0, 3.0))
    mask = brain_mask_of(scan, truth)
    scan, mask = reordered(scan, "LPS"), reordered(mask, "LPS")
    done = process(scan, LIGHT, own_mask=mask)
    np.testing.assert_array_equal(done.scan_mask.dataobj, mask.dataobj)
    assert done.steps["brain"]["name"] == "own mask"
    # From brain to brain the affine is found again; the template's own mask would be rougher.
    assert dice(np.asarray(done.brain.mask.dataobj) > 0, template().mask) > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data, affine: (data[:-1], affine), "it has 54 x 65 x 53 voxels"),
        (lambda data, affine: (data, affine + 3 * np.eye(4)[:, [3] * 4].T), "mm from the scan's"),
        (lambda data, affine: (0 * data, affine), "it is empty"),
        (lambda data, affine: (0 * data + 1, affine), "it covers the whole scan"),
        (lambda data, affine: (data * np.nan, affine), "NaN"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], message: str
) -> None:
    scan = scan_of(moved(), (4.0, 4.0, 4.0))
    data, affine = change(brain_mask_of(scan, moved()).get_fdata(), scan.affine)
    with pytest.raises(InputError, match=message):
        process(scan, LIGHT, own_mask=nib.Nifti1Image(data.astype(np.float32), affine))


def test_every_step_says_what_it_was() -> None:
    done = process(scan_of(moved(), (4.0, 4.0, 4.0)), LIGHT)
    assert list(done.steps) == ["align", "brain", "bias", "registration", "resampling"]
    for step in done.steps.values():
        assert set(step) >= {"name", "version", "parameters", "seconds"}
        assert step["seconds"] >= 0


def test_settings_and_steps_tell_runs_apart() -> None:
    settings = [
        PRESETS["paper"],
        LIGHT,
        LIGHT.model_copy(update={"spacing_mm": 1}),
        LIGHT.model_copy(update={"intensities": "kept"}),
        PRESETS["paper"].model_copy(update={"mask_in_n4": False}),
    ]
    recorded = [str((one.model_dump(mode="json"), used_steps(one))) for one in settings]
    assert len(set(recorded)) == len(recorded)
    assert used_steps(PRESETS["paper"])["brain"]["name"] == "hd-bet"


def test_intensities_may_be_kept_as_they_are() -> None:
    scan = scan_of(moved(), (4.0, 4.0, 4.0))
    done = process(scan, LIGHT.model_copy(update={"intensities": "kept"})).brain
    inside = done.image.get_fdata()[np.asarray(done.mask.dataobj) > 0]
    assert 40 < np.median(inside) < 100  # the template's own units
    assert done.image.get_data_dtype() == np.float32


def test_a_finished_step_is_found_again_and_no_other(tmp_path: Path) -> None:
    cache = StepCache(tmp_path, "case-1")
    image = nib.Nifti1Image(
        np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.diag([2.0, 2, 2, 1])
    )
    cache.store("brain", "0123", image, {"name": "x", "seconds": 1.5})
    found = cache.find("brain", "0123")
    assert found is not None
    np.testing.assert_array_equal(found[0].dataobj, image.dataobj)
    assert found[1] == {"name": "x", "seconds": 1.5}
    assert cache.find("brain", "0124") is None
    assert cache.find("bias", "0123") is None
    assert StepCache(tmp_path, "case-2").find("brain", "0123") is None
    StepCache(tmp_path, "case-2").clear()
    assert cache.find("brain", "0123") is not None
    cache.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte() -> None:
    code = (
        "import hashlib; from support.moved_heads import moved, scan_of;"
        "from ictmri_baselines.processor import PRESETS, process;"
        "done = process(scan_of(moved(pitch=9)), PRESETS['light']);"
        "content = done.brain.image.to_bytes() + done.mapping.scan_from_mni.tobytes();"
        "print(hashlib.sha256(content).hexdigest())"
    )
    digests = set()
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_label_tables_name_both_sides_once() -> None:
    assert len(set(DEEP_LABELS)) == len(DEEP_LABELS)
    assert set(VENTRICLE_LABELS) - NOT_DEEP <= set(DEEP_LABELS)


def test_the_deep_structures_lie_in_the_brain_around_the_midline() -> None:
    target = template()
    assert (target.deep & target.mask).sum() / target.deep.sum() > 0.95
    centre = nib.affines.apply_affine(target.affine, np.argwhere(target.deep).mean(axis=0))
    assert abs(centre[0]) < 1.0
