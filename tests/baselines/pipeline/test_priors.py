"""A copy of a cohort for another detector: made once, of what is there, and never half."""

import gzip
import shutil
import struct
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest

from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io.volumes import unpack
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer.boxes import Box, SliceBoxes
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.replay import MaskReplay
from ictmri_baselines.pipeline import (
    Workers,
    ensure_priors,
    localize_cohort,
    localized_copy,
    priors,
)
from ictmri_baselines.pipeline.compare_boxes import true_core
from ictmri_baselines.pipeline.localize import brain_of

ONE = Workers(1)


class Cube(DetectorSettings):
    """A detector that finds the same box in every brain, and counts how often it looked."""

    name = "boxes"
    version = "1"
    looked: ClassVar[list[str]] = []

    edge: int = 12

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> "Finder":  # noqa: ARG002
        return Finder(case_id, self.edge)


class Finder:
    def __init__(self, case_id: str, edge: int) -> None:
        self._case_id, self._edge = case_id, edge

    def detect(self, brain: Brain) -> list[SliceBoxes]:  # noqa: ARG002
        Cube.looked.append(self._case_id)
        box = Box(40, 50, 40 + self._edge, 50 + self._edge)
        return [SliceBoxes(z, (box,), "boxes") for z in range(40, 50)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path / "cache"))
    Cube.looked.clear()
    return tmp_path / "cache"


def copy_of(cohort: Cohort, folder: Path) -> Cohort:
    shutil.copytree(cohort.root, folder / "phantom")
    return open_cohort(folder / "phantom")


def test_a_copy_has_the_detectors_priors_and_the_cohort_keeps_its_own(
    two_processed: Cohort, tmp_path: Path, cache: Path
) -> None:
    before = two_processed.manifest
    made = localized_copy(two_processed, Cube(), workers=ONE)
    assert made.root.parent == cache / "localized"
    assert open_cohort(two_processed.root).manifest == before
    made.check()
    image = made.root / "data" / "default" / "fold0-00000-of-00001.parquet"
    assert image.samefile(two_processed.root / image.relative_to(made.root)), "stored once"
    assert made.data_sha256 == two_processed.data_sha256
    in_place = localize_cohort(copy_of(two_processed, tmp_path), Cube(), workers=ONE)
    assert made.manifest == in_place.manifest
    # Twice for each case: here and in place.
    assert len(Cube.looked) == 4


def test_it_is_made_once_whatever_priors_the_cohort_has(
    two_processed: Cohort, tmp_path: Path, cache: Path
) -> None:
    cohort = copy_of(two_processed, tmp_path)
    made = localized_copy(cohort, Cube(), workers=ONE)
    cohort = localize_cohort(cohort, Cube(edge=6), workers=ONE)
    Cube.looked.clear()
    again = ensure_priors(cohort, ONE, detector=Cube())
    assert (again.root, again.manifest) == (made.root, made.manifest)
    assert not Cube.looked
    assert ensure_priors(cohort, ONE).root == cohort.root
    # Boxes of what the cohort was localized with are none of the copy's.
    other = localized_copy(cohort, Cube(edge=8), workers=ONE)
    assert other.root != made.root
    assert [path.name for path in (other.root / "boxes").iterdir()] == ["boxes.jsonl"]
    assert "localize" in cohort.manifest.steps
    settings = other.manifest.steps["localize"]["settings"]
    assert settings["edge"] == 8


def test_a_run_that_was_ended_goes_on_with_the_next_case(
    two_processed: Cohort, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, done = priors.link_or_copy, []

    def full(source: Path, target: Path) -> None:
        done.append(target)
        if len(done) > 3:
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(priors, "link_or_copy", full)
    with pytest.raises(OSError, match="No space"):
        localized_copy(two_processed, Cube(), workers=ONE)
    assert not [path for path in (cache / "localized").iterdir() if path.is_dir()]
    monkeypatch.setattr(priors, "link_or_copy", link)

    def ended(self: Finder, brain: Brain) -> list[SliceBoxes]:
        if Cube.looked:
            raise KeyboardInterrupt
        return detect(self, brain)

    detect = Finder.detect
    monkeypatch.setattr(Finder, "detect", ended)
    with pytest.raises(KeyboardInterrupt):
        localized_copy(two_processed, Cube(), workers=ONE)
    monkeypatch.setattr(Finder, "detect", detect)
    made = localized_copy(two_processed, Cube(), workers=ONE)
    assert sorted(Cube.looked) == two_processed.folds().case_ids
    # What a disk lost is made again.
    file = made.root / "data" / "processed" / "fold1-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    again = localized_copy(two_processed, Cube(), workers=ONE)
    again.check()
    assert again.manifest == made.manifest
    two_processed.check()


def test_what_cannot_be_copied_is_told(
    two: Cohort, two_processed: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"not processed yet(.|\n)*ictmri process"):
        localized_copy(two, Cube(), workers=ONE)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"the cache .*(.|\n)*set ICTMRI_CACHE"):
        localized_copy(two_processed, Cube(), workers=ONE)


def test_what_looks_at_no_brain_is_not_asked_about_its_mirror_image(
    two_processed: Cohort, tmp_path: Path
) -> None:
    masks = MaskReplay(masks=cores(two_processed, tmp_path / "masks", on_scan=False))
    with pytest.raises(InputError, match=r"--mirror(.|\n)*masks are the same"):
        localize_cohort(two_processed, masks, mirror="drop", workers=ONE)
    assert "localize" not in open_cohort(two_processed.root).manifest.steps


def test_no_model_learns_from_boxes_that_are_dropped(two_processed: Cohort, tmp_path: Path) -> None:
    """The box lies on one side of every brain, its mirror image too: none is left to learn from."""
    cohort = copy_of(two_processed, tmp_path)
    with pytest.raises(InputError, match="no case's boxes hold enough voxels to learn from"):
        localize_cohort(cohort, Cube(), voxel_model="cohort", mirror="drop", workers=ONE)


# Masks


def cores(cohort: Cohort, folder: Path, *, on_scan: bool) -> Path:
    """Write the true core of each case as a mask, in the space of its scan or in that of the brain."""
    folder.mkdir()
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")}
    for row in cohort.rows("processed"):
        if on_scan:
            lesion = unpack(truths[row["case_id"]])
            voxels = np.asarray(lesion.dataobj)
            core, affine = (voxels > 0) & (voxels != 3), lesion.affine
        else:
            core = true_core(row, truths[row["case_id"]])
            affine = unpack(row["brain_mask"]).affine
        mask = nib.Nifti1Image(core.astype(np.uint8), affine)
        nib.save(mask, folder / f"{row['case_id']}.nii.gz")
    return folder


def test_masks_in_the_space_of_scans_and_of_brains_are_the_same(
    two_processed: Cohort, tmp_path: Path
) -> None:
    folders = [cores(two_processed, tmp_path / str(n), on_scan=bool(n)) for n in (0, 1)]
    for row in two_processed.rows("processed"):
        brain, name = brain_of(row), row["case_id"]
        maps = [MaskReplay(masks=f).detector(case_id=name).detect(brain).map for f in folders]
        assert maps[0].any()
        np.testing.assert_array_equal(*maps)
    made = localized_copy(two_processed, MaskReplay(masks=folders[1]), workers=ONE)
    assert str(tmp_path) not in str(made.manifest.steps)
    for row in made.rows("processed"):
        core = np.asarray(nib.load(folders[0] / f"{row['case_id']}.nii.gz").dataobj) > 0
        marked = np.asarray(unpack(row["prior_coarse"]).dataobj) > 127
        assert 2 * (marked & core).sum() / (marked.sum() + core.sum()) > 0.95
        inside = core & (np.asarray(unpack(row["brain_mask"]).dataobj) > 0)
        np.testing.assert_array_equal(np.asarray(unpack(row["prior_refined"]).dataobj), inside)


def test_masks_that_are_none_are_named_before_the_work(
    two_processed: Cohort, tmp_path: Path
) -> None:
    first, second = two_processed.folds().case_ids
    folder = cores(two_processed, tmp_path / "masks", on_scan=False)
    good = nib.load(folder / f"{first}.nii.gz")
    core, affine = np.asarray(good.dataobj), good.affine
    nib.save(nib.Nifti1Image(core * 2, affine), folder / f"{first}.nii.gz")
    (folder / f"{second}.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        localized_copy(two_processed, MaskReplay(masks=folder), workers=ONE)
    assert caught.value.problems == [
        f"{first}.nii.gz: holds the values 0, 2, not 0 and 1 alone",
        f"{second}.nii.gz: there is no such file",
    ]
    (folder / f"{second}_mask.nii.gz").write_bytes(good.to_bytes())
    (folder / "other.nii.gz").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=f"no such file, but {second}_mask.nii.gz") as caught:
        localized_copy(two_processed, MaskReplay(masks=folder), workers=ONE)
    strange = [f"{name}.nii.gz" for name in ("other", f"{second}_mask")]
    assert caught.value.problems[:2] == [f"{name} is named after no case" for name in strange]
    for name in strange:
        (folder / name).unlink()
    (folder / f"{second}.nii.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=f"{second}.nii.gz: cannot be read"):
        MaskReplay(masks=folder).prepare([second], [first])
    lost = nib.Nifti1Image(core, affine)
    lost.set_sform(None, 0)
    lost.set_qform(None, 0)
    nib.save(lost, folder / f"{second}.nii.gz")
    with pytest.raises(InputError, match="left and right are a guess"):
        MaskReplay(masks=folder).prepare([second], [first])
    flat = bytearray(lost.to_bytes())
    flat[252:256] = struct.pack("<2h", 0, 2)
    flat[280:328] = bytes(48)
    (folder / f"{second}.nii.gz").write_bytes(gzip.compress(flat))
    with pytest.raises(InputError, match="its affine is not a placement in space"):
        MaskReplay(masks=folder).prepare([second], [first])


def test_a_mask_on_another_grid_is_resampled_and_one_elsewhere_refused(
    two_processed: Cohort, tmp_path: Path
) -> None:
    first, _ = two_processed.folds().case_ids
    folder = cores(two_processed, tmp_path / "masks", on_scan=False)
    good = nib.load(folder / f"{first}.nii.gz")
    core, affine = np.asarray(good.dataobj), good.affine
    (row,) = (row for row in two_processed.rows("processed") if row["case_id"] == first)
    fine = np.repeat(np.repeat(np.repeat(core, 2, 0), 2, 1), 2, 2)[:-1, :-1, :-1]
    half = affine @ np.diag([0.5, 0.5, 0.5, 1])
    nib.save(nib.Nifti1Image(fine, half), folder / f"{first}.nii.gz")
    found = MaskReplay(masks=folder).detector(case_id=first).detect(brain_of(row))
    np.testing.assert_array_equal(found.map > 0.5, core > 0)
    far = affine.copy()
    far[:3, 3] += 500
    nib.save(nib.Nifti1Image(core, far), folder / f"{first}.nii.gz")
    with pytest.raises(InputError, match="nothing of it lies in the brain"):
        MaskReplay(masks=folder).detector(case_id=first).detect(brain_of(row))
    brain = brain_of(row)
    unknown = Brain(brain.image, brain.mask)
    with pytest.raises(InputError, match="way from its scan is not known"):
        MaskReplay(masks=folder).detector(case_id=first).detect(unknown)
    nib.save(nib.Nifti1Image(core * 0, far), folder / f"{first}.nii.gz")
    empty = MaskReplay(masks=folder).detector(case_id=first).detect(brain)
    assert not empty.map.any(), "a case without a tumour"
    with pytest.raises(InputError, match="holds no <case_id>"):
        MaskReplay(masks=tmp_path).facts()
