"""MONAI: datalists in the form of the Medical Segmentation Decathlon, one a fold."""

from __future__ import annotations

from typing import Any

from ictmri.classes import CLASSES
from ictmri.export.layout import Layout, VolumeFile, plain_volumes
from ictmri.export.readme import documents, licence, readme, title
from ictmri.export.source import Case, Source
from ictmri.io.files import canonical_json

_ABOUT = """\
- `datalist_fold<k>.json`: `training` and `test` of fold k.
- `dataset.json`: all cases under `training`, each with its `fold`.
- `images/<case_id>.nii.gz`, and a folder for each further volume that a case names.

A case has `image` (and further volumes), `label` (integer), `case_id`, `patient_id`, `sex`, `age` (years),
`subtype`, `fold`, `synthetic`; what is unknown is null. Labels are integers, not label maps, so
`is_segmentation` is False, and PyTorch cannot collate null: keep the keys that you need.

```python
from monai.data import DataLoader, Dataset, load_decathlon_datalist
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SelectItemsd

cases = load_decathlon_datalist("datalist_fold0.json", is_segmentation=False, data_list_key="training")
keep = SelectItemsd(["image", "label", "case_id"])
dataset = Dataset(cases, Compose([keep, LoadImaged("image"), EnsureChannelFirstd("image")]))
batch = next(iter(DataLoader(dataset, batch_size=1)))
```"""


def layout(source: Source) -> Layout:
    """Return the layout: ``images/``, ``datalist_fold<k>.json`` for each fold, ``dataset.json``."""
    volumes = plain_volumes(source)
    cases = [_item(source, volumes, case) for case in source.cases]
    texts = {"dataset.json": canonical_json(_head(source, len(cases), 0) | {"training": cases})}
    for fold in range(source.folds.n_folds):
        train = [case for case in cases if case["fold"] != fold]
        test = [case for case in cases if case["fold"] == fold]
        head = _head(source, len(train), len(test)) | {"fold": fold}
        texts[f"datalist_fold{fold}.json"] = canonical_json(
            head | {"training": train, "test": test}
        )
    return Layout(volumes, texts | {"README.md": readme(source, _ABOUT), **documents(source)})


def _head(source: Source, n_train: int, n_test: int) -> dict[str, Any]:
    return {
        "name": title(source),
        "description": f"T1-CE volumes of the cohort {source.cohort.name}, one class label each",
        "licence": licence(source),
        "release": source.cohort.manifest.version,
        "synthetic": source.synthetic,
        "folds_sha256": source.folds.sha256,
        "modality": {"0": "T1CE"},
        "labels": {str(label): name for label, name in enumerate(CLASSES)},
        "numTraining": n_train,
        "numTest": n_test,
    }


def _item(source: Source, volumes: list[VolumeFile], case: Case) -> dict[str, Any]:
    paths = {
        volume.column: volume.path_of(case)
        for volume in volumes
        if (volume.config, volume.column) in case.volumes
    }
    # MONAI takes every text that names an existing path, the empty one included, for a file.
    item = paths | {
        "label": case.label,
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "sex": case.sex or None,
        "age": case.age,
        "subtype": case.subtype or None,
        "fold": case.fold,
        "synthetic": source.synthetic,
    }
    return item | ({"scan_from_mni": list(case.scan_from_mni)} if case.scan_from_mni else {})
