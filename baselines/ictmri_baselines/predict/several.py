"""Virtual biopsies of several scans: a report each, predictions.csv, and one page that lists them.

A scan that was done is not done again: each has a record, written after its files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ictmri.errors import InputError, ScanError
from ictmri.extras import need
from ictmri.io.csvfile import csv_text
from ictmri.io.files import (
    check_writable,
    is_free,
    private_folder,
    remove_parts,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from ictmri.io.lock import folder_lock
from ictmri.io.states import AGAIN, facts_in, json_mapping, kept, needed, write_record
from ictmri.io.volumes import unpack
from ictmri.scans.findings import CODES
from ictmri.scans.read import read_scan
from ictmri.scans.scan import Scan
from ictmri.scans.walk import digest_of
from ictmri.version import __version__
from ictmri_baselines.localizer.detectors import recorded
from ictmri_baselines.pipeline.resumable import DONE, Workers, each_case
from ictmri_baselines.predict.biopsy import (
    Given,
    Request,
    biopsy_of,
    checked_models,
    chosen_settings,
    write_dicom_seg,
    write_prior,
)
from ictmri_baselines.predict.cases_page import PredictedCase, cases_page
from ictmri_baselines.predict.decision import STATES
from ictmri_baselines.predict.dicom_seg import dicom_source, may_be_dicom
from ictmri_baselines.predict.outputs import occupied
from ictmri_baselines.predict.page import pictures_of, write_page
from ictmri_baselines.predict.result import SYNTHETIC_NOTICE, content_of
from ictmri_baselines.predict.run import Models
from ictmri_baselines.predict.sources import STAMP, Scans
from ictmri_baselines.processor import ProcessorSettings
from ictmri_baselines.reproduction.reproduce import predictions_text

PREDICTIONS: Final = "predictions.csv"
REFUSED: Final = "refused.csv"
PAGE: Final = "index.html"
CASES: Final = "cases"
SEGMENTATION: Final = "prior.dcm"
_FILES: Final = ("report.html", "numbers.json", "prior.nii.gz", SEGMENTATION, "picture.webp")
LEARNED_FROM: Final = (
    "The models learned from cases of this very cohort: these are no out-of-fold predictions, and a score "
    "of them would be optimistic by an unknown amount"
)
_UNREADABLE: Final = "unreadable"
_UNREADABLE_TEXT: Final = "This scan cannot be read"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of several scans.

    Attributes:
        out: the folder: predictions.csv, refused.csv, index.html, and a folder a case.
        cases: in the order of the source.
        models: that were asked.
        learned_from: the models learned from these very cases.
    """

    out: Path
    cases: Sequence[PredictedCase]
    models: Models
    learned_from: bool

    @property
    def refused(self) -> list[PredictedCase]:
        """Those that have no probabilities."""
        return [case for case in self.cases if case.probabilities is None]


@dataclass(frozen=True, slots=True)
class _Task:
    out: Path
    models: Models
    settings: ProcessorSettings
    force: bool
    dicom_seg: bool


def predict_scans(scans: Scans, request: Request, workers: Workers = Workers()) -> Predicted:  # noqa: B008
    """Make a virtual biopsy of each scan; killed and called again, it goes on.

    A scan that cannot be read, or of which nothing is to be believed, has no row in predictions.csv; it
    stands in refused.csv with the reason.

    Args:
        scans: what is to be predicted.
        request: ``model``, ``backbone``, ``settings``, ``brain``, ``force``, in ``out`` the folder, and in
            ``dicom_seg`` that of a segmentation for each series.
        workers: where scans are worked on.

    Raises:
        InputError: the models cannot be used, the folder holds something else, or segmentations are wanted
            of what is no DICOM series.
    """
    segmentations = request.outputs.get("--dicom-seg")
    if segmentations is not None:
        _require_series(scans)
        _require_room(scans, segmentations)
    models = checked_models(request)
    settings, out = chosen_settings(request, models), request.outputs["--out"].resolve()
    task = _Task(out, models, settings, request.force, dicom_seg=segmentations is not None)
    with folder_lock(task.out):
        _claim(task, scans)
        work = private_folder(task.out / CASES)
        for left in (task.out, work, *(path for path in work.iterdir() if path.is_dir())):
            remove_parts(left)
        _forget_changed(scans, work)
        each_case(
            partial(_predict, task),
            scans.rows(),
            total=len(scans.ids),
            work=work,
            title="predict",
            workers=workers,
        )
        cases = [_case(work, name) for name in scans.ids]
        done = Predicted(task.out, cases, models, _learned_from(models, scans))
        _write(done, scans)
        if segmentations is not None:
            _hand_out(work, scans, segmentations)
    return done


def _require_series(scans: Scans) -> None:
    """Refuse, before the work, scans of which no segmentation can be made."""
    need("baselines", "Writing DICOM segmentations", "highdicom")
    problems = [
        f"{name}: {path.name} is no DICOM series, and a segmentation refers to one"
        for name, path in scans.paths.items()
        if not may_be_dicom(path)
    ]
    if scans.cohort is not None:
        problems = [f"{scans.name} is a cohort: its scans have no DICOM headers"]
    if problems:
        step = "leave --dicom-seg out: every scan's prior is written into --out"
        raise InputError("--dicom-seg", problems, step)


def _require_room(scans: Scans, folder: Path) -> None:
    """Refuse, before the work, a place for segmentations where other files would be lost."""
    problems = [f"{folder} is a file, and they go into a folder"] if folder.is_file() else []
    places = (folder / f"{name}.dcm" for name in scans.ids)
    problems += [problem for place in places if (problem := occupied("--dicom-seg", place))]
    if problems:
        raise InputError("--dicom-seg", problems, "choose another folder for the segmentations")
    check_writable(folder / "prior.dcm")


def _hand_out(work: Path, scans: Scans, folder: Path) -> None:
    """Copy the segmentations into one folder; where a scan has none, that of an earlier one goes."""
    for name in scans.ids:
        made, place = work / name / SEGMENTATION, folder / f"{name}.dcm"
        if made.is_file():
            write_bytes(place, made.read_bytes(), mode=0o600)
        else:
            place.unlink(missing_ok=True)


def _claim(task: _Task, scans: Scans) -> None:
    """Say in ``predict.json`` what the folder is of, or refuse one that is something else's."""
    wanted: dict[str, Any] = {
        "schema": "ictmri/predictions/1",
        "source": scans.source,
        "data_sha256": scans.cohort and scans.cohort.manifest.digest_of("default"),
        "models": [sha256_file(model.path) for model in task.models.each],
        "settings": task.settings.model_dump(mode="json"),
        "force": task.force,
        "localizer": recorded(task.models.localizer),
        "dicom_seg": task.dicom_seg,
        "ictmri": __version__,
    }
    known = kept(task.out / STAMP, json_mapping)
    if known is None and not is_free(task.out):
        raise InputError(str(task.out), ["exists and is not empty"], "choose another --out")
    if known is None:
        write_json(private_folder(task.out) / STAMP, wanted)
        return
    problems = [f"{key} is another one" for key, value in wanted.items() if known.get(key) != value]
    if problems:
        step = "choose another --out, or remove that folder first"
        raise InputError(str(task.out), [f"holds other predictions: {p}" for p in problems], step)


def _forget_changed(scans: Scans, work: Path) -> None:
    """Take a scan whose file has changed for one that is to do."""
    for name, path in scans.paths.items():
        record = work / f"{name}{DONE}"
        facts = kept(record, facts_in)
        if facts is not None and facts.get("source") != digest_of(path):
            record.unlink()


def _predict(task: _Task, row: dict[str, Any]) -> None:
    """Make the biopsy of one scan; what is wrong with it is recorded, not raised."""
    case_id, image = row["case_id"], row["image"]
    facts: dict[str, Any] = {"source": digest_of(image) if isinstance(image, Path) else None}
    folder = task.out / CASES / case_id
    private_folder(folder)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)  # of an earlier scan of this id
    try:
        scan = read_scan(image) if isinstance(image, Path) else Scan(unpack(image), [])
    except ScanError as error:
        reason = f"{error.code}: {error.reason}. {CODES[error.code].next_step}"
        facts |= {"state": _UNREADABLE, "reasons": [reason], "probabilities": None}
        write_record(folder.with_name(f"{case_id}{DONE}"), facts)
        return
    made = biopsy_of(Given(scan, task.models, task.settings), case_id, force=task.force)
    if task.dicom_seg:
        try:
            write_dicom_seg(folder / SEGMENTATION, made, dicom_source(image, scan.image))
        except InputError as error:
            facts["no_segmentation"] = "; ".join(error.problems)
    content, pictures = content_of(made), pictures_of(made)
    write_page(folder / "report.html", made, content, pictures)
    write_json(folder / "numbers.json", content)
    write_prior(folder / "prior.nii.gz", made)
    write_bytes(folder / "picture.webp", next(iter(pictures.values())))
    valid = made.diagnosis is not None and made.outcome.valid
    facts |= {
        "state": made.outcome.state,
        "reasons": list(made.outcome.reasons),
        "probabilities": made.diagnosis.mean.tolist() if made.diagnosis and valid else None,
        "refined_ml": made.marked.volumes()["refined_ml"] if made.marked else None,
    }
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    write_record(folder.with_name(f"{case_id}{DONE}"), facts, files)


def _case(work: Path, case_id: str) -> PredictedCase:
    facts = needed(work / f"{case_id}{DONE}", facts_in, AGAIN)
    state, read = facts["state"], facts["state"] != _UNREADABLE
    return PredictedCase(
        case_id=case_id,
        state=state,
        sentence=STATES[state].sentence if read else _UNREADABLE_TEXT,
        reasons=facts["reasons"],
        probabilities=facts["probabilities"],
        refined_ml=facts.get("refined_ml"),
        no_segmentation=facts.get("no_segmentation", ""),
        page=f"{CASES}/{case_id}/report.html" if read else "",
        picture=work / case_id / "picture.webp",
    )


def _learned_from(models: Models, scans: Scans) -> bool:
    if scans.cohort is None:
        return False
    folds = {model.description.origin.get("folds_sha256") for model in models.each}
    return scans.cohort.manifest.folds_sha256 in folds or scans.cohort.name == models.cohort


def _write(done: Predicted, scans: Scans) -> None:
    known = [case for case in done.cases if case.probabilities is not None]
    if known:
        values = np.array([case.probabilities for case in known])
        text = predictions_text([case.case_id for case in known], 0, values)
        write_text(done.out / PREDICTIONS, text)
    else:
        (done.out / PREDICTIONS).unlink(missing_ok=True)
    rows = ([case.case_id, case.state, "; ".join(case.reasons)] for case in done.refused)
    write_text(done.out / REFUSED, csv_text(("case_id", "state", "reasons"), rows))
    cases_page(
        done.out / PAGE,
        done.cases,
        title=scans.name,
        synthetic=scans.cohort is not None and scans.cohort.synthetic,
        model=_model_words(done),
    )


def _model_words(done: Predicted) -> str:
    models = done.models
    number = len(models.each)
    asked = (
        f"{number} model{'s' * (number > 1)} of {models.cohort or 'a cohort that is not stated'}"
    )
    said = [
        *([f"SYNTHETIC: {SYNTHETIC_NOTICE}"] if models.synthetic else []),
        *([f"{LEARNED_FROM}."] if done.learned_from else []),
    ]
    return " ".join([f"{asked}.", *said])
