from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ictmri.atlas.alignment import AlignmentError
from ictmri.io.volumes import pack, unpack
from ictmri.phantom import render, roster
from ictmri.release.defacing import remove_face
from ictmri.scans.read import read_scan

CASE = roster(n_cases=24)[3]


@pytest.fixture(scope="module")
def head() -> nib.Nifti1Image:
    return unpack(pack(render(CASE, spacing=2.0).image, "x"))


def test_the_face_goes_and_the_tumour_stays(head: nib.Nifti1Image) -> None:
    done = remove_face(head)
    before, after = head.get_fdata(), done.image.get_fdata()
    changed = before != after
    lesion = np.asarray(render(CASE, spacing=2.0).lesion_mask.dataobj) > 0
    assert not (changed & lesion).any()
    places = nib.affines.apply_affine(head.affine, np.argwhere(changed))
    assert places[:, 1].mean() > 30
    tissue = before > np.percentile(before, 60)
    front_low = np.zeros(before.shape, dtype=bool)
    top = np.argwhere(tissue.any(axis=(0, 1))).max()
    front_low[:, int(before.shape[1] * 0.72) :, : top // 3] = True
    (fill,) = np.unique(after[changed])
    assert (after[front_low & tissue] == fill).mean() > 0.8
    np.testing.assert_array_equal(done.image.affine, head.affine)
    assert done.image.get_data_dtype() == head.get_data_dtype()
    assert not done.extracted


def test_the_rest_is_left_as_it_was(head: nib.Nifti1Image) -> None:
    done = remove_face(head)
    changed = head.get_fdata() != done.image.get_fdata()
    assert done.removed_ml < 0.45 * head.get_fdata().size * 8 / 1000
    back = changed[:, : changed.shape[1] // 3]
    assert not back.any()


def test_real_heads_lose_their_face_and_keep_their_brain(real_scans: Path) -> None:
    """HD-BET's own mask of a real scan as the other opinion of what is brain."""
    folder = real_scans
    scan = read_scan(folder / "cohort" / "images" / "tcga_fg_6692_t1c.nii.gz").image
    (mask,) = (folder / "masks").glob("tcga_fg_6692*brain*")
    brain = nib.load(mask).get_fdata() > 0
    done = remove_face(unpack(pack(scan, "x")))
    changed = scan.get_fdata() != done.image.get_fdata()
    assert done.removed_ml > 200
    assert (changed & brain).sum() / brain.sum() < 0.005


def test_an_extracted_brain_has_no_face(real_scans: Path) -> None:
    scan = read_scan(real_scans / "cohort" / "images" / "brats_met_00110_t1c.nii.gz").image
    done = remove_face(unpack(pack(scan, "x")))
    assert done.extracted
    np.testing.assert_array_equal(done.image.get_fdata(), scan.get_fdata())


def test_what_is_no_head_is_refused() -> None:
    image = nib.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4))
    with pytest.raises(AlignmentError, match="field of view"):
        remove_face(image)
