"""The prior as a DICOM segmentation: read back by pydicom and highdicom, and compared by millimetres."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from nibabel.affines import apply_affine
from pydicom.dataset import Dataset
from support.made_dicom import save, slices

from ictmri.errors import InputError
from ictmri.scans.read import read_scan
from ictmri_baselines.predict.biopsy import Request, read_request
from ictmri_baselines.predict.dicom_seg import dicom_source, write_segmentation

ANGLE = np.deg2rad(20)
TURNS = {
    "axial": np.eye(3),
    "sagittal": np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], dtype=float),
    "oblique": np.array(
        [[np.cos(ANGLE), np.sin(ANGLE), 0], [0, 0, -1], [-np.sin(ANGLE), np.cos(ANGLE), 0]]
    ),
}


def marked(scan: nib.Nifti1Image) -> nib.Nifti1Image:
    """A lump that no mirror or turn brings back to itself, over some of the slices."""
    voxels = np.zeros(scan.shape, dtype=np.uint8)
    voxels[3:9, 5:7, 2:6] = 1
    voxels[3, 5:14, 4] = 1
    voxels[10, 15, 5] = 1
    return nib.Nifti1Image(voxels, scan.affine)


def compared(path: Path, prior: nib.Nifti1Image, series: list[Dataset]) -> None:
    """Compare a segmentation with a prior, pixel by pixel where each lies in millimetres."""
    data = pydicom.dcmread(path)
    first = series[0]
    assert data.SOPClassUID == pydicom.uid.SegmentationStorage
    assert data.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert data.StudyInstanceUID == first.StudyInstanceUID
    assert data.PatientID == first.PatientID
    assert data.SeriesInstanceUID != first.SeriesInstanceUID
    (referenced,) = data.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    shared = data.SharedFunctionalGroupsSequence[0]
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, dtype=float)
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    voxels, found = np.asarray(prior.dataobj), 0
    to_voxels = np.linalg.inv(prior.affine)
    for frame, groups in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        row, column = np.indices(frame.shape)
        lps = (
            place
            + column[..., None] * spacing[1] * turn[:3]
            + row[..., None] * spacing[0] * turn[3:]
        )
        at = np.rint(apply_affine(to_voxels, lps * [-1, -1, 1])).astype(int)
        np.testing.assert_array_equal(frame, voxels[tuple(np.moveaxis(at, -1, 0))])
        found += int(frame.sum())
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        (same,) = [one for one in series if one.SOPInstanceUID == image.ReferencedSOPInstanceUID]
        if "ImagePositionPatient" in same:
            np.testing.assert_allclose(same.ImagePositionPatient, place, atol=1e-3)
    assert found == voxels.sum()
    assert "Not a medical device" in data.ContentDescription


@pytest.mark.parametrize("name", TURNS)
def test_a_segmentation_lies_where_the_prior_does(name: str, tmp_path: Path) -> None:
    series = slices(1, turn=TURNS[name])
    folder = save(series, tmp_path / "dicom")
    scan = read_scan(folder).image
    prior, path = marked(scan), tmp_path / "seg.dcm"
    write_segmentation(path, prior, dicom_source(folder, scan), "saliency")
    compared(path, prior, series)
    assert path.stat().st_mode & 0o077 == 0
    # By highdicom's reader too, image by image of the series.
    read = hd.seg.segread(path)
    by_image = read.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in series],
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    assert by_image.sum() == np.asarray(prior.dataobj).sum()


def test_of_an_enhanced_file_its_frames_are_referred_to(tmp_path: Path) -> None:
    series = slices(1, turn=TURNS["oblique"], StudyDate="20200101", StudyTime="120000")
    for one in series:
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = one.StudyID = ""
        one.ReferringPhysicianName = one.Manufacturer = ""
        one.SeriesNumber = 1
    enhanced = LegacyConvertedEnhancedMRImage(series, hd.UID(), 2, hd.UID(), 1)
    path = tmp_path / "enhanced.dcm"
    enhanced.save_as(path)
    scan = read_scan(path).image
    prior = marked(scan)
    write_segmentation(tmp_path / "seg.dcm", prior, dicom_source(path, scan), "saliency")
    compared(tmp_path / "seg.dcm", prior, [enhanced])


def test_copies_of_slices_are_referred_to_once(tmp_path: Path) -> None:
    series = slices(1)
    copies = slices(1, SOPInstanceUID=hd.UID())[3:5]
    folder = save([*series, *copies], tmp_path / "dicom")
    scan = read_scan(folder).image
    source = dicom_source(folder, scan)
    assert list(source.slices) == list(range(scan.shape[2]))
    assert len(source.images) == len(series)


def test_what_no_segmentation_can_refer_to_is_refused(
    run: Path, head: nib.Nifti1Image, tmp_path: Path
) -> None:
    nib.save(head, tmp_path / "scan.nii.gz")
    out = tmp_path / "seg.dcm"
    request = Request(tmp_path / "scan.nii.gz", run, tmp_path / "r.html", dicom_seg=out)
    with pytest.raises(InputError, match=r"--dicom-seg: scan\.nii\.gz is no DICOM") as caught:
        read_request(request)
    assert "--prior" in caught.value.next_step
    series = slices(1)
    for one in series:
        del one.FrameOfReferenceUID
    folder = save(series, tmp_path / "dicom")
    with pytest.raises(InputError, match="no FrameOfReferenceUID"):
        dicom_source(folder, read_scan(folder).image)
    assert not out.exists()


def test_headers_that_cannot_be_repeated_are_told_before_the_work(tmp_path: Path) -> None:
    series = slices(1)
    for one in series:
        del one.SliceThickness
    folder = save(series, tmp_path / "dicom")
    with pytest.raises(InputError, match="SliceThickness"):
        dicom_source(folder, read_scan(folder).image)
