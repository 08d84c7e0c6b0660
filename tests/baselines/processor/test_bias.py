"""N4 on a brain whose bias field is known, and against ANTs' own program."""

import nibabel as nib
import numpy as np
import pytest
from support.moved_heads import brain_mask_of, moved, scan_of

from ictmri.atlas.alignment import Aligned, align
from ictmri_baselines.processor.bias import N4
from ictmri_baselines.processor.volume import Volume, volume_of

QUICK = N4(iterations=(20, 10))


@pytest.fixture(scope="module")
def scan() -> nib.Nifti1Image:
    return scan_of(moved(), (4.0, 4.0, 5.0))


@pytest.fixture(scope="module")
def place(scan: nib.Nifti1Image) -> Aligned:
    return align(scan)


def field_of(volume: Volume) -> np.ndarray:
    """A receive field of the usual size: 0.7 to 1.4 over the head."""
    x, y, z = (np.linspace(-1, 1, size) for size in volume.voxels.shape)
    log = 0.3 * x[:, None, None] - 0.2 * y[None, :, None] ** 2 + 0.15 * z[None, None, :]
    return np.exp(log).astype(np.float32)


@pytest.fixture(scope="module")
def clean(scan: nib.Nifti1Image) -> Volume:
    mask = np.asarray(brain_mask_of(scan, moved()).dataobj) > 0
    volume = volume_of(scan)
    return Volume(np.maximum(volume.voxels, 0), volume.affine, mask)


def unevenness(found: np.ndarray, clean: Volume) -> float:
    """The spread of what a corrected scan still is a multiple of, inside the brain."""
    bright = clean.brain & (clean.voxels > 40)
    ratio = np.log(found[bright] / clean.voxels[bright])
    return float(ratio.std())


def test_a_known_field_is_taken_away(clean: Volume, place: Aligned) -> None:
    """What N4 takes for a field where there is none is the template's own unevenness."""
    biased = clean.with_voxels(clean.voxels * field_of(clean))
    found, own = QUICK.run(biased, place), QUICK.run(clean, place)
    assert unevenness(found.voxels, own) < 0.4 * unevenness(biased.voxels, clean)
    np.testing.assert_array_equal(found.brain, clean.brain)


def test_it_is_the_field_that_ants_own_program_finds(clean: Volume, place: Aligned) -> None:
    ants = pytest.importorskip("ants")
    biased = clean.with_voxels(clean.voxels * field_of(clean))
    corrected = N4(grid_mm=1.0, iterations=(10,)).run(biased, place).voxels
    bright = clean.brain & (clean.voxels > 40)
    ours = biased.voxels[bright] / corrected[bright]
    image = ants.from_numpy(biased.voxels, spacing=biased.edges_mm.tolist())
    mask = ants.from_numpy(clean.brain.astype(np.float32), spacing=biased.edges_mm.tolist())
    field = ants.n4_bias_field_correction(
        image,
        mask=mask,
        shrink_factor=1,
        convergence={"iters": [10], "tol": 1e-7},
        return_bias_field=True,
    ).numpy()
    apart = np.log(ours) - np.log(field[bright])
    assert apart.std() < 0.01


@pytest.mark.parametrize(("scale", "shift"), [(1.0, -70.0), (0.04, -3.0)])
def test_negative_voxels_are_shifted_not_lost(
    scale: float, shift: float, clean: Volume, place: Aligned
) -> None:
    """Z-scored scans are negative in half of the brain; a logarithm would drop that half."""
    scored = clean.with_voxels((scale * clean.voxels * field_of(clean) + shift).astype(np.float32))
    found = QUICK.run(scored, place).voxels
    assert np.isfinite(found).all()
    bright = clean.brain & (clean.voxels > 40)
    before = np.corrcoef(scored.voxels[bright], clean.voxels[bright])[0, 1]
    assert np.corrcoef(found[bright], clean.voxels[bright])[0, 1] > before + 0.1


def test_the_stored_scale_of_a_scan_changes_nothing(clean: Volume, place: Aligned) -> None:
    biased = clean.with_voxels(clean.voxels * field_of(clean))
    larger = clean.with_voxels(biased.voxels * 64)
    first, second = QUICK.run(biased, place).voxels, QUICK.run(larger, place).voxels
    np.testing.assert_allclose(second, first * 64, rtol=1e-3, atol=0.5)
