"""BIDS: a raw dataset of T1-CE volumes, with the other configs as derivative datasets in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ictmri.changes import FIRST_VERSION
from ictmri.classes import CLASS_TITLES, SEXES
from ictmri.errors import InputError
from ictmri.export.bids_sidecars import acquisition_sidecar, derivative_sidecar
from ictmri.export.convert import probabilities
from ictmri.export.layout import Layout, VolumeFile
from ictmri.export.readme import documents, licence, readme, title
from ictmri.export.source import Case, Source
from ictmri.io.csvfile import csv_text
from ictmri.io.files import canonical_json
from ictmri.schema import CONFIG_TITLES, Config
from ictmri.version import __version__

BIDS_VERSION: Final = "1.10.0"
TEMPLATE: Final = "MNI152NLin2009cSym"
SCAN: Final = "ce-gadolinium_T1w"
UNKNOWN: Final = "n/a"

PIPELINES: Final[dict[Config, str]] = {
    "processed": "ictmri-processed",
    "truth": "phantom-truth",
}
"""Config -> folder of its derivative dataset."""

_LESION_PARTS: Final = ((1, "solid core"), (2, "necrosis or cyst"), (3, "oedema"))


@dataclass(frozen=True, slots=True)
class Derivative:
    """How a volume column is called in BIDS.

    Attributes:
        config: the config.
        column: its volume column.
        stem: the file name after ``sub-<label>_``, without the extension.
        convert: see :class:`ictmri.export.layout.VolumeFile`.
    """

    config: Config
    column: str
    stem: str
    convert: Callable[[bytes], bytes] | None = None


DERIVATIVES: Final = (
    Derivative("processed", "image", f"ce-gadolinium_space-{TEMPLATE}_desc-preproc_T1w"),
    Derivative("processed", "brain_mask", f"ce-gadolinium_space-{TEMPLATE}_desc-brain_mask"),
    # BIDS reads a probseg as 0..1; the levels stay, the header's slope makes them probabilities.
    Derivative(
        "processed",
        "prior_coarse",
        f"ce-gadolinium_space-{TEMPLATE}_label-lesion_desc-coarse_probseg",
        convert=probabilities,
    ),
    Derivative(
        "processed",
        "prior_refined",
        f"ce-gadolinium_space-{TEMPLATE}_label-lesion_desc-refined_mask",
    ),
    Derivative("truth", "lesion_mask", "ce-gadolinium_desc-lesion_dseg"),
)

_ABOUT: Final = """\
BIDS {version}. `participants.tsv` holds class (`diagnosis`), subtype, sex, age and fold of each subject,
and in `case_id` its name in the cohort: BIDS labels are alphanumeric, so `{case_id}` is `{subject}` here.
The scans are `sub-<label>/anat/sub-<label>_ce-gadolinium_T1w.nii.gz`. Dates, sessions and authors are not
stated because the cohort does not hold them.{derivatives}"""


def layout(source: Source) -> Layout:
    """Return the layout: raw dataset, ``derivatives/<pipeline>/`` for each further config.

    Raises:
        InputError: two case ids give the same BIDS label.
    """
    _require_distinct(source)
    texts = dict(_raw_documents(source))
    volumes = [VolumeFile("default", "image", lambda case: f"{_anat(case)}{SCAN}.nii.gz")]
    for config in source.configs:
        if config in PIPELINES:
            texts |= dict(_derivative_documents(source, config))
            volumes += _derivative_volumes(source, config)
    return Layout(volumes, texts)


def subject(case: Case) -> str:
    """Return a case's BIDS subject: ``ictmri-0001`` -> ``sub-ictmri0001``."""
    return "sub-" + "".join(character for character in case.case_id if character.isalnum())


def _require_distinct(source: Source) -> None:
    first: dict[str, str] = {}
    problems = [
        f"cases {first[subject(case)]!r} and {case.case_id!r} are both {subject(case)}"
        for case in source.cases
        if first.setdefault(subject(case), case.case_id) != case.case_id
    ]
    if problems:
        raise InputError(source.cohort.root.as_posix(), problems, "export --to nifti")


def _anat(case: Case) -> str:
    return f"{subject(case)}/anat/{subject(case)}_"


def _derivative_path(kind: Derivative, case: Case, extension: str) -> str:
    return f"derivatives/{PIPELINES[kind.config]}/{_anat(case)}{kind.stem}{extension}"


def _derivative_volumes(source: Source, config: Config) -> list[VolumeFile]:
    return [
        VolumeFile(config, kind.column, partial(_volume_path, kind), kind.convert)
        for kind in DERIVATIVES
        if kind.config == config and source.has(config, kind.column)
    ]


def _volume_path(kind: Derivative, case: Case) -> str:
    return _derivative_path(kind, case, ".nii.gz")


def _raw_documents(source: Source) -> Iterator[tuple[str, str]]:
    yield "dataset_description.json", canonical_json(_description(source))
    yield "README", readme(source, _about(source), volumes=_volumes_note(source))
    yield "CHANGES", _changes(source)
    yield "participants.tsv", _participants(source)
    yield "participants.json", canonical_json(_participants_sidecar(source))
    yield f"{SCAN}.json", canonical_json({"ContrastBolusIngredient": "GADOLINIUM"})
    yield ".bidsignore", "export.json\n"
    for case in source.cases:
        sidecar = acquisition_sidecar(source.acquisition.get(case.case_id, {}))
        if sidecar:
            yield f"{_anat(case)}{SCAN}.json", canonical_json(sidecar)
    yield from documents(source).items()


def _changes(source: Source) -> str:
    """Return the list of changes in the form of CPAN, without the dates that the cohort does not hold."""
    manifest = source.cohort.manifest
    changes = [(change["version"], change["change"]) for change in reversed(manifest.history)]
    changes += [(FIRST_VERSION if changes else manifest.version, "first version of the data")]
    return "\n".join(f"{version}\n - {change}\n" for version, change in changes)


def _about(source: Source) -> str:
    pipelines = [
        f"\n- `derivatives/{PIPELINES[config]}`: {CONFIG_TITLES[config]}."
        for config in source.configs
        if config in PIPELINES
    ]
    return _ABOUT.format(
        version=BIDS_VERSION,
        case_id=source.cases[0].case_id,
        subject=subject(source.cases[0]),
        derivatives="".join(["\n", *pipelines] if pipelines else []),
    )


def _volumes_note(source: Source) -> str:
    if not source.has("processed", "prior_coarse"):
        return ""
    return (
        "One thing differs: the header\nof the localizer's maps (`_probseg`) got the slope 1/255, so "
        "that they read as 0..1; their voxels are the\nstored ones."
    )


def _description(source: Source) -> dict[str, Any]:
    manifest = source.cohort.manifest
    made = {
        "Name": str(manifest.generator.get("command", "unknown")),
        "Version": str(manifest.generator.get("ictmri", "unknown")),
        "Description": f"built the cohort {manifest.name} {manifest.version}",
    }
    return {
        "Name": title(source),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": licence(source),
        "GeneratedBy": [made, _exported()],
    }


def _exported() -> dict[str, Any]:
    return {
        "Name": "ictmri export",
        "Version": __version__,
        "Description": "wrote the cohort as a BIDS dataset",
    }


def _participants(source: Source) -> str:
    header = [
        *("participant_id", "case_id", "patient_id", "sex", "age"),
        *("diagnosis", "subtype", "fold", "synthetic"),
    ]
    rows = (
        [
            *(subject(case), case.case_id, case.patient_id),
            *(case.sex or UNKNOWN, UNKNOWN if case.age is None else case.age),
            *(case.class_name, case.subtype or UNKNOWN, case.fold),
            str(source.synthetic).lower(),
        ]
        for case in source.cases
    )
    return csv_text(header, rows, delimiter="\t")


def _participants_sidecar(source: Source) -> dict[str, Any]:
    whose = "SYNTHETIC, drawn by a program: " if source.synthetic else ""
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


def _derivative_documents(source: Source, config: Config) -> Iterator[tuple[str, str]]:
    root = f"derivatives/{PIPELINES[config]}"
    yield (
        f"{root}/dataset_description.json",
        canonical_json(_derivative_description(source, config)),
    )
    about = f"A derivative of `../..`: {CONFIG_TITLES[config]}."
    yield f"{root}/README", readme(source, about, volumes=_volumes_note(source))
    for case in source.cases:
        for kind in DERIVATIVES:
            if kind.config == config and (config, kind.column) in case.volumes:
                raw = f"bids:raw:{_anat(case)}{SCAN}.nii.gz"
                sidecar = derivative_sidecar(kind.column, raw, case.scan_from_mni)
                yield _derivative_path(kind, case, ".json"), canonical_json(sidecar)
                if kind.stem.endswith("_dseg"):
                    yield _derivative_path(kind, case, ".tsv"), _lesion_parts()


def _lesion_parts() -> str:
    return csv_text(("index", "name"), _LESION_PARTS, delimiter="\t")


def _derivative_description(source: Source, config: Config) -> dict[str, Any]:
    done = source.cohort.manifest.steps if config == "processed" else {}
    steps = {step: facts.get("settings", facts) for step, facts in done.items()}
    made = [
        {
            "Name": f"ictmri {step}",
            "Version": str(settings.get("ictmri", "unknown")),
            "Description": ", ".join(
                f"{key} {value}"
                for key, value in settings.items()
                if key != "ictmri" and not isinstance(value, dict | list)
            ),
        }
        for step, settings in steps.items()
    ]
    return {
        "Name": f"{title(source)}: {CONFIG_TITLES[config]}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": licence(source),
        "GeneratedBy": [*made, _exported()],
        "DatasetLinks": {"raw": "../.."},
        "SourceDatasets": [{"URL": "../..", "Version": source.cohort.manifest.version}],
    }
