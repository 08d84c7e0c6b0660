"""The columns of every config: one table that the data files, the card and the checks are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ictmri.classes import CLASSES, SEXES

if TYPE_CHECKING:
    from datasets import Features

Kind = Literal["string", "nifti", "label", "sex", "int8", "float32", "bool", "matrix"]
Config = Literal["default", "processed", "truth"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a config."""

    name: str
    kind: Kind
    meaning: str


_CASE: Final = Column("case_id", "string", "case id; carries no label, order or site")
_LABEL: Final = Column(
    "label", "label", "class of the tumour; the card says how it was established"
)
_FOLD: Final = Column("fold", "int8", "the fold in which this case is tested")
_SYNTHETIC: Final = Column("synthetic", "bool", "true for a generated phantom, false for a patient")

COLUMNS: Final[dict[Config, tuple[Column, ...]]] = {
    "default": (
        _CASE,
        Column("patient_id", "string", "patient pseudonym; a patient is never in two folds"),
        Column("image", "nifti", "3D T1-CE volume in the scan's own space"),
        _LABEL,
        Column("subtype", "string", "histological subtype, empty where unknown"),
        Column("sex", "sex", "sex, null where unknown"),
        Column("age", "float32", "age in years, null where unknown"),
        _FOLD,
        _SYNTHETIC,
    ),
    "processed": (
        _CASE,
        Column("image", "nifti", "brain-extracted, intensity-standardised volume in MNI152 space"),
        Column("brain_mask", "nifti", "brain mask on the grid of image, uint8"),
        Column(
            "prior_coarse", "nifti", "Tumor-Localizer's map, 0..255 for 0..1; null before it ran"
        ),
        Column("prior_refined", "nifti", "Tumor-Localizer's mask, 0 or 1; null before it ran"),
        Column("scan_from_mni", "matrix", "4x4 affine from MNI mm to scan mm (RAS), row by row"),
        Column(
            "warp",
            "nifti",
            "displacement in MNI mm (RAS) to add before scan_from_mni; null where it is 0",
        ),
        _LABEL,
        _FOLD,
        _SYNTHETIC,
    ),
    "truth": (
        _CASE,
        Column("lesion_mask", "nifti", "1 solid core, 2 necrosis or cyst, 3 oedema; grid of image"),
        Column("parameters", "string", "what the generator drew for this case, as JSON"),
        _FOLD,
        _SYNTHETIC,
    ),
}
"""Columns by config. ``truth`` exists for phantoms only, and no method may read it."""

CONFIG_TITLES: Final[dict[Config, str]] = {
    "default": "the volumes in their own space",
    "processed": "brain-extracted volumes in MNI152 space, with the localizer's prior",
    "truth": "the phantom's true lesions: for tests of localisation, never for a method",
}


def features(config: Config) -> Features:
    """Return the Hugging Face features of a config."""
    import datasets

    kinds = {
        "string": datasets.Value("string"),
        "nifti": datasets.Nifti(),
        "label": datasets.ClassLabel(names=list(CLASSES)),
        "sex": datasets.ClassLabel(names=list(SEXES)),
        "int8": datasets.Value("int8"),
        "float32": datasets.Value("float32"),
        "bool": datasets.Value("bool"),
        "matrix": datasets.List(datasets.Value("float64"), length=16),
    }
    return datasets.Features({column.name: kinds[column.kind] for column in COLUMNS[config]})
