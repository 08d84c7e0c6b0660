"""MONAI: datalists in the form of the Medical Segmentation Decathlon, one a fold."""

from __future__ import annotations

from typing import Any

from ictmri.classes import CLASSES
from ictmri.export.contents import Case, Contents
from ictmri.export.layout import Layout, VolumeFile, licence_file, plain_volumes, readme
from ictmri.io.files import canonical_json


def layout(contents: Contents) -> Layout:
    """Return the layout: ``images/``, ``datalist_fold<k>.json`` for each fold, ``dataset.json``."""
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
