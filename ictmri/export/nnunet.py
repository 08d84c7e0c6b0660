"""nnU-Net v2: a segmentation task, for cohorts that have lesion masks or the localizer's prior."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError
from ictmri.export.convert import label_map
from ictmri.export.layout import Layout, VolumeFile
from ictmri.export.readme import documents, licence, readme, title
from ictmri.export.source import Case, Source
from ictmri.io.files import canonical_json
from ictmri.schema import Config

if TYPE_CHECKING:
    from ictmri.cohort import Cohort

DATASET_ID: Final = 500
TRUTH_LABELS: Final = {"background": 0, "solid_core": 1, "necrosis_or_cyst": 2, "oedema": 3}
PRIOR_LABELS: Final = {"background": 0, "localized": 1}

_ABOUT = """\
`{folder}/` is an nnU-Net v2 raw dataset: `imagesTr/<case_id>_0000.nii.gz`, `labelsTr/<case_id>.nii.gz`,
`dataset.json`. {labels}

```sh
export nnUNet_raw=$PWD
nnUNetv2_plan_and_preprocess -d {id} --verify_dataset_integrity
cp {folder}/splits_final.json "$nnUNet_preprocessed/{folder}/"
nnUNetv2_train {id} 3d_fullres 0
```

`splits_final.json` holds the cohort's folds (newer versions copy it themselves). nnU-Net calls the held-out
cases `val` and picks `checkpoint_best` by them: report `checkpoint_final`. If the number {id} is taken,
rename the folder."""

_TRUTH_NOTE = "The labels are the phantom's true lesions."
_PRIOR_NOTE = """\
The labels are the localizer's output, not a reader's segmentation: 1 where
the coarse prior is at least one half. What is trained on them learns to repeat the localizer."""


def labelled_config(cohort: Cohort, config: Config | None) -> Config:
    """Return the config that gives the labels: the one that was asked for, or one that can.

    Raises:
        InputError: the cohort, or the config that was asked for, has neither lesion masks nor priors.
    """
    usable: tuple[Config, ...] = ("truth", "processed")
    for candidate in usable:
        if config in (None, candidate) and candidate in cohort.manifest.configs:
            return candidate
    raise _no_labels(cohort.root.as_posix())


def layout(source: Source) -> Layout:
    """Return the layout: ``Dataset<id>_<Name>/`` with images, labels and folds.

    Raises:
        InputError: cases have no label map.
    """
    images, labels = _volumes(source)
    if labels.config == "processed":
        left_out = source.cohort.manifest.left_out
        kept = tuple(case for case in source.cases if case.case_id not in left_out)
        source = replace(source, cases=kept)
    _require_labels(source, labels)
    truth = labels.config == "truth"
    folder = dataset_folder(source.cohort.name)
    about = _ABOUT.format(
        folder=folder, id=DATASET_ID, labels=_TRUTH_NOTE if truth else _PRIOR_NOTE
    )
    note = "" if truth else "The label maps were made from the stored priors by a threshold."
    dataset = _dataset(source, TRUTH_LABELS if truth else PRIOR_LABELS)
    return Layout(
        [images, labels],
        {
            f"{folder}/dataset.json": canonical_json(dataset),
            f"{folder}/splits_final.json": canonical_json(_splits(source)),
            "README.md": readme(source, about, volumes=note),
            **documents(source),
        },
    )


def dataset_folder(name: str) -> str:
    """Return nnU-Net's folder name for a cohort: ``ictmri-phantom`` -> ``Dataset500_IctmriPhantom``."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    return f"Dataset{DATASET_ID}_" + "".join(word[0].upper() + word[1:] for word in words)


def _volumes(source: Source) -> tuple[VolumeFile, VolumeFile]:
    folder = dataset_folder(source.cohort.name)

    def image_path(case: Case) -> str:
        return f"{folder}/imagesTr/{case.case_id}_0000.nii.gz"

    def label_path(case: Case) -> str:
        return f"{folder}/labelsTr/{case.case_id}.nii.gz"

    if "truth" in source.configs:
        return (
            VolumeFile("default", "image", image_path),
            VolumeFile("truth", "lesion_mask", label_path),
        )
    return (
        VolumeFile("processed", "image", image_path),
        VolumeFile("processed", "prior_coarse", label_path, convert=label_map),
    )


def _require_labels(source: Source, labels: VolumeFile) -> None:
    without = [
        case.case_id for case in source.cases if (labels.config, labels.column) not in case.volumes
    ]
    if without:
        raise _no_labels(source.cohort.root.as_posix(), len(without))


def _no_labels(root: str, n_without: int | None = None) -> InputError:
    count = "the cohort has" if n_without is None else f"{n_without} cases have"
    return InputError(
        root,
        [f"nnU-Net segments, and {count} no label maps (no lesion masks, no priors)"],
        f"make priors first (ictmri localize {root}), or export --to monai for classification",
    )


def _dataset(source: Source, labels: dict[str, int]) -> dict[str, Any]:
    return {
        "name": title(source),
        "description": f"lesions on T1-CE volumes of the cohort {source.cohort.name}",
        "licence": licence(source),
        "release": source.cohort.manifest.version,
        "synthetic": source.synthetic,
        "folds_sha256": source.folds.sha256,
        "channel_names": {"0": "T1CE"},
        "labels": labels,
        "numTraining": len(source.cases),
        "file_ending": ".nii.gz",
    }


def _splits(source: Source) -> list[dict[str, list[str]]]:
    return [
        {
            "train": [case.case_id for case in source.cases if case.fold != fold],
            "val": [case.case_id for case in source.cases if case.fold == fold],
        }
        for fold in range(source.folds.n_folds)
    ]
