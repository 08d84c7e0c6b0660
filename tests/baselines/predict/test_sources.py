"""Which scans are meant: one, or several of a folder, a table or a cohort; never a guess."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made_dicom import save, slices

from ictmri.build.phantom import build_phantom
from ictmri.errors import InputError
from ictmri_baselines.predict.sources import Scans, find_scans


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def several(source: Path) -> dict[str, str]:
    found = find_scans(str(source))
    assert isinstance(found, Scans)
    assert found.ids == list(found.paths)
    assert [row["image"] for row in found.rows()] == list(found.paths.values())
    return {name: path.name for name, path in found.paths.items()}


def test_a_file_and_the_folder_of_a_study_are_one_scan(tmp_path: Path) -> None:
    scan = files(tmp_path, "a.nii.gz") / "a.nii.gz"
    assert find_scans(str(scan)) == scan
    save(slices(1), tmp_path / "series")
    assert find_scans(str(tmp_path / "series")) == tmp_path / "series"
    study = tmp_path / "study"
    save(slices(1), study / "t1")
    save(slices(2, StudyInstanceUID=slices(1)[0].StudyInstanceUID), study / "t1ce")
    assert find_scans(str(study)) == study
    assert find_scans(str(files(tmp_path / "empty", "notes.txt"))) == tmp_path / "empty"


def test_volumes_and_studies_of_a_folder_are_a_scan_each(tmp_path: Path) -> None:
    folder = files(tmp_path / "f", "b.nii", "a.NII.GZ", "c.nrrd", "d.mha", "notes.txt", ".e.nii")
    save(slices(1), folder / "patient-1" / "dicom")
    files(folder, "empty/readme.txt")
    assert several(folder) == {
        **{"a": "a.NII.GZ", "b": "b.nii", "c": "c.nrrd", "d": "d.mha"},
        "patient-1": "patient-1",
    }
    dicom = tmp_path / "dicom"
    save(slices(1), dicom / "one")
    save(slices(2), dicom / "two")
    assert several(dicom) == {"one": "one", "two": "two"}


def test_folders_that_may_mean_two_things_are_refused(tmp_path: Path) -> None:
    mixed = files(tmp_path / "mixed", "a.nii")
    save(slices(1), mixed)
    deeper = files(tmp_path / "deeper", "sub-01/anat/t1.nii.gz")
    beside = files(tmp_path / "beside", "a.nii", "masks/a.nii")
    shared = tmp_path / "shared"
    save(slices(1), shared / "one")
    save(slices(2), shared / "two")
    save(slices(3, StudyInstanceUID=slices(1)[0].StudyInstanceUID), shared / "three")
    cases = {
        mixed: "beside them, the files of a DICOM series",
        deeper: "volumes lie deeper in it",
        beside: "volumes lie deeper in it, e.g. in masks",
        shared: "3 folders in it hold the series of 2 studies",
        files(tmp_path / "same", "a.nii", "A.nii.gz"): "'a' stands 2 times",
        files(tmp_path / "odd", "Ada Lovelace.nii"): "'Ada Lovelace': letters, digits",
    }
    for folder, said in cases.items():
        with pytest.raises(InputError, match=said) as caught:
            find_scans(str(folder))
        assert "table" in caught.value.next_step


def test_a_table_names_scans_and_its_labels_are_left_alone(tmp_path: Path) -> None:
    files(tmp_path, "x/one.nii", "two.nii")
    table = tmp_path / "t.csv"
    table.write_text("patient_id,label,image\nA-1,nonsense,x/one.nii\nA-2,,two.nii\n")
    assert several(table) == {"A-1": "one.nii", "A-2": "two.nii"}
    table.write_text("image,patient_id,case_id\ntwo.nii,Ada Lovelace,c-2\n")
    assert several(table) == {"c-2": "two.nii"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("case_id,image\n", "a header only"),
        ("patient_id,img\nA,two.nii\n", "column 'image' is missing"),
        ("name,image\nA,two.nii\n", "column 'case_id' is missing"),
        ("case_id,image\nA,none.nii\n", "row 2: image 'none.nii' does not exist"),
        ("case_id,image\nA\n", "row 2: 1 cells"),
        ("case_id,image\na/b,two.nii\n", "case_id 'a/b': letters"),
        ("case_id,image\nA,two.nii\na,two.nii\n", "case_id 'a' stands 2 times"),
    ],
)
def test_tables_that_are_not_valid(content: str, said: str, tmp_path: Path) -> None:
    files(tmp_path, "two.nii")
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        find_scans(str(tmp_path / "t.csv"))


def test_a_cohort_by_folder_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = build_phantom(tmp_path / "home" / "mine", n_cases=8, n_folds=2, spacing=6.0, jobs=1)
    monkeypatch.setenv("ICTMRI_HOME", str(tmp_path / "home"))
    for name in (str(cohort.root), "mine"):
        found = find_scans(name)
        assert isinstance(found, Scans)
        assert found.ids == cohort.folds().case_ids
        rows = list(found.rows())
        assert sorted(row["case_id"] for row in rows) == sorted(found.ids)
        assert set(rows[0]) == {"case_id", "image"}
    with pytest.raises(InputError, match="did you mean 'ictmri-phantom'"):
        find_scans("ictmri-fantom")
    with pytest.raises(InputError, match="there is no scan, folder, table or cohort"):
        find_scans("scans/none.nii.gz")
