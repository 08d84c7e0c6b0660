"""nnU-Net v2: a segmentation task, for cohorts that have lesion masks or the localizer's prior."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.export.contents import Contents
from ictmri.export.convert import label_map
from ictmri.export.layout import Layout, VolumeFile, licence_file, readme
from ictmri.io.files import canonical_json
from ictmri.schema import Config

DATASET_ID: Final = 500
TRUTH: Final = {"background": 0, "solid_core": 1, "necrosis_or_cyst": 2, "oedema": 3}
PRIOR: Final = {"background": 0, "localized": 1}
"""Names of the labels."""
VOLUMES: Final = {
    "truth": (
        VolumeFile("default", "image", "imagesTr/{case_id}_0000.nii.gz"),
        VolumeFile("truth", "lesion_mask", "labelsTr/{case_id}.nii.gz"),
    ),
    "processed": (
        VolumeFile("processed", "image", "imagesTr/{case_id}_0000.nii.gz"),
        VolumeFile("processed", "prior_coarse", "labelsTr/{case_id}.nii.gz", label_map),
    ),
}
"""Image and label map by the config that gives the labels; paths inside the dataset's folder."""


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


def layout(contents: Contents) -> Layout:
    """Return the layout: ``Dataset<id>_<Name>/`` with images, labels and folds.

    Raises:
        InputError: cases have no label map.
    """
    truth = "truth" in contents.configs
    folder = dataset_folder(contents.cohort.name)
    config, labels = ("truth", TRUTH) if truth else ("processed", PRIOR)
    volumes = [replace(v, path=f"{folder}/{v.path}") for v in VOLUMES[config]]
    if not truth:
        left_out = contents.cohort.manifest.left_out
        kept = tuple(case for case in contents.cases if case.case_id not in left_out)
        contents = replace(contents, cases=kept)
    without = sum(not volumes[1].is_of(case) for case in contents.cases)
    if without:
        raise _no_labels(contents.cohort.root.as_posix(), without)
    note = "" if truth else "The label maps were made from the stored priors by a threshold."
    dataset = contents.head(f"lesions on T1-CE volumes of the cohort {contents.cohort.name}") | {
        "channel_names": {"0": "T1CE"},
        "labels": labels,
        "numTraining": len(contents.cases),
        "file_ending": ".nii.gz",
    }
    about = readme(contents, "nnunet", volumes=note, folder=folder, id=DATASET_ID, truth=truth)
    texts = {
        f"{folder}/dataset.json": canonical_json(dataset),
        f"{folder}/splits_final.json": canonical_json(_splits(contents)),
        "README.md": about,
    }
    return Layout(volumes, texts | licence_file(contents))


def dataset_folder(name: str) -> str:
    """Return nnU-Net's folder name for a cohort: ``ictmri-phantom`` -> ``Dataset500_IctmriPhantom``."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    return f"Dataset{DATASET_ID}_" + "".join(word[0].upper() + word[1:] for word in words)


def _no_labels(root: str, n_without: int | None = None) -> InputError:
    count = "the cohort has" if n_without is None else f"{n_without} cases have"
    return InputError(
        root,
        [f"nnU-Net segments, and {count} no label maps (no lesion masks, no priors)"],
        f"make priors first (ictmri localize {root}), or export --to monai for classification",
    )


def _splits(contents: Contents) -> list[dict[str, list[str]]]:
    return [
        {
            "train": [case.case_id for case in contents.cases if case.fold != fold],
            "val": [case.case_id for case in contents.cases if case.fold == fold],
        }
        for fold in range(contents.folds.n_folds)
    ]
