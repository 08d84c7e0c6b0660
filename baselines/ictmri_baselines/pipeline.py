"""Processing and localisation of a whole cohort: case by case, resumable, results in ``processed``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np

from ictmri import __version__
from ictmri.atlas.alignment import AlignmentError
from ictmri.builders.assemble import add_config
from ictmri.builders.change import alone_with, close_work, opened_work
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.files import write_bytes, write_json
from ictmri.folds import FoldRow
from ictmri.parallel import run_all
from ictmri.volumes import pack, unpack
from ictmri_baselines.localizer import localize
from ictmri_baselines.localizer.boxes import write_boxes
from ictmri_baselines.localizer.saliency import SaliencyDetector
from ictmri_baselines.processor import Processed, process

DetectorName = Literal["saliency"]
DETECTORS: Final = {"saliency": SaliencyDetector}


def process_cohort(cohort: Cohort, *, jobs: int | None = None) -> Cohort:
    """Add the ``processed`` config with the light settings: brain mask, MNI152 at 2 mm, intensities.

    Finished cases are kept beside the cohort until all are done, so that an interrupted run goes on.
    """
    settings = {"settings": "light", "ictmri": __version__}
    with alone_with(cohort.root):
        cohort = open_cohort(cohort.root)
        if _is_done(cohort, "process", settings):
            return cohort
        work = _work(cohort, "process", settings)
        _each(
            cohort, "default", ["case_id", "image"], partial(_process, work), work, "process", jobs
        )
        done = add_config(
            cohort, "processed", partial(_processed_row, work, cohort), steps={"process": settings}
        )
        close_work(cohort.root, "process")
        return done


def localize_cohort(
    cohort: Cohort, *, detector: DetectorName = "saliency", jobs: int | None = None
) -> Cohort:
    """Add the coarse prior to ``processed``, and each slice's boxes as ``boxes/<detector>.jsonl``.

    Raises:
        InputError: the cohort was not processed yet.
    """
    if "process" not in cohort.manifest.steps:
        raise InputError(str(cohort.root), ["not processed yet"], f"ictmri process {cohort.root}")
    settings = {
        "detector": detector,
        "detector_version": DETECTORS[detector].version,
        "ictmri": __version__,
    }
    with alone_with(cohort.root):
        cohort = open_cohort(cohort.root)
        if _is_done(cohort, "localize", settings):
            return cohort
        work = _work(cohort, "localize", settings)
        columns = ["case_id", "image", "brain_mask", "scan_from_mni"]
        function = partial(_localize, work, detector)
        _each(cohort, "processed", columns, function, work, "localize", jobs)
        stored = cohort.rows("processed")  # in the order in which they are written again
        done = add_config(
            cohort,
            "processed",
            lambda row: (
                next(found for found in stored if found["case_id"] == row.case_id)
                | {"prior_coarse": _file(work / f"{row.case_id}.nii.gz")}
            ),
            steps=cohort.manifest.steps | {"localize": settings},
            extra_files={f"boxes/{detector}.jsonl": _all_boxes(cohort, work)},
        )
        close_work(cohort.root, "localize")
        return done


def ensure_priors(cohort: Cohort, *, jobs: int | None = None) -> Cohort:
    """Return the cohort with priors; what is there already is taken as it is."""
    if "process" not in cohort.manifest.steps:
        cohort = process_cohort(cohort, jobs=jobs)
    if "localize" not in cohort.manifest.steps:
        cohort = localize_cohort(cohort, jobs=jobs)
    return cohort


def _is_done(cohort: Cohort, step: str, settings: dict[str, Any]) -> bool:
    if cohort.manifest.steps.get(step) != settings:
        return False
    cohort.check(prefix="data/processed/", quick=True)
    close_work(cohort.root, step)
    return True


def _work(cohort: Cohort, step: str, settings: dict[str, Any]) -> Path:
    """Return the step's work folder, emptied where it belongs to other data or settings."""
    source = "default" if step == "process" else "processed"
    key = settings | {"data_sha256": cohort.manifest.digest_of(source)}
    return opened_work(cohort.root, step, key)


def _each(
    cohort: Cohort,
    config: str,
    columns: list[str],
    function: Callable[[dict[str, Any]], str | None],
    work: Path,
    title: str,
    jobs: int | None,
) -> None:
    done = {path.name.removesuffix(".done.json") for path in work.glob("*.done.json")}

    def waiting() -> Iterator[dict[str, Any]]:
        for row in cohort.rows(config, columns):
            if row["case_id"] not in done:
                yield row

    total = cohort.manifest.n_cases - len(done)
    results = run_all(function, waiting(), total=total, title=title, jobs=jobs)
    problems = [problem for problem in results if problem]
    if problems:
        raise InputError(
            str(cohort.root),
            problems,
            "leave these cases out of the table and build the cohort again",
        )


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


def _process(work: Path, row: dict[str, Any]) -> str | None:
    """Process one case; return what was wrong with it."""
    case_id = row["case_id"]
    try:
        processed = process(unpack(row["image"]))
    except AlignmentError as error:
        return f"{case_id}: {error}"
    write_bytes(work / f"{case_id}.nii.gz", pack(processed.image, case_id)["bytes"])
    write_bytes(work / f"{case_id}_mask.nii.gz", pack(processed.brain_mask, "")["bytes"])
    facts = {
        "scan_from_mni": processed.scan_from_mni.ravel().tolist(),
        "qc": processed.qc,
        "parameters": processed.parameters,
    }
    write_json(work / f"{case_id}.done.json", facts)
    return None


def _processed_row(work: Path, cohort: Cohort, row: FoldRow) -> dict[str, Any]:
    facts = json.loads((work / f"{row.case_id}.done.json").read_text())
    return {
        "case_id": row.case_id,
        "image": _file(work / f"{row.case_id}.nii.gz"),
        "brain_mask": _file(work / f"{row.case_id}_mask.nii.gz"),
        "prior_coarse": None,
        "scan_from_mni": facts["scan_from_mni"],
        "label": row.label,
        "fold": row.fold,
        "synthetic": cohort.synthetic,
    }


def _localize(work: Path, detector: DetectorName, row: dict[str, Any]) -> str | None:
    """Localise one case; the row holds no label, so none can be looked at."""
    case_id = row["case_id"]
    processed = Processed(
        image=unpack(row["image"]),
        brain_mask=unpack(row["brain_mask"]),
        scan_from_mni=np.reshape(row["scan_from_mni"], (4, 4)),
        qc={},
        parameters={},
    )
    prior = localize(processed, DETECTORS[detector]())
    levels = np.round(np.asarray(prior.image.dataobj) * 255).astype(np.uint8)
    image = nib.Nifti1Image(levels, processed.image.affine)
    write_bytes(work / f"{case_id}.nii.gz", pack(image, case_id)["bytes"])
    write_boxes(work / f"{case_id}.jsonl", case_id, prior.boxes)
    write_json(work / f"{case_id}.done.json", prior.summary)
    return None


def _all_boxes(cohort: Cohort, work: Path) -> bytes:
    return b"".join((work / f"{case_id}.jsonl").read_bytes() for case_id in cohort.folds().case_ids)
