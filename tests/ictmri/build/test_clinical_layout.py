"""Made-up repositories, each laid out in a way of its own: the same patients must come out of all."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk
from support.made_dicom import write_series
from support.made_volumes import write_volume

from ictmri.build.clinical.mapping import ClinicalMapping, read_mapping
from ictmri.build.clinical.propose import Proposal, propose
from ictmri.build.clinical.source import take_inventory
from ictmri.build.clinical.vocabulary import read_class, read_header
from ictmri.errors import InputError
from ictmri.io import archives
from ictmri.scans.read import read_scan

LABELS = ("glioma", "glioma", "glioma", "pcnsl", "pcnsl", "germinoma", "germinoma", "rare", "rare")
NAMES = {"glioma": "Glioma", "pcnsl": "PCNSL", "germinoma": "Germinoma", "rare": "Others"}
CHINESE = {"glioma": "胶质瘤", "pcnsl": "淋巴瘤", "germinoma": "生殖细胞瘤", "rare": "其他"}
SUBTYPES = ("GBM", "AST", "ODG", "DLBCL", "DLBCL", "", "", "EPN", "MB")
PATHOLOGIES = (
    *("胶质母细胞瘤（WHO 4级）", "星形细胞瘤", "少突胶质细胞瘤 2级", "弥漫大B细胞淋巴瘤"),
    *("弥漫大B细胞淋巴瘤", "生殖细胞瘤", "生殖细胞瘤", "室管膜瘤", "髓母细胞瘤"),
)
AGES = (4, 86, 40, 51, 62, 13, 17, 30, 44)
SEXES = ("male", "female", "male", "male", "female", "male", "male", "female", "male")
N = len(LABELS)
IDS = [f"P{i + 1:03d}" for i in range(N)]
Write = Callable[[Path], None]


def volume(path: Path, patient: int) -> Path:
    return write_volume(path, patient)


def mask(path: Path, patient: int) -> Path:
    voxels = np.zeros((20, 24, 18), np.int16)
    voxels[8 + patient % 3 : 12, 10:14, 6:10] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([4.0, 4, 4, 1])), path)
    return path


def other(path: Path, patient: int) -> Path:
    """Another sequence of the patient: another volume than the T1-CE."""
    return write_volume(path, 1000 + patient)


def table(path: Path, header: list[str], rows: list[list[object]], encoding: str = "utf-8") -> None:
    stream = io.StringIO()
    delimiter = "\t" if path.suffix == ".tsv" else ","
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue().encode(encoding))


def patient_of(path: Path) -> int:
    """The patient whose volume lies at a path, by its voxels; -1 for a volume that is no T1-CE."""
    voxels = np.asanyarray(read_scan(path).image.dataobj)
    for patient in range(N):
        expected = np.random.default_rng(patient).integers(0, 50, (20, 24, 18))
        if np.array_equal(voxels[:, 0], expected[:, 0]):
            return patient
    return -1


# Layouts that leave nothing open -------------------------------------------------------------------------


def flat_with_csv(root: Path) -> None:
    for i in range(N):
        volume(root / "images" / f"{IDS[i]}_t1ce.nii.gz", i)
        mask(root / "masks" / f"{IDS[i]}_mask.nii.gz", i)
    rows = [[IDS[i], NAMES[LABELS[i]], SUBTYPES[i], AGES[i], SEXES[i][0].upper()] for i in range(N)]
    table(root / "labels.csv", ["Patient ID", "Class", "Subtype", "Age (years)", "Gender"], rows)


def class_folders_with_train_and_test(root: Path) -> None:
    """Numbers count inside each class: 1.nii.gz is there four times."""
    seen: dict[str, int] = {}
    for i in range(N):
        seen[LABELS[i]] = seen.get(LABELS[i], 0) + 1
        part = "test" if i % 4 == 0 else "train"
        volume(root / "DeepSite" / part / NAMES[LABELS[i]] / f"{seen[LABELS[i]]}.nii.gz", i)


def numbers_inside_classes_with_a_table(root: Path) -> None:
    seen: dict[str, int] = {}
    rows: list[list[object]] = []
    for i in range(N):
        seen[LABELS[i]] = seen.get(LABELS[i], 0) + 1
        volume(root / NAMES[LABELS[i]] / f"{seen[LABELS[i]]:03d}.nii.gz", i)
        rows.append([seen[LABELS[i]], LABELS[i], AGES[i], SEXES[i]])
    table(root / "info.csv", ["No.", "label", "age", "sex"], rows)


def bids(root: Path) -> None:
    for i in range(N):
        anat = root / f"sub-{i + 1:02d}" / "anat"
        volume(anat / f"sub-{i + 1:02d}_ce-gadolinium_T1w.nii.gz", i)
        other(anat / f"sub-{i + 1:02d}_T1w.nii.gz", i)
        other(anat / f"sub-{i + 1:02d}_T2w.nii.gz", i)
        (anat / f"sub-{i + 1:02d}_ce-gadolinium_T1w.json").write_text('{"EchoTime": 0.003}')
        derived = root / "derivatives" / "roi-refined" / f"sub-{i + 1:02d}" / "anat"
        mask(derived / f"sub-{i + 1:02d}_ce-gadolinium_T1w.nii.gz", i)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    rows = [[f"sub-{i + 1:02d}", AGES[i], SEXES[i][0], LABELS[i]] for i in range(N)]
    table(root / "participants.tsv", ["participant_id", "age", "sex", "diagnosis"], rows)


def patient_folders_with_workbook(root: Path) -> None:
    """Chinese headers below a title, a column of names, demographics on a sheet of their own."""
    for i in range(N):
        folder = root / "data" / f"{i + 1:03d}"
        volume(folder / "T1CE.nii.gz", i)
        other(folder / "T2.nii.gz", i)
        other(folder / "FLAIR.nii.gz", i)
        mask(folder / "ROI.nii.gz", i)
    book = openpyxl.Workbook()
    first = book.active
    first.title = "病理"
    first.append(["深部肿瘤数据集"])
    first.append([])
    first.append(["编号", "姓名", "病理诊断", "分类"])
    for i in range(N):
        first.append([i + 1, "王小明", PATHOLOGIES[i], CHINESE[LABELS[i]]])
    second = book.create_sheet("基本信息")
    second.append(["编号", "年龄（岁）", "性别(1男2女)"])
    for i in range(N):
        second.append([i + 1, f"{AGES[i]}岁", 1 if SEXES[i] == "male" else 2])
    root.mkdir(parents=True, exist_ok=True)
    book.save(root / "clinical.xlsx")


class WindowsName(zipfile.ZipInfo):
    """A member whose name is written in GB 18030 and not marked as UTF-8."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("gb18030"), self.flag_bits & ~0x800


def chinese_zip(root: Path) -> None:
    """A zip that Windows in China wrote: names in GB 18030, marked as code page 437."""
    made = root.with_name("made")
    root.mkdir()
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for i in range(N):
            path = volume(made / f"{i}.nii", i)
            name = f"影像/{CHINESE[LABELS[i]]}/病例{i + 1:02d}_T1增强.nii"
            archive.writestr(WindowsName(name), path.read_bytes())
    shutil.rmtree(made)
    rows = [[f"病例{i + 1:02d}", AGES[i], "男" if SEXES[i] == "male" else "女"] for i in range(N)]
    table(root / "信息.csv", ["病例编号", "年龄", "性别"], rows, encoding="gb18030")


def parquet_shards(root: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Nifti(),
            "mask": datasets.Nifti(),
            "label": datasets.ClassLabel(names=list(NAMES.values())),
            "age": datasets.Value("int32"),
            "gender": datasets.Value("string"),
        }
    )
    made = root.with_name("made")
    for shard, members in enumerate((range(5), range(5, N))):
        rows = [
            {
                "image": {"bytes": volume(made / f"{i}.nii.gz", i).read_bytes(), "path": None},
                "mask": {"bytes": mask(made / f"{i}_m.nii.gz", i).read_bytes(), "path": None},
                "label": NAMES[LABELS[i]],
                "age": AGES[i],
                "gender": SEXES[i],
            }
            for i in members
        ]
        path = root / "data" / f"train-{shard:05d}-of-00002.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(path)
    shutil.rmtree(made)


def json_by_id(root: Path) -> None:
    for i in range(N):
        volume(root / "MRI" / f"ICT_{i + 1:04d}.nii.gz", i)
        mask(root / "prior" / f"ICT_{i + 1:04d}.nii.gz", i)
    cases = {
        str(i + 1): {"diagnosis": NAMES[LABELS[i]].upper(), "age": AGES[i], "sex": SEXES[i]}
        for i in range(N)
    }
    (root / "labels.json").write_text(json.dumps(cases))


def fold_folders_with_copies(root: Path) -> None:
    """Every volume lies in each fold, in the test part of one."""
    for i in range(N):
        for fold in range(1, 4):
            part = "test" if i % 3 == fold - 1 else "train"
            volume(root / f"fold{fold}" / part / NAMES[LABELS[i]] / f"{IDS[i]}.nii.gz", i)


def image_folder_metadata(root: Path) -> None:
    for part, members in {"train": range(6), "test": range(6, N)}.items():
        lines = []
        for i in members:
            volume(root / part / "t1c" / f"{IDS[i]}.nii.gz", i)
            mask(root / part / "seg" / f"{IDS[i]}.nii.gz", i)
            lines.append(
                {
                    "t1c_file_name": f"t1c/{IDS[i]}.nii.gz",
                    "seg_file_name": f"seg/{IDS[i]}.nii.gz",
                    "label": NAMES[LABELS[i]],
                    "age": AGES[i],
                    "sex": SEXES[i],
                }
            )
        (root / part / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def nnunet(root: Path) -> None:
    for i in range(N):
        volume(root / "imagesTr" / f"ICT_{i + 1:03d}_0000.nii.gz", i)
        mask(root / "labelsTr" / f"ICT_{i + 1:03d}.nii.gz", i)
    names = [f"ICT_{i + 1:03d}" for i in range(N)]
    splits = [
        {
            "train": [n for i, n in enumerate(names) if i % 3 != fold],
            "val": [n for i, n in enumerate(names) if i % 3 == fold],
        }
        for fold in range(3)
    ]
    (root / "splits_final.json").write_text(json.dumps(splits))
    (root / "dataset.json").write_text('{"channel_names": {"0": "T1ce"}, "labels": {"tumor": 1}}')
    rows = [[f"ICT_{i + 1:03d}", LABELS[i], AGES[i], SEXES[i]] for i in range(N)]
    table(root / "labels.csv", ["case_id", "class", "age", "sex"], rows)


def dicom_studies(root: Path) -> None:
    for i in range(N):
        write_series(root / IDS[i] / "T1CE", i)
        write_series(
            root / IDS[i] / "T2", 500 + i, SeriesDescription="t2_tse", ContrastBolusAgent=""
        )
    rows = [[IDS[i], LABELS[i], AGES[i], SEXES[i]] for i in range(N)]
    table(root / "labels.tsv", ["ID", "label", "age", "sex"], rows)


def codes_with_a_legend(root: Path) -> None:
    for i in range(N):
        volume(root / "images" / f"case{i + 1}.nii.gz", i)
    order = list(NAMES)
    rows = [[f"case{i + 1}", order.index(LABELS[i]), i % 3, AGES[i], SEXES[i]] for i in range(N)]
    table(root / "train.csv", ["id", "label", "fold", "age", "sex"], rows)
    legend = "".join(f"- {code}: {NAMES[name]}\n" for code, name in enumerate(order))
    (root / "README.md").write_text(f"# Data\n\n249 cases, 4 classes.\n\n{legend}")


def masks_without_a_name(root: Path) -> None:
    for i in range(N):
        volume(root / NAMES[LABELS[i]] / IDS[i] / "a.nii.gz", i)
        mask(root / NAMES[LABELS[i]] / IDS[i] / "b.nii.gz", i)


def tar_of_other_formats(root: Path) -> None:
    made = root.with_name("made")
    root.mkdir()
    for i in range(N):
        image = sitk.ReadImage(str(volume(made / f"{i}.nii.gz", i)))
        path = made / "vol" / f"{IDS[i]}{'.nrrd' if i % 2 else '.mha'}"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path))
    with tarfile.open(root / "volumes.tar.gz", "w:gz") as archive:
        archive.add(made / "vol", arcname="vol")
    shutil.rmtree(made)
    lines = ["patient;type;age;sex"]
    lines += [f"{IDS[i].lower()};{NAMES[LABELS[i]]};{AGES[i]};{SEXES[i]}" for i in range(N)]
    (root / "patients.csv").write_bytes("\n".join(lines).encode("utf-8-sig"))


def numbered_class_folders(root: Path) -> None:
    order = list(NAMES)
    for i in range(N):
        volume(root / "train" / str(order.index(LABELS[i])) / f"{IDS[i]}.nii.gz", i)
    legend = {str(code): NAMES[name] for code, name in enumerate(order)}
    (root / "label_map.json").write_text(json.dumps(legend))


def raw_and_processed(root: Path) -> None:
    """The rare subtypes have no class of their own: the class column decides."""
    for i in range(N):
        volume(root / "raw" / f"{IDS[i]}_T1C.nii.gz", i)
        other(root / "preprocessed" / f"{IDS[i]}_T1C_brain_MNI.nii.gz", i)
        mask(root / "ROI_coarse" / f"{IDS[i]}.nii.gz", i)
        mask(root / "ROI_refined" / f"{IDS[i]}.nii.gz", i)
    rows = [[IDS[i], SUBTYPES[i] or "GER", NAMES[LABELS[i]], AGES[i], SEXES[i]] for i in range(N)]
    table(root / "meta.csv", ["subject", "pathology", "category", "age", "sex"], rows)
    predictions = [[IDS[i], "Glioma", NAMES[LABELS[N - 1 - i]]] for i in range(N)]
    table(root / "results" / "out.csv", ["subject", "predicted", "pred_label"], predictions)


def no_header(root: Path) -> None:
    for i in range(N):
        volume(root / f"{i + 1:03d}.nii.gz", i)
    rows = [[f"{i + 1:03d}.nii.gz", LABELS[i]] for i in range(N)]
    table(root / "list.txt", *(rows[0], rows[1:]))


def class_in_the_file_name(root: Path) -> None:
    for i in range(N):
        volume(root / "scans" / f"{NAMES[LABELS[i]]}_{i + 1:03d}_T1C.nii.gz", i)


def a_sheet_for_each_class(root: Path) -> None:
    book = openpyxl.Workbook()
    for name, title in NAMES.items():
        sheet = book.create_sheet(title)
        sheet.append(["编号", "年龄", "性别"])
        for i in range(N):
            if LABELS[i] == name:
                sheet.append([IDS[i], AGES[i], SEXES[i][0]])
    for i in range(N):
        volume(root / IDS[i] / "T1+C.nii.gz", i)
    book.save(root / "cases.xlsx")


def a_column_for_each_class(root: Path) -> None:
    """With pandas' row numbers in front, which are one less than the numbers of the images."""
    for i in range(N):
        volume(root / "images" / f"{i + 1}.nii.gz", i)
    rows = [
        [i, f"{i + 1}.nii.gz", *(int(LABELS[i] == name) for name in NAMES), AGES[i], SEXES[i]]
        for i in range(N)
    ]
    table(root / "y.csv", ["", "name", *NAMES.values(), "age", "sex"], rows)


def lists_for_each_fold(root: Path) -> None:
    for i in range(N):
        volume(root / "T1CE" / f"{IDS[i]}.nii.gz", i)
        other(root / "T2" / f"{IDS[i]}.nii.gz", i)
    for fold in range(3):
        for part in ("train", "val"):
            members = [i for i in range(N) if (i % 3 == fold) == (part == "val")]
            rows = [[f"T1CE/{IDS[i]}.nii.gz", LABELS[i], AGES[i], SEXES[i]] for i in members]
            name = f"{part}_fold{fold + 1}.csv"
            table(root / "splits" / name, ["image_path", "label", "age", "sex"], rows)


LAYOUTS: tuple[Write, ...] = (
    *(flat_with_csv, class_folders_with_train_and_test, numbers_inside_classes_with_a_table, bids),
    *(patient_folders_with_workbook, chinese_zip, parquet_shards, json_by_id),
    *(fold_folders_with_copies, image_folder_metadata, nnunet, codes_with_a_legend),
    *(tar_of_other_formats, numbered_class_folders, raw_and_processed),
    *(no_header, class_in_the_file_name, a_sheet_for_each_class, a_column_for_each_class),
    lists_for_each_fold,
)
ANSWERS: dict[Write, dict[str, str]] = {
    patient_folders_with_workbook: {'"1"': "male", '"2"': "female"},
    codes_with_a_legend: {f'"{code}"': name for code, name in enumerate(NAMES)},
    numbered_class_folders: {f'"{code}"': name for code, name in enumerate(NAMES)},
}
"""Layouts whose codes a person reads in a header or a note: the lines of the mapping that he completes."""
NO_AGES = (
    *(class_folders_with_train_and_test, fold_folders_with_copies),
    *(numbered_class_folders, no_header, class_in_the_file_name),
)
OWN_FOLDS = (fold_folders_with_copies, nnunet, codes_with_a_legend, lists_for_each_fold)


def read(root: Path, given: ClinicalMapping | None = None) -> Proposal:
    unpacked = root.with_name("unpacked")
    return propose(root, unpacked, given or ClinicalMapping(), 3, "source")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_the_same_patients_come_out(layout: Write, tmp_path: Path) -> None:
    root = tmp_path / "source"
    layout(root)
    answers = ANSWERS.get(layout, {})
    proposal = read(root)
    assert len(proposal.questions) == len(answers), proposal.summary_text()
    proposal = answered(root, tmp_path, answers) if answers else proposal
    shown = proposal.summary_text()
    assert not proposal.questions, shown
    patients = [patient_of(row.image) for row in proposal.rows]
    assert sorted(patients) == list(range(N)), shown
    for patient, row in zip(patients, proposal.rows, strict=True):
        assert row.label == LABELS[patient], shown
        if layout not in NO_AGES:
            assert (row.age, row.sex) == (AGES[patient], SEXES[patient]), shown
    if layout in OWN_FOLDS:
        assert proposal.folds is not None, shown
        found = {
            p: proposal.folds[r.patient_id] for p, r in zip(patients, proposal.rows, strict=True)
        }
        assert found == {patient: patient % 3 for patient in range(N)}, shown
    else:
        assert proposal.folds is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_the_proposed_mapping_says_the_same(layout: Write, tmp_path: Path) -> None:
    root = tmp_path / "source"
    layout(root)
    first = answered(root, tmp_path, ANSWERS.get(layout, {}))
    (tmp_path / "m.yaml").write_text(first.mapping_text(), encoding="utf-8")
    again = read(root, read_mapping(tmp_path / "m.yaml"))
    assert again.rows == first.rows
    assert again.folds == first.folds
    assert not again.questions


def test_dicom_studies(tmp_path: Path) -> None:
    root = tmp_path / "source"
    dicom_studies(root)
    proposal = read(root)
    assert not proposal.questions, proposal.summary_text()
    found = {row.patient_id: (row.image.name, row.label, row.age) for row in proposal.rows}
    assert found == {IDS[i]: ("T1CE", LABELS[i], AGES[i]) for i in range(N)}


def test_subtypes_are_those_of_table_1(tmp_path: Path) -> None:
    root = tmp_path / "source"
    patient_folders_with_workbook(root)
    found = {patient_of(row.image): row.subtype for row in read(root).rows}
    assert found == dict(enumerate(SUBTYPES))


# Layouts that leave something open ------------------------------------------------------------------------


def with_table(root: Path, header: list[str], columns: list[list[object]]) -> None:
    for i in range(N):
        volume(root / "images" / f"{IDS[i]}_t1ce.nii.gz", i)
    rows = [[IDS[i], *(column[i] for column in columns)] for i in range(N)]
    table(root / "labels.csv", ["id", *header], rows)


def asked(root: Path) -> dict[str, str]:
    return {question.place: question.text for question in read(root).questions}


def answered(root: Path, tmp_path: Path, answers: dict[str, str]) -> Proposal:
    """Edit the proposed mapping as a person would: each ``?`` in turn, by its place."""
    text = read(root).mapping_text()
    lines = text.splitlines()
    for key, answer in answers.items():
        keys = [line.partition(":")[0] for line in lines]
        place = next(i for i, k in enumerate(keys) if key in k and not k.startswith("#"))
        if '"?"' not in lines[place]:
            place += 1
        assert '"?"' in lines[place], text
        lines[place] = lines[place].replace('"?"', answer, 1)
    (tmp_path / "m.yaml").write_text("\n".join(lines), encoding="utf-8")
    return read(root, read_mapping(tmp_path / "m.yaml"))


def labels_by_patient(proposal: Proposal) -> dict[int, str]:
    return {patient_of(row.image): row.label for row in proposal.rows}


def test_a_subtype_whose_class_is_stated_nowhere_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "source"
    words = [subtype or "Germinoma" for subtype in SUBTYPES]
    with_table(root, ["pathology"], [words])
    assert asked(root).keys() == {"classes.EPN", "classes.MB"}
    done = answered(root, tmp_path, {"EPN": "rare", "MB": "leave-out"})
    assert not done.questions
    assert labels_by_patient(done) == {i: LABELS[i] for i in range(N - 1)}


def test_numbers_without_names_are_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "source"
    order = list(NAMES)
    with_table(root, ["label"], [[order.index(label) for label in LABELS]])
    assert asked(root).keys() == {f"classes.{code}" for code in range(4)}
    done = answered(root, tmp_path, {f'"{code}"': name for code, name in enumerate(order)})
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_numbers_that_contradict_the_subtypes_are_asked_for(tmp_path: Path) -> None:
    """The numbers group an astrocytoma with the rare ones: the subtype alone is not to be believed."""
    root = tmp_path / "source"
    codes = [0, 3, 0, 1, 1, 2, 2, 3, 3]
    words = ["GBM", "AST", "ODG", "DLBCL", "DLBCL", "germinoma", "germinoma", "AST", "GBM"]
    with_table(root, ["label", "pathology"], [codes, words])
    assert asked(root).keys() == {f"classes.{code}" for code in range(4)}


def test_two_label_columns_that_differ_are_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "source"
    first = list(LABELS)
    second = ["rare", *LABELS[1:]]
    with_table(root, ["diagnosis", "final"], [first, second])
    assert asked(root).keys() == {"tables[0].columns.label"}
    done = answered(root, tmp_path, {"label": '"final"'})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(second))


def test_two_label_columns_that_agree_are_asked_about_too(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["diagnosis", "分类"], [list(LABELS), [CHINESE[name] for name in LABELS]])
    assert asked(root).keys() == {"tables[0].columns.label"}
    done = answered(root, tmp_path, {"label": '"分类"'})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_two_volumes_of_a_patient_are_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / NAMES[LABELS[i]] / IDS[i] / "early_t1ce.nii.gz", i)
        other(root / NAMES[LABELS[i]] / IDS[i] / "late_t1ce.nii.gz", i)
    (question,) = read(root).questions
    assert question.place == "images"
    assert question.choices == ("*/*/early_t1ce.nii.gz", "*/*/late_t1ce.nii.gz")
    done = answered(root, tmp_path, {"images": f'"{question.choices[0]}"'})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_rows_without_image_and_images_without_row(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["label"], [list(LABELS)])
    (root / "images" / "P002_t1ce.nii.gz").rename(root / "images" / "X77_t1ce.nii.gz")
    assert asked(root).keys() == {"rows_without_image", "images_without_row"}
    answers = {"rows_without_image": "leave-out", "images_without_row": "leave-out"}
    done = answered(root, tmp_path, answers)
    assert not done.questions
    assert labels_by_patient(done) == {i: LABELS[i] for i in range(N) if i != 1}


def test_ids_that_fit_nothing_need_a_pattern(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / f"scan-{7 * i + 40}-of-{i + 1}x{i % 2}.nii.gz", i)
    table(root / "t.csv", ["id", "label"], [["ABCDEFGHI"[i] * 3, LABELS[i]] for i in range(N)])
    assert asked(root).keys() == {"id_pattern"}
    table(root / "t.csv", ["id", "label"], [[i + 1, LABELS[i]] for i in range(N)])
    done = read(root, ClinicalMapping(id_pattern=r"of-(\d+)x"))
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_an_id_column_under_an_unknown_header_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / f"{IDS[i]}.nii.gz", i)
    rows = [[IDS[i], i % 2, LABELS[i]] for i in range(N)]
    table(root / "t.csv", ["chart", "site", "label"], rows)
    (question,) = read(root).questions
    assert (question.place, question.choices) == ("tables[0].columns.id", ("chart", "site"))
    done = answered(root, tmp_path, {" id": '"chart"'})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_running_numbers_are_no_ids_where_they_do_not_fit_all(tmp_path: Path) -> None:
    """Row numbers from 0 beside images from 1: eight of nine would be found, all of them wrong."""
    root = tmp_path / "source"
    for i in range(N):
        volume(root / f"{i + 1}.nii.gz", i)
    for header in ("", "index", "Unnamed: 0", "序号"):
        table(root / "t.csv", [header, "label"], [[i, LABELS[i]] for i in range(N)])
        proposal = read(root)
        assert not proposal.rows, header
        assert proposal.questions, header


def test_rows_of_two_patients_that_name_one_volume(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / f"{IDS[i]}.nii.gz", i)
    rows = [[f"H{i}", f"{IDS[max(i, 1)]}.nii.gz", LABELS[i]] for i in range(N)]
    table(root / "t.csv", ["id", "file", "label"], rows)
    proposal = read(root, ClinicalMapping(images_without_row="leave-out"))
    assert (
        "1 patients: their volume is named by rows of several patients: left out" in proposal.aside
    )
    assert labels_by_patient(proposal) == {i: LABELS[i] for i in range(2, N)}


def test_folders_that_may_be_patients_are_asked_about(tmp_path: Path) -> None:
    """Two scans of a patient, each of a name of its own, must not be two patients."""
    root = tmp_path / "source"
    for i in range(N):
        volume(root / NAMES[LABELS[i]] / IDS[i] / f"scan{100 + i}.nii.gz", i)
    other(root / NAMES[LABELS[0]] / IDS[0] / "scan200.nii.gz", 0)
    (question,) = read(root).questions
    assert question.place == "id_pattern"
    by_folder = question.choices[1]
    assert len(read(root, ClinicalMapping(id_pattern=question.choices[0])).rows) == N + 1
    done = read(root, ClinicalMapping(id_pattern=by_folder))
    (question,) = done.questions
    names = tuple(f"Glioma/P001/scan{number}.nii.gz" for number in (100, 200))
    assert (question.place, question.choices) == ("exclude", names)
    given = ClinicalMapping(id_pattern=by_folder, exclude=[names[1]])
    assert labels_by_patient(read(root, given)) == dict(enumerate(LABELS))


def test_an_unknown_class_folder_is_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "source"
    folder = NAMES | {"rare": "GCT"}
    for i in range(N):
        volume(root / "train" / folder[LABELS[i]] / f"{IDS[i]}.nii.gz", i)
    assert asked(root).keys() == {"classes.GCT"}
    done = answered(root, tmp_path, {"GCT": "rare"})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_tables_and_folders_that_differ(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / NAMES[LABELS[i]] / f"{IDS[i]}.nii.gz", i)
    table(root / "t.csv", ["id", "label"], [[IDS[i], LABELS[-1 - i]] for i in range(N)])
    assert asked(root).keys() == {"labels_from"}
    done = answered(root, tmp_path, {"labels_from": "folders"})
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["label", "Sex of the patient"], [list(LABELS), list(SEXES)])
    proposal = read(root)
    assert "unread   its columns Sex of the patient\n" in proposal.summary_text()
    (tmp_path / "m.yaml").write_text(
        proposal.mapping_text().replace("sex: null", "sex: Sex of the patient"), encoding="utf-8"
    )
    rows = read(root, read_mapping(tmp_path / "m.yaml")).rows
    assert {patient_of(row.image): row.sex for row in rows} == dict(enumerate(SEXES))


def test_sexes_in_numbers(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["label", "sex"], [list(LABELS), [int(sex == "male") for sex in SEXES]])
    assert asked(root).keys() == {"sexes.0", "sexes.1"}
    done = answered(root, tmp_path, {'"0"': "female", '"1"': "male"})
    assert {patient_of(row.image): row.sex for row in done.rows} == dict(enumerate(SEXES))


def test_folds_that_differ_and_folds_that_split_patients(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["label", "fold"], [list(LABELS), [i % 3 for i in range(N)]])
    for fold in range(3):
        tested = "\n".join(IDS[i] for i in range(N) if i // 3 == fold)
        (root / f"fold{fold}_test.txt").write_text(tested)
        (root / f"fold{fold}_train.txt").write_text("\n".join(IDS))
    assert asked(root).keys() == {"folds"}
    done = answered(root, tmp_path, {"folds": '"fold*_test.txt"'})
    assert done.folds == {IDS[i]: i // 3 for i in range(N)}
    (root / "labels.csv").unlink()
    table(root / "labels.csv", ["id", "label"], [[IDS[i], LABELS[i]] for i in range(N)])
    (root / "fold2_test.txt").write_text("\n".join(IDS))
    assert "more than one fold" in asked(root)["folds"]
    assert read(root, ClinicalMapping(folds="rule")).folds is None


def test_damaged_tables_are_left_aside(tmp_path: Path) -> None:
    root = tmp_path / "source"
    flat_with_csv(root)
    for name in ("a.xlsx", "b.json", "c.jsonl", "d.csv"):
        (root / name).write_bytes(b"PK\x03\x04{[\0\xff\xfe")
    zip_of(root / "e.xlsx", {"[Content_Types].xml": b"<a", "xl/workbook.xml": b"<b"})
    openpyxl.Workbook().save(root / "empty.xlsx")
    proposal = read(root)
    assert len(proposal.rows) == N
    told = "\n".join(proposal.aside)
    assert all(f"{name}: cannot be read" in told for name in ("a.xlsx", "b.json", "e.xlsx"))


def test_a_class_outweighs_the_usual_class_of_a_subtype(tmp_path: Path) -> None:
    root = tmp_path / "source"
    subtypes = ["AST" if label == "rare" else "" for label in LABELS]
    with_table(root, ["class", "pathology"], [list(LABELS), subtypes])
    proposal = read(root)
    assert not proposal.questions
    assert labels_by_patient(proposal) == dict(enumerate(LABELS))
    assert any(line.startswith("2 patients: their class is not") for line in proposal.aside)


def test_columns_that_name_people_are_not_read_to_join(tmp_path: Path) -> None:
    """The files are named after the patients, and only the column of names would say which is which."""
    root = tmp_path / "source"
    people = [
        "zhangwei",
        "lixiu",
        "wangming",
        "zhaomin",
        "chenjh",
        "sunli",
        "zhoujie",
        "wuyu",
        "xufei",
    ]
    for i in range(N):
        volume(root / f"{people[i]}.nii.gz", i)
    table(root / "t.csv", ["姓名", "label"], [[people[i], LABELS[i]] for i in range(N)])
    proposal = read(root)
    assert proposal.questions
    assert not proposal.rows
    told = [line for line in proposal.summary_text().splitlines() if "image" not in line]
    assert not any(name in line for name in people for line in told)


def test_masks_without_a_name_are_told_by_what_they_hold(tmp_path: Path) -> None:
    root = tmp_path / "source"
    masks_without_a_name(root)
    (question,) = read(root).questions
    assert (question.place, question.choices) == ("images", ("*/*/a.nii.gz",))
    assert "masks by what they hold: */*/b.nii.gz" in question.text
    done = answered(root, tmp_path, {"images": '"*/*/a.nii.gz"'})
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_images_that_are_all_named_as_something_else_are_taken(tmp_path: Path) -> None:
    for i in range(N):
        volume(tmp_path / "source" / NAMES[LABELS[i]] / f"{IDS[i]}_flair.nii.gz", i)
    assert labels_by_patient(read(tmp_path / "source")) == dict(enumerate(LABELS))


def test_a_table_names_an_image_of_any_kind(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        other(root / f"{IDS[i]}.nii.gz", i)
        volume(root / f"{IDS[i]}_flair.nii.gz", i)
    rows = [[f"{IDS[i]}_flair.nii.gz", LABELS[i]] for i in range(N)]
    table(root / "t.csv", ["file", "label"], rows)
    proposal = read(root)
    assert not proposal.questions
    assert labels_by_patient(proposal) == dict(enumerate(LABELS))


def test_nothing_that_tells_classes(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for i in range(N):
        volume(root / f"{IDS[i]}.nii.gz", i)
    assert asked(root).keys() == {"tables"}


def test_a_repository_of_pointers_or_without_volumes(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    (root / "README.md").write_text("soon")
    with pytest.raises(InputError, match="no volume"):
        read(root)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n"
    (root / "a.nii.gz").write_text(pointer)
    with pytest.raises(InputError, match="Git LFS pointers"):
        read(root)


# Archives that nobody should open -------------------------------------------------------------------------


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil.nii", "/etc/evil.nii", "a/../../evil.nii", "..\\evil.nii", "C:\\evil.nii", "a\n.nii"],
)
def test_paths_that_leave_the_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "source"
    zip_of(root / "x.zip", {"good.nii": b"1", name: b"2"})
    with pytest.raises(InputError, match="outside its own folder"):
        read(root)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"x.zip"}


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    volume(tmp_path / "elsewhere" / "P1_t1ce.nii.gz", 1)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "source")
    found = take_inventory(tmp_path / "source", tmp_path / "unpacked")
    assert [image.name for image in found.images] == ["images/P1_t1ce.nii.gz"]


def test_links_in_a_tar_are_not_made(tmp_path: Path) -> None:
    root = tmp_path / "source"
    flat_with_csv(root)
    secret = tmp_path / "secret.nii"
    secret.write_bytes(b"secret")
    with tarfile.open(root / "x.tar", "w") as archive:
        for name, kind in {"a.nii": tarfile.SYMTYPE, "b.nii": tarfile.LNKTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
        fifo = tarfile.TarInfo("c.nii")
        fifo.type = tarfile.FIFOTYPE
        archive.addfile(fifo)
    proposal = read(root)
    assert len(proposal.rows) == N
    assert not list((tmp_path / "unpacked").rglob("*.nii"))


def test_bombs_are_stopped_while_they_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_FILE", 10_000_000)
    monkeypatch.setattr(archives, "MAX_TOTAL", 15_000_000)
    bombs = {
        "one": {"a.nii": bytes(20_000_000)},
        "many": {f"{i}.nii": bytes(9_000_000) for i in range(2)},
    }
    for name, members in bombs.items():
        path = zip_of(tmp_path / name / "x.zip", members)
        with pytest.raises(InputError, match="too large"):
            read(path.parent)
    # A header that lies: it says ten bytes and holds twenty million.
    path = zip_of(tmp_path / "lie" / "x.zip", bombs["one"])
    size = (20_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"too large|damaged"):
        read(path.parent)
    sizes = [p.stat().st_size for p in (tmp_path / "unpacked").rglob("*") if p.is_file()]
    assert sum(sizes) < 16_000_000


def test_archives_in_archives_end(tmp_path: Path) -> None:
    root = tmp_path / "source"
    flat_with_csv(root)
    inner = zip_of(tmp_path / "inner.zip", {"a.nii": b"0" * 400})
    for _ in range(6):
        inner = zip_of(inner.with_name("outer.zip"), {"inner.zip": inner.read_bytes()})
    shutil.copy(inner, root / "nested.zip")
    proposal = read(root)
    assert any("inside archives" in line for line in proposal.aside)


def test_volumes_in_parquet_keep_their_names(tmp_path: Path) -> None:
    """The table that tells the classes lies beside it; a list of bytes in a row is nobody's text."""
    root = tmp_path / "source"
    with_table(root, ["label"], [list(LABELS)])
    rows = [
        {"scan": {"bytes": path.read_bytes(), "path": f"x/{path.name}"}, "more": [b"\xff" * 9]}
        for path in sorted((root / "images").iterdir())
    ]
    shutil.rmtree(root / "images")
    pq.write_table(pa.Table.from_pylist(rows), root / "scans.parquet")
    proposal = read(root)
    assert not proposal.questions
    assert labels_by_patient(proposal) == dict(enumerate(LABELS))
    assert "xff" not in next((tmp_path / "unpacked").rglob("rows.jsonl")).read_text()
    (root / "scans.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="damaged parquet file"):
        read(root)


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_damaged_archives_are_told(cut: float, tmp_path: Path) -> None:
    root = tmp_path / "source"
    content = np.random.default_rng(0).bytes(50_000)
    path = zip_of(root / "x.zip", {"a.nii": content})
    path.write_bytes(path.read_bytes()[: int(50_000 * cut)])
    with pytest.raises(InputError, match="damaged archive"):
        read(root)
    with tarfile.open(root / "x.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a.nii")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    path.unlink()
    whole = (root / "x.tar.gz").read_bytes()
    (root / "x.tar.gz").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(InputError, match="damaged archive"):
        read(root)


# Words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "label"),
    [
        *((word, "glioma") for word in ("GLIOMA", "gliomas", "01_Glioma", "GBM")),
        *((word, "glioma") for word in ("DMG, H3 K27-altered", "胶质母细胞瘤（WHO 4级）")),
        *((word, "pcnsl") for word in ("Lymphoma", "PCNSL ", "DLBCL", "原发性中枢神经系统淋巴瘤")),
        *((word, "germinoma") for word in ("germinomas", "生殖细胞瘤")),
        *((word, "rare") for word in ("Others", "其他", "Rare tumours")),
    ],
)
def test_words_for_classes(word: str, label: str) -> None:
    known = read_class(word)
    assert known is not None
    assert known.label == label


@pytest.mark.parametrize(
    "word",
    [
        *("EPN", "medulloblastoma", "MNGT", "germ cell tumor", "生殖细胞肿瘤", "ganglioglioma"),
        *("non-glioma", "lymphoma vs glioma", "Germinoma?", "疑似胶质瘤", "pilocytic astrocytoma"),
        *("glioma/rare", "3", "", "P001", "metastasis", "glioblastma", "germinomma"),
        *("Glioma (EPN)", "rare_EPN", "Glioma (GBM)"),
    ],
)
def test_words_that_settle_no_class(word: str) -> None:
    known = read_class(word)
    assert known is None or not known.label


@pytest.mark.parametrize(
    ("header", "field"),
    [
        *((name, "id") for name in ("Patient ID", "编号", "case_id", "住院号")),
        *((name, "label") for name in ("label", "诊断", "Tumor type", "label(0=glioma)")),
        *((name, "subtype") for name in ("病理诊断", "Pathology", "sub-type")),
        *((name, "age") for name in ("年龄（岁）", "Age (years)", "age_at_scan")),
        *((name, None) for name in ("姓名", "Patient Name", "出生日期", "pred_label", "mask_path")),
    ],
)
def test_headers(header: str, field: str | None) -> None:
    assert read_header(header) == field


# Tables that spreadsheet programs made --------------------------------------------------------------------


def with_workbook(root: Path, header: list[str], columns: list[list[object]]) -> openpyxl.Workbook:
    """A workbook of ids, classes and more, and its images; save it as ``labels.xlsx``."""
    for i in range(N):
        volume(root / "images" / f"{IDS[i]}_t1ce.nii.gz", i)
    book = openpyxl.Workbook()
    book.active.append(["id", "label", *header])
    for i in range(N):
        book.active.append([IDS[i], LABELS[i], *(column[i] for column in columns)])
    return book


def read_saved(
    root: Path, book: openpyxl.Workbook, given: ClinicalMapping | None = None
) -> Proposal:
    book.save(root / "labels.xlsx")
    return read(root, given or ClinicalMapping())


def test_merged_classes_count_for_each_row(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, [], [])
    blocks = {label: [i + 2 for i in range(N) if LABELS[i] == label] for label in NAMES}
    for rows in blocks.values():
        if rows == list(range(rows[0], rows[-1] + 1)):
            book.active.merge_cells(f"B{rows[0]}:B{rows[-1]}")
    filled = sum(
        len(merged.bottom) - 1 + merged.size["rows"] - 1 for merged in book.active.merged_cells
    )
    done = read_saved(tmp_path, book)
    assert filled
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))
    assert "cells are given the value of their merged cell" in done.summary_text()


def test_classes_that_stand_once_a_block_can_be_filled_down(tmp_path: Path) -> None:
    blocks = ["" if i and LABELS[i] == LABELS[i - 1] else LABELS[i] for i in range(N)]
    assert "" in blocks
    with_table(tmp_path, ["label"], [blocks])
    (question,) = read(tmp_path).questions
    assert (question.place, question.choices) == ("images_without_row", ("fill-down", "leave-out"))
    done = read(tmp_path, ClinicalMapping(images_without_row="fill-down"))
    assert not done.questions
    assert labels_by_patient(done) == dict(enumerate(LABELS))


def test_hidden_rows_are_asked_about(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, ["age"], [list(AGES)])
    book.active.row_dimensions[3].height = 0.1
    book.active.column_dimensions["C"].hidden = True
    (question,) = read_saved(tmp_path, book).questions
    assert (question.place, question.choices) == ("hidden", ("read", "leave-out"))
    assert "column 'label': 1 cells are hidden (a row, a column or the sheet" in question.text
    assert "column 'age': 9 cells are hidden" in question.text
    done = read(tmp_path, ClinicalMapping(hidden="read"))
    assert [row.age for row in done.rows] == list(AGES)
    assert (
        "cells are hidden (a row, a column or the sheet, by hand or by a filter): read"
        in done.summary_text()
    )
    left = read(tmp_path, ClinicalMapping(hidden="leave-out", images_without_row="leave-out"))
    assert labels_by_patient(left) == {i: LABELS[i] for i in range(N) if i != 1}
    assert all(np.isnan(row.age) for row in left.rows)


def test_a_hidden_sheet_is_asked_about(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, [], [])
    book.create_sheet("shown")
    book.worksheets[0].sheet_state = "veryHidden"
    book.active = 1
    (question,) = read_saved(tmp_path, book).questions
    assert question.place == "hidden"
    assert "column 'label': 9 cells are hidden" in question.text


@pytest.mark.parametrize(
    ("header", "cell", "what"),
    [
        ("age", "=2026-1990", "1 cells are formulas whose values were never stored"),
        ("age", "#N/A", "1 cells are errors of a spreadsheet program"),
        ("sex", "#REF!", "1 cells are errors of a spreadsheet program"),
        ("subtype", "=A1", "1 cells are formulas"),
        ("fold", date(2026, 2, 1), "1 cells are dates"),
    ],
)
def test_cells_that_a_spreadsheet_program_spoiled(
    tmp_path: Path, header: str, cell: object, what: str
) -> None:
    known = {"age": 40, "sex": "F", "subtype": "GBM", "fold": 0}[header]
    book = with_workbook(tmp_path, [header], [[cell, *[known] * (N - 1)]])
    questions = read_saved(tmp_path, book).questions
    assert f"labels.xlsx [Sheet], column {header!r}: {what}" in questions[0].text
    assert questions[0].choices == ("as-read",)
    assert not read(tmp_path, ClinicalMapping(odd_cells="as-read")).questions


def test_classes_that_are_formulas_without_values_are_told(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, [], [])
    for row in range(2, N + 2):
        book.active[f"B{row}"] = '="glio"&"ma"'
    texts = " ".join(question.text for question in read_saved(tmp_path, book).questions)
    assert "column 'label': 9 cells are formulas whose values were never stored" in texts


def test_errors_of_a_spreadsheet_program_in_a_csv(tmp_path: Path) -> None:
    with_table(tmp_path, ["label", "age"], [list(LABELS), ["#DIV/0!", *AGES[1:]]])
    (question,) = read(tmp_path).questions
    assert "labels.csv, column 'age': 1 cells are errors" in question.text


def test_numbers_shown_with_leading_zeros_keep_them(tmp_path: Path) -> None:
    for i in range(N):
        volume(tmp_path / "images" / f"{i + 1:03d}.nii.gz", i)
    book = openpyxl.Workbook()
    book.active.append(["id", "label"])
    for i in range(N):
        book.active.append([i + 1, LABELS[i]])
        book.active.cell(i + 2, 1).number_format = "000"
    done = read_saved(tmp_path, book)
    assert {row.patient_id for row in done.rows} == {f"{i + 1:03d}" for i in range(N)}


def test_a_number_format_that_shows_a_unit_says_it(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, ["age"], [list(AGES)])
    for i, shown in enumerate(('0" months"', 'General\\ "mo"')):
        book.active.cell(i + 2, 3).number_format = shown
    done = read_saved(tmp_path, book)
    months = [round(age / 12, 2) for age in AGES[:2]]
    assert [row.age for row in done.rows] == [*months, *AGES[2:]]


def test_two_units_of_one_age_are_asked_about(tmp_path: Path) -> None:
    book = with_workbook(tmp_path, ["Age (months)", "unit"], [list(AGES), ["years"] * N])
    (question,) = read_saved(tmp_path, book).questions
    assert "9 ages are not understood" in question.text


# Ages and people ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (["Age (months)"], [[12 * age for age in AGES]]),
        (["Age_months"], [[12 * age for age in AGES]]),
        (["Age"], [[f"{age * 12} months" for age in AGES]]),
        (["Age"], [[f"{age:03d}Y" for age in AGES]]),
        (["Age unit", "Age"], [["months"] * N, [12 * age for age in AGES]]),
        (["Age", "Unit"], [[12 * age for age in AGES], ["mo"] * N]),
        (["Age at onset", "Age at MRI"], [[age - 1 for age in AGES], list(AGES)]),
        (["Age group", "Alter"], [[1 + i % 3 for i in range(N)], list(AGES)]),
        (["Age at death", "âge"], [[age + 9 for age in AGES], list(AGES)]),
    ],
)
def test_ages_are_those_at_the_scan_in_years(
    tmp_path: Path, header: list[str], columns: list[list[object]]
) -> None:
    with_table(tmp_path, ["label", *header], [list(LABELS), *columns])
    done = read(tmp_path)
    assert not done.questions
    assert {patient_of(row.image): row.age for row in done.rows} == dict(enumerate(AGES))


@pytest.mark.parametrize(
    ("header", "columns", "choices"),
    [
        (["Age at onset"], [list(AGES)], ("Age at onset", "null")),
        (["Age (m)"], [list(AGES)], ("Age (m)", "null")),
        (
            ["Age (years)", "Age (months)"],
            [list(AGES)] * 2,
            ("Age (years)", "Age (months)", "null"),
        ),
        (["Age"], [["30-39", *AGES[1:]]], ("Age", "null")),
    ],
)
def test_what_may_not_be_the_age_at_the_scan_is_asked(
    tmp_path: Path, header: list[str], columns: list[list[object]], choices: tuple[str, ...]
) -> None:
    root = tmp_path / "source"
    with_table(root, ["label", *header], [list(LABELS), *columns])
    (question,) = read(root).questions
    assert (question.place, question.choices) == ("tables[0].columns.age", choices)
    done = answered(root, tmp_path, {" age": f'"{choices[0]}"'})
    assert not done.questions
    assert sum(not np.isnan(row.age) for row in done.rows) >= N - 1


@pytest.mark.parametrize("header", ["Age group", "birth year", "Geburtsjahr", "YOB"])
def test_what_is_no_age_is_not_read(tmp_path: Path, header: str) -> None:
    with_table(tmp_path, ["label", header], [list(LABELS), [1 + i % 3 for i in range(N)]])
    done = read(tmp_path)
    assert not done.questions
    assert all(np.isnan(row.age) for row in done.rows)


def test_a_person_gives_the_unit(tmp_path: Path) -> None:
    root = tmp_path / "source"
    with_table(root, ["label", "Age (m)"], [list(LABELS), [12 * age for age in AGES]])
    columns = {"id": "id", "label": "label", "age": "Age (m)", "age_unit": "months"}
    done = read(root, ClinicalMapping(tables=[{"path": "labels.csv", "columns": columns}]))
    assert {patient_of(row.image): row.age for row in done.rows} == dict(enumerate(AGES))


def test_ids_that_may_be_one_patient_are_asked_about(tmp_path: Path) -> None:
    for i in range(N):
        volume(tmp_path / NAMES[LABELS[i]] / f"P{i + 1}.nii.gz", i)
    volume(tmp_path / NAMES["rare"] / "p01.nii.gz", 77)
    (question,) = read(tmp_path).questions
    assert question.place == "alike_ids"
    assert len(read(tmp_path, ClinicalMapping(alike_ids="separate")).rows) == N + 1
    assert len(read(tmp_path, ClinicalMapping(alike_ids="leave-out")).rows) == N - 1


def test_a_subtype_column_names_tumours_of_the_list(tmp_path: Path) -> None:
    written = ["Pilocytic astrocytoma", "Mr Hans Mueller", *["GBM"] * (N - 2)]
    with_table(tmp_path, ["label", "pathology"], [["glioma"] * (N - 1) + ["rare"], written])
    rows = {patient_of(row.image): row for row in read(tmp_path).rows}
    assert (rows[0].subtype, rows[0].unlisted) == ("pilocytic astrocytoma", "")
    assert (rows[1].subtype, rows[1].unlisted) == ("", "Mr Hans Mueller")
    assert rows[2].subtype == "GBM"
