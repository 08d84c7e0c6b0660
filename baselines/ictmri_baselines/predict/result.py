"""A virtual biopsy and its numbers; the JSON and the page say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from ictmri.classes import CLASSES
from ictmri.scans.findings import Finding, has_error
from ictmri.scans.scan import Scan
from ictmri.version import __version__
from ictmri_baselines.diagnoser.out_of_distribution import VERDICTS
from ictmri_baselines.localizer import Localization
from ictmri_baselines.predict.decision import Decision
from ictmri_baselines.predict.diagnosis import Diagnosis
from ictmri_baselines.predict.run import Models
from ictmri_baselines.processor import Processed, ProcessorSettings

SCHEMA: Final = "ictmri/prediction/2"
VOLUMES: Final = "millilitres in the scan's own space, not in MNI152 space"
"""What every number ending in ``_ml`` is."""
_SEVERITIES: Final = {"error": "exclude", "warning": "look"}
"""The words that this schema has had for them from the start."""
NOTICE: Final = "Research use only. Not a medical device."
SYNTHETIC_NOTICE: Final = (
    "This model was trained on synthetic images: its numbers say nothing about any patient."
)


@dataclass(frozen=True, slots=True)
class Marked:
    """What the priors mark, on the scan's own grid, uint8, 0 or 1.

    Attributes:
        coarse: where the coarse prior is above one half, inside the brain.
        refined: the refined prior.
    """

    coarse: nib.Nifti1Image
    refined: nib.Nifti1Image

    def volumes(self) -> dict[str, float]:
        """Return their volumes in ml of the scan's own space."""
        return {
            f"{name}_ml": round(_ml(image), 3)
            for name, image in (("coarse", self.coarse), ("refined", self.refined))
        }


@dataclass(frozen=True, slots=True)
class Biopsy:
    """What became of one scan. Nothing in it names the scan or its file.

    Attributes:
        title: the user's heading.
        scan: the scan, under a header without names.
        models: that were asked.
        settings: of the processor.
        findings: of reading, processing and QC; errors first.
        numbers: of the QC; empty where the scan could not be processed.
        outcome: what may be believed.
        processed: None where it could not be.
        found: the priors in MNI152 space; None where they were not made.
        marked: the same in the scan's own space.
        diagnosis: None where there are no probabilities.
    """

    title: str
    scan: Scan
    models: Models
    settings: ProcessorSettings
    findings: tuple[Finding, ...]
    numbers: Mapping[str, float]
    outcome: Decision
    processed: Processed | None = None
    found: Localization | None = None
    marked: Marked | None = None
    diagnosis: Diagnosis | None = None

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not has_error(self.findings)


def content_of(biopsy: Biopsy) -> dict[str, Any]:
    """Return the numbers as JSON: equal inputs give equal content, which holds no time and no name."""
    image = biopsy.scan.image
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "title": biopsy.title,
        "outcome": _outcome(biopsy.outcome),
        "volumes": VOLUMES,
        "model": _model(biopsy.models),
        "qc": {
            "passed": biopsy.passed,
            "findings": [_finding(finding) for finding in biopsy.findings],
            "numbers": {name: _finite(value) for name, value in biopsy.numbers.items()},
        },
        "diagnosis": None if biopsy.diagnosis is None else _diagnosis(biopsy.diagnosis, biopsy),
        "calibration": biopsy.models.calibration(),
        "unusual": None if biopsy.diagnosis is None else _out_of_distribution(biopsy.diagnosis),
        "localizer": _localizer(biopsy.models),
        "localization": _localization(biopsy),
        "scan": {
            "shape": list(map(int, image.shape[:3])),
            "spacing_mm": [round(float(edge), 4) for edge in voxel_sizes(image.affine)],
            "already_extracted": biopsy.processed and biopsy.processed.extracted,
        },
        "processing": {
            "settings": biopsy.settings.model_dump(mode="json"),
            "as_for_the_model": biopsy.settings == biopsy.models.processing,
            "steps": _steps(biopsy.processed),
        },
        "versions": {"ictmri": __version__},
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "code": finding.code,
        "severity": _SEVERITIES[finding.severity],
        "text": finding.text,
        "next_step": finding.next_step,
    }


def _ml(image: nib.Nifti1Image) -> float:
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    return float(np.count_nonzero(np.asarray(image.dataobj))) * voxel_ml


def _outcome(outcome: Decision) -> dict[str, Any]:
    return {
        "state": outcome.state,
        "meaning": outcome.sentence,
        "reasons": list(outcome.reasons),
        "valid": outcome.valid,
        "forced": outcome.forced,
        "exit_code": outcome.exit_code,
    }


def _localizer(models: Models) -> dict[str, Any]:
    origin, used = models.each[0].description.origin, models.localizer
    return {
        "detector": used.name,
        "version": used.version,
        "of_the_training": origin.get("detector"),
        "version_of_the_training": origin.get("detector_version"),
        "as_for_the_model": not models.other_localizer,
    }


def _localization(biopsy: Biopsy) -> dict[str, Any] | None:
    if biopsy.found is None or biopsy.marked is None:
        return None
    summary = biopsy.marked.volumes() | biopsy.found.summary
    return {"summary": summary, "flags": list(biopsy.found.flags)}


def _model(models: Models) -> dict[str, Any]:
    network = models.each[0].settings.network
    origin = models.each[0].description.origin
    return {
        "recipe": origin.get("recipe"),
        "profile": origin.get("profile"),
        "cohort": models.cohort or None,
        "synthetic": models.synthetic,
        "synthetic_notice": SYNTHETIC_NOTICE if models.synthetic else None,
        "backbone": network.backbone,
        "localisation": network.localisation,
        "attention": network.attention,
        "models": [
            {
                "name": model.name,
                "identity": model.description.identity,
                "n_train": model.description.n_train,
                "temperature": model.description.temperature,
            }
            for model in models.each
        ],
    }


def _diagnosis(made: Diagnosis, biopsy: Biopsy) -> dict[str, Any]:
    return {
        "valid": biopsy.outcome.valid,
        "class": CLASSES[made.label],
        "models_agreeing": made.agreeing,
        "probabilities": _by_class(made.mean),
        "lowest": _by_class(made.each.min(axis=0)),
        "highest": _by_class(made.each.max(axis=0)),
        "by_model": [_by_class(row) for row in made.each],
        "attention_found": bool(made.attention.any()),
    }


def _by_class(values: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def _out_of_distribution(made: Diagnosis) -> dict[str, Any] | None:
    middle = made.middle
    if middle is None:
        return None
    verdicts = Counter(found.verdict for found in made.out_of_distribution)
    return {
        **asdict(middle),
        "meaning": VERDICTS[middle.verdict],
        "models": {verdict: verdicts[verdict] for verdict in VERDICTS},
    }


def _steps(processed: Processed | None) -> dict[str, Any] | None:
    if processed is None:
        return None
    return {
        name: {key: value for key, value in step.items() if key != "seconds"}
        for name, step in processed.steps.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
