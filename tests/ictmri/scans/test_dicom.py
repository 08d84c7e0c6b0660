import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)
from support.dicom_faults import CASES, OBLIQUE, SAGITTAL, apart, base, enhanced, second
from support.made_dicom import N_SLICES, file_of, save, slices, write_series

from ictmri.errors import ScanError
from ictmri.scans.dicom_slices import quiet, read_slices
from ictmri.scans.dicom_volume import ACQUISITION_COLUMNS, read_dicom
from ictmri.scans.findings import Note

TWICE = "1 slices were there twice; the copies were dropped"


def by_itk(folder: Path) -> nib.Nifti1Image:
    """The same series as GDCM and ITK read it."""
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1]) @ affine)


def same(ours: nib.Nifti1Image, theirs: nib.Nifti1Image) -> None:
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())


def test_the_real_series_is_what_itk_reads(real_scans: Path) -> None:
    folder = real_scans / "dicom" / "sag_anon"
    done = read_dicom(folder)
    same(done.image, by_itk(folder))
    assert done.image.get_data_dtype() == np.int16
    assert done.acquisition["field_strength_t"] == "3"
    assert done.acquisition["vendor"] == "siemens"
    assert set(done.acquisition) == set(ACQUISITION_COLUMNS)


@pytest.mark.parametrize(
    "turn", [np.eye(3), SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"]
)
def test_every_orientation_lands_where_itk_says(tmp_path: Path, turn: np.ndarray) -> None:
    folder = write_series(tmp_path / "s", 1, turn=turn)
    same(read_dicom(folder).image, by_itk(folder))


def test_the_affine_is_the_standards(tmp_path: Path) -> None:
    """PS3.3 C.7.6.2.1.1, worked out by hand for one voxel."""
    datasets = slices(1, turn=OBLIQUE)
    image = read_dicom(save(datasets, tmp_path / "s")).image
    column, row, index = 5, 7, 3
    lps = (
        np.array(datasets[index].ImagePositionPatient, dtype=float)
        + OBLIQUE[0] * 8.0 * column
        + OBLIQUE[1] * 9.0 * row
    )
    found = nib.affines.apply_affine(image.affine, [column, row, index])
    np.testing.assert_allclose(found, lps * [-1, -1, 1], atol=1e-3)
    stored = np.frombuffer(datasets[index].PixelData, np.uint16).reshape(24, 20)
    assert image.get_fdata()[column, row, index] == stored[row, column]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_series_give_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    plain = read_dicom(write_series(tmp_path / "plain", 1)).image
    packed = slices(1)
    for data in packed:
        data.compress(syntax)
    same(read_dicom(save(packed, tmp_path / "packed")).image, plain)


def test_real_compressed_slices_decode_as_gdcm_does(
    real_scans: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import pydicom

    folder = real_scans / "dicom" / "wg04_mr"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    syntaxes = set()
    for path in files:
        syntaxes.add(pydicom.dcmread(path).file_meta.TransferSyntaxUID)
        capfd.readouterr()
        with quiet():
            (ours,) = read_slices(path)
        assert capfd.readouterr().err == ""
        ours = ours.pixels * ours.scaling[0] + ours.scaling[1]
        np.testing.assert_allclose(ours, sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0])
    assert len(syntaxes) >= 6


def test_an_enhanced_multiframe_file_is_the_series_it_was_made_of(tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedMRImage
    from pydicom.uid import generate_uid

    datasets = slices(
        1,
        turn=OBLIQUE,
        StudyID="1",
        StudyDate="20200101",
        StudyTime="000000",
        PatientBirthDate="",
        PatientSex="O",
        AccessionNumber="",
        ReferringPhysicianName="",
        Manufacturer="GE MEDICAL SYSTEMS",
        SeriesNumber=1,
        PositionReferenceIndicator="",
        AcquisitionNumber=1,
    )
    multi = LegacyConvertedEnhancedMRImage(
        datasets,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    (tmp_path / "multi").mkdir()
    multi.save_as(tmp_path / "multi" / "a.dcm")
    classic = read_dicom(save(slices(1, turn=OBLIQUE), tmp_path / "classic")).image
    same(read_dicom(tmp_path / "multi").image, classic)
    same(read_dicom(tmp_path / "multi" / "a.dcm").image, classic)


def test_slices_that_are_there_twice_count_once(tmp_path: Path) -> None:
    datasets = slices(1)
    folder = save(datasets, tmp_path / "s")
    datasets[3].save_as(folder / "again", enforce_file_format=True)
    done = read_dicom(folder)
    assert Note("repeated-slices", TWICE) in done.oddities
    same(done.image, read_dicom(write_series(tmp_path / "clean", 1)).image)


@pytest.mark.parametrize("name", CASES)
def test_what_the_wild_holds_is_read_right_or_refused(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    folder, true = case.save(tmp_path / "s"), case.truth()
    if true is None:
        with pytest.raises(ScanError) as caught:
            read_dicom(folder)
        assert caught.value.code == case.code
        return
    found = read_dicom(folder).image
    off_mm, off = apart(found, true)
    assert off_mm < (0.05 if "jittered" in name else 0.01)
    assert off < 1e-3


def moved(index: int, by: float) -> list[Dataset]:
    datasets = slices(1)
    position = [float(x) for x in datasets[index].ImagePositionPatient]
    datasets[index].ImagePositionPatient = [*position[:2], position[2] + by]
    return datasets


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: slices(1)[:4] + slices(1)[6:], "about 2 slices are missing, after slice 4"),
        (lambda: moved(4, 1.5), "spacing is uneven: 6.500 to 9.500"),
        (lambda: moved(4, 8.0), "two different slices lie at the same place"),
        (lambda: second(4.0, EchoTime=9.0), "it has 2 values of EchoTime: 4 and 9"),
        (lambda: second(80.0, AcquisitionNumber=2), "it has 2 values of AcquisitionNumber"),
        (lambda: second(80.0, AcquisitionDate="20200102"), "it has 2 values of AcquisitionTime"),
        (lambda: second(80.0, SeriesTime="1200"), "it has 2 values of SeriesTime"),
        (lambda: second(80.0, PixelBandwidth=300), "it has 2 values of PixelBandwidth"),
        (lambda: second(80.0, SliceThickness=3.0), "it has 2 values of SliceThickness: 3 and 8"),
        (lambda: second(80.0, AcquisitionMatrix=[0, 320, 256, 0]), "values of AcquisitionMatrix"),
        (lambda: second(80.0, PatientName="B^A"), "it has 2 values of PatientName"),
        (lambda: enhanced(second(0.0), 20, lambda i: i // 10), "a time series of 2 volumes"),
        (lambda: base(ImagePositionPatient=None), r"without position.*\(ImagePositionPatient\)"),
    ],
)
def test_a_refusal_says_what_is_wrong(
    tmp_path: Path, change: Callable[[], list[Dataset]], reason: str
) -> None:
    with pytest.raises(ScanError, match=reason):
        read_dicom(save(change(), tmp_path / "s"))


def test_a_file_cut_off_in_its_header_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", 1)
    path = file_of(folder, N_SLICES - 1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ScanError) as caught:
        read_dicom(folder)
    assert caught.value.code == "truncated"


def test_nothing_but_the_volume_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Values that break the standard, as real headers have them."""
    datasets = slices(1)
    for data in datasets:
        for name, value in {"PatientAge": "45", "StudyDate": "2020-01-01"}.items():
            data[name] = DataElement(name, dictionary_VR(name), value, validation_mode=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dicom(save(datasets, tmp_path / "s"))
    assert capfd.readouterr() == ("", "")


def test_a_slightly_uneven_spacing_is_told(tmp_path: Path) -> None:
    done = read_dicom(save(moved(4, 0.1), tmp_path / "s"))
    assert [note.code for note in done.oddities] == ["slightly-uneven-slices"]


def test_the_directory_of_a_disk_is_left_aside(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", 1)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    directory.DirectoryRecordSequence = []
    directory.save_as(folder / "DICOMDIR")
    assert [note.code for note in read_dicom(folder).oddities] == ["files-left-aside"]


def test_what_stands_beside_a_series_is_counted(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", 1)
    (folder / "report.txt").write_text("x")
    note = Note("files-left-aside", "1 files left aside: no DICOM")
    assert read_dicom(folder).oddities == [note]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived-series"),
        ({"SeriesDescription": "t2_flair +C"}, "not-t1ce"),
    ],
)
def test_a_lone_series_is_taken_with_doubts(
    tmp_path: Path, tags: dict[str, object], code: str
) -> None:
    done = read_dicom(write_series(tmp_path / "s", 1, **tags))
    assert [note.code for note in done.oddities] == [code]


def study(tmp_path: Path, *series: dict[str, object]) -> Path:
    for index, tags in enumerate(series):
        text = str(tags.pop("text", ""))
        n = int(tags.pop("n", N_SLICES))  # type: ignore[call-overload]
        named = {"SeriesDescription": text, "ContrastBolusAgent": "", **tags}
        save(slices(10 + index, n=n, **named), tmp_path / "study" / f"s{index}")
    return tmp_path / "study"


def test_the_t1ce_is_found_in_a_study(tmp_path: Path) -> None:
    folder = study(
        tmp_path,
        {"text": "localizer", "n": 3},
        {"text": "t1_mprage_sag pre"},
        {"text": "t2_tse_tra"},
        {"text": "ep2d_diff ADC +C", "ContrastBolusAgent": "Gadovist"},
        {"text": "t1_mprage_sag", "ContrastBolusAgent": "Gadovist"},
        {"text": "t1_mprage MPR +C", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    )
    done = read_dicom(folder)
    same(done.image, read_dicom(folder / "s4").image)
    assert Note("series-chosen", "the T1-CE was chosen among 6 series") in done.oddities


def test_an_unclear_choice_is_left_to_the_owner(tmp_path: Path) -> None:
    folder = study(tmp_path, {"text": "t1_fl3d +C"}, {"text": "t1_vibe +C"}, {"text": "t2_flair"})
    with pytest.raises(ScanError, match="2 of which could be the T1-CE") as caught:
        read_dicom(folder)
    assert caught.value.code == "unclear-series"
    assert "t1_vibe" in caught.value.detail
    assert "vibe" not in caught.value.reason


def test_a_study_without_contrast_is_refused(tmp_path: Path) -> None:
    folder = study(tmp_path, {"text": "t1_mprage pre"}, {"text": "t2_flair"})
    with pytest.raises(ScanError, match="none of which names a contrast agent") as caught:
        read_dicom(folder)
    assert caught.value.code == "no-t1ce-series"


def test_a_lone_series_without_contrast_is_doubted(tmp_path: Path) -> None:
    done = read_dicom(study(tmp_path, {"text": "t1_mprage"}))
    assert [note.code for note in done.oddities] == ["no-contrast-named"]


def test_pixels_with_words_in_them_are_refused(tmp_path: Path) -> None:
    assert read_dicom(study(tmp_path / "a", {"text": "t1 +C", "BurnedInAnnotation": "NO"}))
    with pytest.raises(ScanError, match="words may be written") as caught:
        read_dicom(study(tmp_path / "b", {"text": "t1 +C", "BurnedInAnnotation": "YES"}))
    assert caught.value.code == "burned-in-text"


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """Out of the folder too; a circle of links ends, and what two ways lead to counts once."""
    (tmp_path / "case").mkdir()
    elsewhere = write_series(tmp_path / "archive" / "post", 3, SeriesDescription="t1 +C")
    write_series(tmp_path / "case" / "pre", 4, SeriesDescription="t1 pre", ContrastBolusAgent="")
    (tmp_path / "case" / "post").symlink_to(elsewhere)
    (tmp_path / "case" / "again").symlink_to(tmp_path / "archive")
    (elsewhere / "circle").symlink_to(tmp_path)
    (tmp_path / "case" / "self").symlink_to(tmp_path / "case")
    done = read_dicom(tmp_path / "case")
    same(done.image, read_dicom(write_series(tmp_path / "plain", 3)).image)
    assert [note.code for note in done.oddities] == ["series-chosen"]


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """The series that it stood for may be the right one."""
    folder = write_series(tmp_path / "case" / "pre", 1).parent
    (folder / "post").symlink_to(tmp_path / "gone")
    with pytest.raises(ScanError, match="1 links in the folder lead nowhere"):
        read_dicom(folder)


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", 1)
    (tmp_path / "links").mkdir()
    for path in folder.iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    same(read_dicom(tmp_path / "links").image, read_dicom(folder).image)


def test_the_time_of_injection_chooses(tmp_path: Path) -> None:
    """It stands in one header, and holds for the study; the earlier series is named alike."""
    day = {"text": "t1_mprage", "AcquisitionDate": "20200101"}
    folder = study(
        tmp_path,
        {**day, "AcquisitionTime": "100000"},
        {**day, "AcquisitionTime": "102500.5", "ContrastBolusStartTime": "102000"},
    )
    same(read_dicom(folder).image, read_dicom(folder / "s1").image)


def test_deflated_file_that_unpacks_to_more_than_a_scan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ictmri.scans.dicom_slices.MAX_FILE_BYTES", 2**22)
    path = min(write_series(tmp_path / "s", 1).iterdir())
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.add_new((0x0009, 0x1001), "OB", bytes(2**23))
    data.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < 2**20
    with pytest.raises(ScanError, match="unpacks to more than a scan"):
        read_dicom(path.parent)
