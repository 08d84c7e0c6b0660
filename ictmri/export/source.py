"""What of a cohort is exported: its cases without their voxels, its folds, and what vouches for them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ictmri.classes import CLASSES, SEXES
from ictmri.schema import COLUMNS, Config
from ictmri.verify.cohort import check_rows

if TYPE_CHECKING:
    from ictmri.cohort import Cohort
    from ictmri.folds import FoldTable

ACQUISITION: Final = "acquisition.csv"
LICENCE: Final = "LICENSE"
CARD: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Case:
    """One case without its voxels.

    Attributes:
        case_id: case pseudonym.
        patient_id: patient pseudonym.
        label: integer label.
        subtype: histological subtype, empty where unknown.
        sex: ``female``, ``male``, or empty where unknown.
        age: age in years, None where unknown.
        fold: the fold in which the case is tested.
        volumes: (config, column) of the volumes that it has.
        scan_from_mni: 4x4 affine from MNI mm to scan mm, row by row; None without ``processed``.
    """

    case_id: str
    patient_id: str
    label: int
    subtype: str
    sex: str
    age: float | None
    fold: int
    volumes: frozenset[tuple[Config, str]]
    scan_from_mni: tuple[float, ...] | None = None

    @property
    def class_name(self) -> str:
        """The class's name."""
        return CLASSES[self.label]


@dataclass(frozen=True, slots=True)
class Source:
    """A cohort as an export sees it.

    Attributes:
        cohort: the cohort.
        configs: the configs whose volumes are exported.
        folds: its fold table.
        cases: its cases in the order of the fold table.
        acquisition: by case id, the cells of ``acquisition.csv``; empty where the cohort has none.
        licence: the licence that the cohort's card names, in one line; empty where unknown.
        licence_text: text of the cohort's ``LICENSE``, empty where it has none.
    """

    cohort: Cohort
    configs: tuple[Config, ...]
    folds: FoldTable
    cases: tuple[Case, ...]
    acquisition: dict[str, dict[str, str]]
    licence: str
    licence_text: str

    @property
    def synthetic(self) -> bool:
        """True for a phantom."""
        return self.cohort.synthetic

    def has(self, config: Config, column: str) -> bool:
        """Return True if at least one case has this volume."""
        return any((config, column) in case.volumes for case in self.cases)


def volume_columns(config: Config) -> list[str]:
    """Return the names of a config's volume columns."""
    return [column.name for column in COLUMNS[config] if column.kind == "nifti"]


def read_source(cohort: Cohort, configs: Sequence[Config]) -> Source:
    """Read what an export needs besides the voxels, and check every file that it will read.

    Raises:
        InputError: a config is missing, files are damaged, or configs disagree with the fold table.
    """
    for config in dict.fromkeys(("default", *configs)):
        cohort.parquet_files(config)
        cohort.check(prefix=f"data/{config}/", quick=config not in configs)
        check_rows(cohort, config)
    folds = cohort.folds()
    return Source(
        cohort=cohort,
        configs=tuple(configs),
        folds=folds,
        cases=_cases(cohort, configs, folds),
        acquisition=_acquisition(cohort),
        licence=_named_licence(_text(cohort, CARD)),
        licence_text=_text(cohort, LICENCE),
    )


def _cases(cohort: Cohort, configs: Sequence[Config], folds: FoldTable) -> tuple[Case, ...]:
    facts = {row["case_id"]: row for row in cohort.rows("default", _plain_columns("default"))}
    volumes: dict[str, set[tuple[Config, str]]] = {case_id: set() for case_id in facts}
    matrices: dict[str, tuple[float, ...]] = {}
    for config in configs:
        for row in cohort.rows(config, _columns_without_voxels(config)):
            known = volume_columns(config)
            volumes[row["case_id"]] |= {
                (config, name) for name in known if row.get(name) is not None
            }
            if row.get("scan_from_mni"):
                matrices[row["case_id"]] = tuple(row["scan_from_mni"])
    return tuple(
        _case(facts[row.case_id], frozenset(volumes[row.case_id]), matrices.get(row.case_id))
        for row in folds.rows
    )


def _case(
    row: dict[str, Any],
    volumes: frozenset[tuple[Config, str]],
    scan_from_mni: tuple[float, ...] | None,
) -> Case:
    return Case(
        case_id=row["case_id"],
        patient_id=row["patient_id"],
        label=row["label"],
        subtype=row["subtype"] or "",
        sex="" if row["sex"] is None else SEXES[row["sex"]],
        # Stored as float32: seven digits are what was entered.
        age=None if row["age"] is None else float(f"{row['age']:.7g}"),
        fold=row["fold"],
        volumes=volumes,
        scan_from_mni=scan_from_mni,
    )


def _plain_columns(config: Config) -> list[str]:
    return [column.name for column in COLUMNS[config] if column.kind != "nifti"]


def _columns_without_voxels(config: Config) -> list[str]:
    """Return columns that tell which volumes a case has and read none of their bytes."""
    matrix = [column.name for column in COLUMNS[config] if column.kind == "matrix"]
    return ["case_id", *matrix, *(f"{name}.path" for name in volume_columns(config))]


def _text(cohort: Cohort, name: str) -> str:
    # Only what the manifest vouches for leaves the folder.
    if name not in cohort.manifest.files:
        return ""
    cohort.check(prefix=name)
    return (cohort.root / name).read_text(encoding="utf-8")


def _acquisition(cohort: Cohort) -> dict[str, dict[str, str]]:
    lines = _text(cohort, ACQUISITION).splitlines()
    return {row.pop("case_id"): row for row in csv.DictReader(lines)}


def _named_licence(card: str) -> str:
    """Return the licence in the YAML header of a dataset card, empty where it is unknown."""
    import yaml

    parts = card.split("---\n", 2)
    head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else {}
    name = str(head.get("license", "unknown"))
    if name == "unknown":
        return ""
    link = head.get("license_link")
    return str(head.get("license_name", name)) + (f" ({link})" if link else "")
