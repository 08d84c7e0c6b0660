"""The layouts without a subfolder a case: MONAI's datalists, and plain NIfTI with a table."""

from __future__ import annotations

from typing import Any

from ictmri.classes import CLASSES
from ictmri.export.contents import Case, Contents, volume_columns
from ictmri.export.layout import Layout, VolumeFile, licence_file, readme
from ictmri.io.csvfile import csv_text
from ictmri.io.files import canonical_json


def monai(contents: Contents) -> Layout:
    """Return MONAI's layout: ``images/``, ``datalist_fold<k>.json`` for each fold, ``dataset.json``.

    Datalists in the form of the Medical Segmentation Decathlon, one a fold.
    """
    volumes = plain_volumes(contents)
    cases = [_item(contents, volumes, case) for case in contents.cases]
    texts = {"dataset.json": canonical_json(_head(contents, len(cases), 0) | {"training": cases})}
    for fold in range(contents.folds.n_folds):
        train = [case for case in cases if case["fold"] != fold]
        test = [case for case in cases if case["fold"] == fold]
        head = _head(contents, len(train), len(test)) | {"fold": fold}
        texts[f"datalist_fold{fold}.json"] = canonical_json(
            head | {"training": train, "test": test}
        )
    texts |= {"README.md": readme(contents, "monai")}
    return Layout(volumes, texts | licence_file(contents))


def _head(contents: Contents, n_train: int, n_test: int) -> dict[str, Any]:
    about = f"T1-CE volumes of the cohort {contents.cohort.name}, one class label each"
    return contents.head(about) | {
        "modality": {"0": "T1CE"},
        "labels": {str(label): name for label, name in enumerate(CLASSES)},
        "numTraining": n_train,
        "numTest": n_test,
    }


def _item(contents: Contents, volumes: list[VolumeFile], case: Case) -> dict[str, Any]:
    # MONAI takes every text that names an existing path, the empty one included, for a file.
    item = {volume.column: volume.path_of(case) for volume in volumes if volume.is_of(case)} | {
        "label": case.label,
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "sex": case.sex or None,
        "age": case.age,
        "subtype": case.subtype or None,
        "fold": case.fold,
        "synthetic": contents.synthetic,
    }
    return item | ({"scan_from_mni": list(case.scan_from_mni)} if case.scan_from_mni else {})


def nifti(contents: Contents) -> Layout:
    """Return plain NIfTI: ``images/``, a folder for each further volume, ``cases.csv``."""
    volumes = plain_volumes(contents)
    with_matrix = any(case.scan_from_mni for case in contents.cases)
    header = [
        *("case_id", "patient_id"),
        *(volume.column for volume in volumes),
        *("label", "class", "subtype", "sex", "age", "fold", "synthetic"),
        *(["scan_from_mni"] if with_matrix else []),
    ]

    def cells(case: Case) -> list[object]:
        return [
            *(case.case_id, case.patient_id),
            *(volume.path_of(case) if volume.is_of(case) else "" for volume in volumes),
            *(case.label, case.class_name, case.subtype, case.sex, case.age, case.fold),
            str(contents.synthetic).lower(),
            *([" ".join(map(repr, case.scan_from_mni or ()))] if with_matrix else []),
        ]

    folders = [folder_of(volume.column) for volume in volumes]
    about = readme(contents, "nifti", folders=folders, last_label=len(CLASSES) - 1)
    texts = {"cases.csv": csv_text(header, map(cells, contents.cases)), "README.md": about}
    return Layout(volumes, texts | licence_file(contents))


def plain_volumes(contents: Contents) -> list[VolumeFile]:
    """Return the volumes of the plain layouts: ``<folder>/<case_id>.nii.gz``, one folder a column."""
    return [
        VolumeFile(config, column, f"{folder_of(column)}/{{case_id}}.nii.gz")
        for config in contents.configs
        for column in volume_columns(config)
        if contents.has(config, column)
    ]


def folder_of(column: str) -> str:
    """Return the folder of a volume column in the plain layouts."""
    return "images" if column == "image" else column
