"""BIDS: a raw dataset of T1-CE volumes, with the other configs as derivative datasets in it.

How each volume, column and number of the acquisition is called there stands in ``bids.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.changes import FIRST_VERSION
from ictmri.classes import CLASS_TITLES, SEXES
from ictmri.errors import InputError
from ictmri.export.contents import Case, Contents
from ictmri.export.convert import probabilities
from ictmri.export.layout import Layout, VolumeFile, licence_file, readme
from ictmri.io.csvfile import csv_text
from ictmri.io.files import canonical_json
from ictmri.io.yamlfile import own_table
from ictmri.schema import CONFIG_TITLES, Config
from ictmri.version import __version__

BIDS_VERSION: Final = "1.10.0"
SCAN: Final = "ce-gadolinium_T1w"
TEMPLATE_URL: Final = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
"""Where the template comes from whose space is called MNI152NLin2009cSym."""
UNKNOWN: Final = "n/a"
_ANAT: Final = "{subject}/anat/{subject}_"
_NAMES: Final[dict[str, Any]] = own_table(Path(__file__).with_suffix(".yaml"))
PIPELINES: Final[dict[Config, str]] = {
    config: kind["pipeline"] for config, kind in _NAMES["derivatives"].items()
}
"""Config -> folder of its derivative dataset."""


@dataclass(frozen=True, slots=True)
class Derivative:
    """How a volume column is called in BIDS.

    Attributes:
        config: the config.
        column: its volume column.
        stem: the file name after ``sub-<label>_``, without the extension.
        sidecar: what it is.
        parts: what its labels are: number and name.
    """

    config: Config
    column: str
    stem: str
    sidecar: dict[str, Any]
    parts: list[list[Any]] = field(default_factory=list)

    def path(self, extension: str) -> str:
        """Return its path, with ``{subject}`` in it."""
        return f"derivatives/{PIPELINES[self.config]}/{_ANAT}{self.stem}{extension}"

    @property
    def volume(self) -> VolumeFile:
        """Where its volumes go."""
        # BIDS reads a probseg as 0..1; the levels stay, the header's slope makes them probabilities.
        is_map = self.stem.endswith("_probseg")
        convert: Callable[[bytes], bytes] | None = probabilities if is_map else None
        return VolumeFile(self.config, self.column, self.path(".nii.gz"), convert)


DERIVATIVES: Final = tuple(
    Derivative(config, column, **names)
    for config, kind in _NAMES["derivatives"].items()
    for column, names in kind["columns"].items()
)


def layout(contents: Contents) -> Layout:
    """Return the layout: raw dataset, ``derivatives/<pipeline>/`` for each further config.

    Raises:
        InputError: two case ids give the same BIDS label.
    """
    _require_distinct(contents)
    texts = dict(_raw_documents(contents))
    volumes = [VolumeFile("default", "image", f"{_ANAT}{SCAN}.nii.gz")]
    for config in contents.configs:
        if config in PIPELINES:
            kinds = [kind for kind in DERIVATIVES if kind.config == config]
            texts |= dict(_derivative_documents(contents, config, kinds))
            volumes += [kind.volume for kind in kinds if contents.has(config, kind.column)]
    return Layout(volumes, texts)


def _require_distinct(contents: Contents) -> None:
    first: dict[str, str] = {}
    problems = [
        f"cases {first[case.subject]!r} and {case.case_id!r} are both {case.subject}"
        for case in contents.cases
        if first.setdefault(case.subject, case.case_id) != case.case_id
    ]
    if problems:
        raise InputError(contents.cohort.root.as_posix(), problems, "export --to nifti")


def _scan_path(case: Case, extension: str) -> str:
    return f"{_ANAT}{SCAN}{extension}".format(subject=case.subject)


def _raw_documents(contents: Contents) -> Iterator[tuple[str, str]]:
    generator = contents.cohort.manifest.generator
    made = {
        "Name": str(generator.get("command", "unknown")),
        "Version": str(generator.get("ictmri", "unknown")),
        "Description": f"built the cohort {contents.cohort.name} {contents.cohort.manifest.version}",
    }
    description = _description(contents, contents.title, "raw", [made])
    participants = participants_sidecar(synthetic=contents.synthetic)
    yield "dataset_description.json", canonical_json(description)
    yield "README", _readme(contents)
    yield "CHANGES", _changes(contents)
    yield "participants.tsv", _participants(contents)
    yield "participants.json", canonical_json(participants)
    yield f"{SCAN}.json", canonical_json({"ContrastBolusIngredient": "GADOLINIUM"})
    yield ".bidsignore", "export.json\n"
    for case in contents.cases:
        sidecar = acquisition_sidecar(contents.acquisition.get(case.case_id, {}))
        if sidecar:
            yield _scan_path(case, ".json"), canonical_json(sidecar)
    yield from licence_file(contents).items()


def _readme(contents: Contents, derived: str = "") -> str:
    note = (
        "One thing differs: the header\nof the localizer's maps (`_probseg`) got the slope 1/255, so "
        "that they read as 0..1; their voxels are the\nstored ones."
    )
    return readme(
        contents,
        "bids",
        volumes=note if contents.has("processed", "prior_coarse") else "",
        derived=derived,
        bids_version=BIDS_VERSION,
        first=contents.cases[0],
        pipelines={config: PIPELINES[config] for config in contents.configs if config in PIPELINES},
    )


def _changes(contents: Contents) -> str:
    """Return the list of changes in the form of CPAN, without the dates that the cohort does not hold."""
    manifest = contents.cohort.manifest
    changes = [(change["version"], change["change"]) for change in reversed(manifest.history)]
    changes += [(FIRST_VERSION if changes else manifest.version, "first version of the data")]
    return "\n".join(f"{version}\n - {change}\n" for version, change in changes)


def _description(
    contents: Contents, name: str, kind: str, made: list[dict[str, Any]]
) -> dict[str, Any]:
    exported = {
        "Name": "ictmri export",
        "Version": __version__,
        "Description": "wrote the cohort as a BIDS dataset",
    }
    return {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": kind,
        "License": contents.licence,
        "GeneratedBy": [*made, exported],
    }


def _participants(contents: Contents) -> str:
    header = [
        *("participant_id", "case_id", "patient_id", "sex", "age"),
        *("diagnosis", "subtype", "fold", "synthetic"),
    ]
    rows = (
        [
            *(case.subject, case.case_id, case.patient_id),
            *(case.sex or UNKNOWN, UNKNOWN if case.age is None else case.age),
            *(case.class_name, case.subtype or UNKNOWN, case.fold),
            str(contents.synthetic).lower(),
        ]
        for case in contents.cases
    )
    return csv_text(header, rows, delimiter="\t")


def participants_sidecar(*, synthetic: bool) -> dict[str, Any]:
    """Return what the columns of ``participants.tsv`` mean."""
    whose = "SYNTHETIC, drawn by a program: " if synthetic else ""
    return {
        "case_id": {"Description": "case id in the cohort"},
        "patient_id": {"Description": "patient pseudonym; a patient is never in two folds"},
        "sex": {"Description": f"{whose}sex", "Levels": {sex: sex for sex in SEXES}},
        "age": {"Description": f"{whose}age", "Units": "year"},
        "diagnosis": {"Description": f"{whose}biopsy-verified class", "Levels": CLASS_TITLES},
        "subtype": {"Description": f"{whose}histological subtype"},
        "fold": {"Description": "the fold in which the subject is tested"},
        "synthetic": {
            "Description": "whether the subject is a generated phantom",
            "Levels": {"true": "a generated phantom, no patient", "false": "a patient"},
        },
    }


def _derivative_documents(
    contents: Contents, config: Config, kinds: list[Derivative]
) -> Iterator[tuple[str, str]]:
    root = f"derivatives/{PIPELINES[config]}"
    description = canonical_json(_derivative_description(contents, config))
    yield f"{root}/dataset_description.json", description
    yield f"{root}/README", _readme(contents, CONFIG_TITLES[config])
    for case in contents.cases:
        for kind in kinds:
            if (config, kind.column) in case.volumes:
                where = kind.path("{extension}")
                sidecar = canonical_json(_derivative_sidecar(kind, case))
                yield where.format(subject=case.subject, extension=".json"), sidecar
                if kind.parts:
                    parts = csv_text(("index", "name"), kind.parts, delimiter="\t")
                    yield where.format(subject=case.subject, extension=".tsv"), parts


def _derivative_sidecar(kind: Derivative, case: Case) -> dict[str, Any]:
    raw = f"bids:raw:{_scan_path(case, '.nii.gz')}"
    reference = TEMPLATE_URL if kind.config == "processed" else raw
    sidecar = kind.sidecar | {"Sources": [raw], "SpatialReference": reference}
    if kind.column == "image" and case.scan_from_mni:
        # 4x4 affine from MNI mm to scan mm (RAS+), row by row.
        rows = [list(case.scan_from_mni[start : start + 4]) for start in range(0, 16, 4)]
        sidecar["ScanFromMNI"] = rows
    return sidecar


def _derivative_description(contents: Contents, config: Config) -> dict[str, Any]:
    manifest = contents.cohort.manifest
    steps = manifest.steps.items() if config == "processed" else ()
    made = [_made_by(step, facts.get("settings", facts)) for step, facts in steps]
    name = f"{contents.title}: {CONFIG_TITLES[config]}"
    return _description(contents, name, "derivative", made) | {
        "DatasetLinks": {"raw": "../.."},
        "SourceDatasets": [{"URL": "../..", "Version": manifest.version}],
    }


def _made_by(step: str, settings: dict[str, Any]) -> dict[str, str]:
    shown = {
        key: value
        for key, value in settings.items()
        if key != "ictmri" and not isinstance(value, dict | list)
    }
    return {
        "Name": f"ictmri {step}",
        "Version": str(settings.get("ictmri", "unknown")),
        "Description": ", ".join(f"{key} {value}" for key, value in shown.items()),
    }


def acquisition_sidecar(cells: dict[str, str]) -> dict[str, Any]:
    """Return the sidecar for a case's cells of ``acquisition.csv``, times in seconds.

    Zeros are left out: scanners write them for what a sequence does not have, and BIDS forbids them.
    """
    sidecar: dict[str, Any] = {}
    for name, (key, parts) in _NAMES["acquisition"].items():
        number = _number(cells.get(name, ""))
        if number > 0:
            sidecar[key] = number if parts == 1 else float(f"{number / parts:.9g}")
    if "RepetitionTime" in sidecar:
        # One DICOM field, two meanings: longer than the inversion time it spans the whole preparation
        # block, shorter it is the interval between two excitations.
        repetition = sidecar.pop("RepetitionTime")
        prepared = repetition > sidecar.get("InversionTime", float("inf"))
        sidecar[f"RepetitionTime{'Preparation' if prepared else 'Excitation'}"] = repetition
    if cells.get("acquisition"):
        sidecar["MRAcquisitionType"] = cells["acquisition"]
    if vendor := cells.get("vendor"):
        sidecar["Manufacturer"] = vendor.upper() if len(vendor) == 2 else vendor.title()
    return dict(sorted(sidecar.items()))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
