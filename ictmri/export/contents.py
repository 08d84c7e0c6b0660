"""What of a cohort is exported: its cases without their voxels, its folds, and what vouches for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ictmri.classes import CLASSES, SEXES
from ictmri.cohort import ACQUISITION, Cohort, read_acquisition
from ictmri.folds import FoldTable
from ictmri.schema import COLUMNS, Config
from ictmri.verify.cohort import check_rows

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

    @property
    def subject(self) -> str:
        """The case's BIDS subject: ``ictmri-0001`` -> ``sub-ictmri0001``."""
        return "sub-" + "".join(character for character in self.case_id if character.isalnum())


@dataclass(frozen=True, slots=True)
class Contents:
    """A cohort as an export sees it.

    Attributes:
        cohort: the cohort.
        configs: the configs whose volumes are exported.
        folds: its fold table.
        cases: its cases in the order of the fold table.
        acquisition: by case id, the cells of ``acquisition.csv``; empty where the cohort has none.
        licence: the licence that the cohort's card names, in one line, or that it is unknown.
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

    @property
    def title(self) -> str:
        """The export's title; that of a phantom says SYNTHETIC."""
        name = self.cohort.name
        return f"SYNTHETIC phantom {name}" if self.synthetic else name

    def head(self, description: str) -> dict[str, Any]:
        """Return what the JSON heads of every layout say about the cohort."""
        return {
            "name": self.title,
            "description": description,
            "licence": self.licence,
            "release": self.cohort.manifest.version,
            "synthetic": self.synthetic,
            "folds_sha256": self.folds.sha256,
        }

    def has(self, config: Config, column: str) -> bool:
        """Return True if at least one case has this volume."""
        return any((config, column) in case.volumes for case in self.cases)


def volume_columns(config: Config) -> list[str]:
    """Return the names of a config's volume columns."""
    return [column.name for column in COLUMNS[config] if column.kind == "nifti"]


def read_contents(cohort: Cohort, configs: Sequence[Config]) -> Contents:
    """Read what an export needs besides the voxels, and check every file that it will read.

    Raises:
        InputError: a config is missing, files are damaged, or configs disagree with the fold table.
    """
    for config in dict.fromkeys(("default", *configs)):
        cohort.parquet_files(config)
        cohort.check(prefix=f"data/{config}/", quick=config not in configs)
        check_rows(cohort, config)
    folds = cohort.folds()
    return Contents(
        cohort=cohort,
        configs=tuple(configs),
        folds=folds,
        cases=_cases(cohort, configs, folds),
        acquisition=read_acquisition(cohort.root) if _text(cohort, ACQUISITION) else {},
        licence=_named_licence(_text(cohort, CARD)),
        licence_text=_text(cohort, LICENCE),
    )


def _cases(cohort: Cohort, configs: Sequence[Config], folds: FoldTable) -> tuple[Case, ...]:
    plain = [column.name for column in COLUMNS["default"] if column.kind != "nifti"]
    facts = {row["case_id"]: row for row in cohort.rows("default", plain)}
    volumes: dict[str, set[tuple[Config, str]]] = {case_id: set() for case_id in facts}
    matrices: dict[str, tuple[float, ...]] = {}
    for config in configs:
        columns = volume_columns(config)
        matrix = [column.name for column in COLUMNS[config] if column.kind == "matrix"]
        # The paths tell which volumes a case has; none of their bytes are read.
        for row in cohort.rows(config, ["case_id", *matrix, *(f"{c}.path" for c in columns)]):
            volumes[row["case_id"]] |= {(config, c) for c in columns if row.get(c) is not None}
            if row.get("scan_from_mni"):
                matrices[row["case_id"]] = tuple(row["scan_from_mni"])
    return tuple(
        Case(
            case_id=i,
            patient_id=facts[i]["patient_id"],
            label=facts[i]["label"],
            subtype=facts[i]["subtype"] or "",
            sex="" if facts[i]["sex"] is None else SEXES[facts[i]["sex"]],
            # Stored as float32: seven digits are what was entered.
            age=None if facts[i]["age"] is None else float(f"{facts[i]['age']:.7g}"),
            fold=facts[i]["fold"],
            volumes=frozenset(volumes[i]),
            scan_from_mni=matrices.get(i),
        )
        for i in folds.case_ids
    )


def _text(cohort: Cohort, name: str) -> str:
    # Only what the manifest vouches for leaves the folder.
    if name not in cohort.manifest.files:
        return ""
    cohort.check(prefix=name)
    return (cohort.root / name).read_text(encoding="utf-8")


def _named_licence(card: str) -> str:
    """Return the licence that a dataset card names, or that it is unknown."""
    from huggingface_hub import DatasetCard

    data = DatasetCard(card, ignore_metadata_errors=True).data
    name = str(data.get("license", "unknown"))
    if name == "unknown":
        return "unknown: ask the owner of the cohort"
    link = data.get("license_link")
    return str(data.get("license_name", name)) + (f" ({link})" if link else "")
