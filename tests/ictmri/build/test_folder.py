import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ictmri.build import folder, phantom
from ictmri.build.folder import build_folder
from ictmri.build.pseudonyms import link_path
from ictmri.cohort import open_cohort
from ictmri.errors import InputError, MissingDependencyError
from ictmri.io.volumes import unpack
from ictmri.loader import load_dataset
from ictmri.verify.cohort import check_rows

N_MINI = 15


def all_bytes(root: Path) -> bytes:
    """Everything a folder holds, compressed volumes opened."""
    found = [p.read_bytes() + p.name.encode() for p in sorted(root.rglob("*")) if p.is_file()]
    cohort = open_cohort(root)
    found += [
        gzip.decompress(row["image"]["bytes"]) + row["image"]["path"].encode()
        for row in cohort.rows("default")
    ]
    return b"".join(found)


def test_the_main_job(mini_table: Path, tmp_path: Path) -> None:
    built = build_folder(str(mini_table), str(tmp_path / "out" / "mini"), n_folds=3)
    cohort = open_cohort(str(built.cohort.root))
    cohort.check()
    check_rows(cohort, "default")
    loaded = load_dataset(str(cohort.root), fold=1, cache_dir=str(tmp_path / "cache"))
    assert len(loaded["train"]) + len(loaded["test"]) == 15
    assert set(loaded["train"]["patient_id"]).isdisjoint(loaded["test"]["patient_id"])
    assert set(loaded["test"]["fold"]) == {1}


def test_source_names_stay_with_the_owner(mini_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "mini"
    build_folder(mini_table, out, n_folds=3)
    content = all_bytes(out)
    assert not re.search(rb"HOSP|scan_\d", content)
    assert str(tmp_path).encode() not in content
    link = link_path(out)
    assert link.stat().st_mode & 0o777 == 0o600
    assert "HOSP-1003" in link.read_text()


def test_case_ids_do_not_follow_the_table(mini_table: Path, tmp_path: Path) -> None:
    build_folder(mini_table, tmp_path / "mini", n_folds=3)
    lines = link_path(tmp_path / "mini").read_text().splitlines()[1:]
    numbers = [int(line.split(",")[1].rsplit("-", 1)[1]) for line in lines]
    assert sorted(numbers) == list(range(1, 16))
    assert abs(np.corrcoef(numbers, range(15))[0, 1]) < 0.75


def test_same_input_same_bytes(mini_table: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_folder(mini_table, tmp_path / name, name="mini", n_folds=3)
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


def test_a_patient_added_later_leaves_the_others_their_ids(
    mini_table: Path, tmp_path: Path
) -> None:
    rows = mini_table.read_text().splitlines()
    mini_table.write_text("\n".join(rows[:-1]) + "\n")
    build_folder(mini_table, tmp_path / "first", name="mini", n_folds=3)
    before = link_path(tmp_path / "first").read_text().splitlines()
    mini_table.write_text("\n".join(rows) + "\n")
    link_path(tmp_path / "second").write_text("\n".join(before) + "\n")
    build_folder(mini_table, tmp_path / "second", name="mini", n_folds=3)
    after = link_path(tmp_path / "second").read_text().splitlines()
    assert set(before) < set(after)


def test_a_second_run_finds_the_work_done(mini_table: Path, tmp_path: Path) -> None:
    first = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort.root / "manifest.json"
    stamp = first.stat().st_mtime_ns
    build_folder(mini_table, tmp_path / "mini", n_folds=3)
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="made with other inputs or settings"):
        build_folder(mini_table, tmp_path / "mini", n_folds=4)


def test_what_cannot_be_is_refused_before_a_scan_is_read(
    mini_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build_folder(mini_table, tmp_path / "made", n_folds=3).cohort.root

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a scan is read")

    monkeypatch.setattr(folder, "watched", read)
    monkeypatch.setattr(folder, "ingest", read)
    monkeypatch.setattr(phantom, "run_all", read)
    for n_folds in (1, 16):
        with pytest.raises(InputError, match=f"{n_folds} folds for 15 cases"):
            build_folder(mini_table, tmp_path / "mini", n_folds=n_folds)
    with pytest.raises(InputError, match="9 folds for 8 cases"):
        phantom.build_phantom(tmp_path / "phantom", n_cases=8, n_folds=9)
    with pytest.raises(InputError, match="made with other inputs or settings"):
        build_folder(mini_table, made, n_folds=4)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=99))
    with pytest.raises(InputError, match=r"0\.0 [MG]B are free there"):
        build_folder(mini_table, tmp_path / "mini", n_folds=3)
    assert not (tmp_path / "mini").exists()


@pytest.mark.parametrize("name", ["ictmri", "ictmri-phantom", "ictmri-phantom-seed3"])
def test_published_names_are_reserved(mini_table: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="reserved"):
        build_folder(mini_table, tmp_path / "x", name=name, n_folds=3)


def test_every_problem_of_a_bad_table_in_one_message(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "patient_id,image,label,age,sex\n"
        "a,gone.nii.gz,gliom,210,x\n"
        ",gone2.nii.gz,rare,,\n"
        "a,table.csv,PCNSL,12,M\n"
        "b,table.csv,rare\n"
    )
    with pytest.raises(InputError) as caught:
        build_folder(table, tmp_path / "out")
    text = str(caught.value)
    for part in (
        "row 2: image 'gone.nii.gz' does not exist",
        "row 2: unknown class 'gliom'; did you mean 'glioma'?",
        "row 2: age '210'",
        "row 2: sex 'x'",
        "row 3: patient_id is empty",
        "row 4: unknown class 'PCNSL'; did you mean 'pcnsl'?",
        "row 5: 3 cells, the header has 5",
        "rows 2, 4: patient_id 'a' stands 2 times",
    ):
        assert part in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"PK\x03\x04rest", "an Excel or zip file"),
        ("patient_id,image\n".encode("utf-16"), "UTF-16 text"),
        (b"patient_id;image;label\n", "separated by semicolons, not commas"),
        (b"patient,image,label\n", "'patient'; did you mean 'patient_id'?"),
        (b"patient_id,image,label\n", "a header only"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(problem)):
        build_folder(tmp_path / "t.csv", tmp_path / "out")


def test_unreadable_scans_are_named_and_the_others_are_built(
    mini_table: Path, tmp_path: Path
) -> None:
    for index in (2, 5):
        (tmp_path / "scans" / f"scan_{index}.nii.gz").write_bytes(b"junk")
    built = build_folder(mini_table, tmp_path / "mini", n_folds=3)
    assert [line.split(":")[0] for line in built.details] == ["row 4", "row 7"]
    lost = [found for found in built.findings if found.severity == "error"]
    assert len(lost) == 2
    assert not any("scan_" in found.text for found in built.findings)
    ids = {row["case_id"] for row in built.cohort.rows("default", ["case_id"])}
    assert len(ids) == N_MINI - 2
    assert not ids & {found.case_id for found in lost}


def test_without_one_readable_scan_nothing_is_written(mini_table: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "scans").iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(InputError) as caught:
        build_folder(mini_table, tmp_path / "mini", n_folds=3)
    assert len(caught.value.problems) == N_MINI
    assert not (tmp_path / "mini").exists()


def test_real_scans_keep_their_voxels_and_places(
    real_table: Path, real_scans: Path, tmp_path: Path
) -> None:
    built = build_folder(real_table, tmp_path / "real", n_folds=2)
    link = dict(
        reversed(line.split(",")[:2]) for line in link_path(tmp_path / "real").open().readlines()
    )
    by_patient = {
        link[row["case_id"]]: unpack(row["image"]) for row in built.cohort.rows("default")
    }
    for path in sorted((real_scans / "cohort" / "images").iterdir()):
        image = by_patient[path.name.removesuffix(".nii.gz").removesuffix(".nrrd")[:-4]]
        oracle = sitk.ReadImage(str(path))
        np.testing.assert_allclose(
            image.get_fdata(), sitk.GetArrayFromImage(oracle).transpose(2, 1, 0), rtol=1e-6
        )
        for index in ((0, 0, 0), (10, 20, 15)):
            itk_point = np.array(oracle.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
            ours = nib.affines.apply_affine(image.affine, index)
            np.testing.assert_allclose(ours, itk_point, atol=1e-3)
    told = "\n".join(finding.text for finding in built.findings)
    for what in (
        "thick slices",
        "background is",
        "age is unknown in 6",
        "rare: 1 case for 2 folds",
        "axes are stored in different orders: LAS 2, LPS 3, RAS 1",
    ):
        assert what in told


def test_dicom_without_its_libraries_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "t.csv").write_text("patient_id,image,label\na,series,glioma\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"ictmri\[build\]"):
        build_folder(tmp_path / "t.csv", tmp_path / "out")
