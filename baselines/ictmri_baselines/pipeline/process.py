"""``ictmri process``: the MRI-Processor over a cohort, its QC, and the page that shows both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib

from ictmri.atlas.alignment import AlignmentError
from ictmri.build.write import add_config, in_order
from ictmri.cohort import Cohort
from ictmri.errors import InputError, ScanError, collected
from ictmri.folds import FoldRow
from ictmri.io.csvfile import csv_text
from ictmri.io.files import write_bytes
from ictmri.io.lock import beside
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.volumes import pack, unpack
from ictmri.scans.findings import Finding, has_error
from ictmri.scans.read import read_scan
from ictmri.version import __version__
from ictmri_baselines.cases import mask_digests, strange_masks
from ictmri_baselines.pipeline.resumable import (
    Workers,
    each_case,
    facts_of,
    finish_case,
    resumed,
    volume,
)
from ictmri_baselines.processor import PRESETS, ProcessorSettings, process
from ictmri_baselines.processor.extraction.network import ExtractionError
from ictmri_baselines.processor.extraction.own_mask import own_mask_step
from ictmri_baselines.processor.process import Processed, used_steps
from ictmri_baselines.processor.qc.apply_rules import BORROWED, FAILED, apply_rules, borrowed
from ictmri_baselines.processor.qc.figure import centre_of, figure
from ictmri_baselines.processor.qc.measures import measure
from ictmri_baselines.processor.qc.page import ProcessedCase, processing_page
from ictmri_baselines.processor.step_cache import StepCache

PAGE = "process"
LOCALIZED: Final = "localize"
"""Page of priors, which go with the volumes that they were made of."""
TABLE = "qc/process.csv"


def process_cohort(
    cohort: Cohort,
    settings: ProcessorSettings = PRESETS["paper"],
    *,
    masks: AnyPath | None = None,
    workers: Workers = Workers(),  # noqa: B008
) -> Cohort:
    """Add the ``processed`` config: brains in MNI152 space.

    Finished steps of each case are kept beside the cohort until all cases are done, so that an
    interrupted run goes on. A case that cannot be processed, or whose QC finds an error, stays out of
    ``processed``; the manifest, ``qc/process.csv`` and the page beside the cohort name it.

    Args:
        cohort: the cohort.
        settings: the steps.
        masks: folder of brain masks ``<case_id>.nii.gz`` on the scans' own grids, used where there is one.
        workers: where cases are worked on.

    Raises:
        InputError: no case could be processed, or a mask is of no case.
    """
    masks = None if masks is None else at_home(masks)
    own_masks = {} if masks is None else _own_masks(masks, cohort.folds().case_ids)
    recorded = settings.model_dump(mode="json") | {
        "steps": used_steps(settings),
        "own_masks": own_masks,
        "ictmri": __version__,
    }
    masks = masks and masks.resolve()
    make = partial(_processed, partial(_process, settings, masks), recorded, workers)
    check = partial(_check_masks, masks)
    return resumed(cohort, "process", recorded, make, source="default", prepare=check)


def _processed(
    case: Callable[..., None],
    recorded: dict[str, Any],
    workers: Workers,
    cohort: Cohort,
    work: Path,
) -> Cohort:
    """Process what is not done yet, and add what came of it."""
    each_case(
        partial(case, work, cohort.synthetic),
        cohort.rows("default", ["case_id", "image"]),
        total=cohort.manifest.n_cases,
        work=work,
        title="process",
        workers=workers,
    )
    page, cases = beside(cohort.root, f"{PAGE}.html"), _page_cases(cohort, work)
    # Before the cohort changes: afterwards the step counts as done, and nobody would write it.
    processing_page(page, cases, title=cohort.name, synthetic=cohort.synthetic)
    done = _added(cohort, work, recorded)
    beside(cohort.root, f"{LOCALIZED}.html").unlink(missing_ok=True)
    return done


def _process(
    settings: ProcessorSettings,
    masks: Path | None,
    work: Path,
    synthetic: bool,
    row: dict[str, Any],
) -> None:
    """Process one case; what was wrong with it is recorded, not raised."""
    case_id = row["case_id"]
    image = unpack(row["image"])
    cache = StepCache(work / "steps", case_id)
    try:
        processed = process(image, settings, own_mask=_own_mask(masks, case_id), cache=cache)
    except (AlignmentError, ExtractionError, InputError) as error:
        finish_case(work, case_id, {"included": False, "error": _reason(error)})
        return
    numbers = measure(image, processed)
    findings = apply_rules(numbers)
    if processed.borrowed and not synthetic:
        findings.append(borrowed())
    write_bytes(work / f"{case_id}.nii.gz", pack(processed.brain.image, case_id)["bytes"])
    write_bytes(work / f"{case_id}_mask.nii.gz", pack(processed.brain.mask, case_id)["bytes"])
    if processed.mapping.warp is not None:
        write_bytes(work / f"{case_id}_warp.nii.gz", pack(processed.mapping.warp, case_id)["bytes"])
    write_bytes(work / f"{case_id}.webp", figure(processed, image, centre_of(numbers)))
    finish_case(work, case_id, _facts(processed, numbers, findings))
    cache.clear()


def _own_masks(masks: Path, case_ids: Sequence[str]) -> dict[str, str]:
    """Return the digests of masks by name; one of another name would be passed over, and recorded."""
    if problems := strange_masks(masks, case_ids):
        step = "name each mask CASE_ID.nii.gz: the ids stand in folds.csv, whose they are in the link file"
        raise InputError(str(masks), problems, step)
    return mask_digests(masks)


def _check_masks(masks: Path | None, cohort: Cohort) -> None:
    """Hold every mask against its scan before the work: a wrong one is no reason to leave a case out."""
    problems: list[str] = []
    for row in cohort.rows("default", ["case_id", "image"]) if masks else ():
        with collected(problems, f"{row['case_id']}.nii.gz"):
            if mask := _own_mask(masks, row["case_id"]):
                own_mask_step(mask, unpack(row["image"]))
    if problems:
        step = "give masks on the scans' own grids, 1 in the brain, 0 outside; nothing was changed"
        raise InputError(str(masks), problems, step)


def _own_mask(masks: Path | None, case_id: str) -> nib.Nifti1Image | None:
    path = masks / f"{case_id}.nii.gz" if masks else None
    if path is None or not path.is_file():
        return None
    try:
        return read_scan(path).image
    except ScanError as error:
        raise InputError("own brain mask", [f"the mask: {error.reason}"]) from None


def _reason(error: ValueError | InputError) -> str:
    return "; ".join(error.problems) if isinstance(error, InputError) else str(error)


def _facts(
    processed: Processed, numbers: dict[str, float], findings: list[Finding]
) -> dict[str, Any]:
    return {
        "included": not has_error(findings),
        "error": "",
        "scan_from_mni": processed.mapping.scan_from_mni.ravel().tolist(),
        "numbers": numbers,
        "findings": [finding.code for finding in findings],
        "steps": processed.steps,
    }


def _added(cohort: Cohort, work: Path, recorded: dict[str, Any]) -> Cohort:
    cases = cohort.folds().rows
    facts = {row.case_id: facts_of(work, row.case_id) for row in cases}
    out = {case_id: _why(found) for case_id, found in facts.items() if not found["included"]}
    if len(out) == len(facts):
        raise InputError(
            str(cohort.root),
            [f"{case_id}: {why}" for case_id, why in out.items()],
            "look at the scans; other settings may suit them: ictmri process --help",
        )
    return add_config(
        cohort,
        "processed",
        (_row(cohort, work, facts, row) for row in in_order(cases) if row.case_id not in out),
        leave_out=set(out),
        steps={"process": {"settings": recorded, "left_out": out}},
        extra_files={TABLE: _table(facts).encode()},
        void=["boxes"],  # of brains that were processed otherwise
    )


def _why(facts: dict[str, Any]) -> str:
    return facts["error"] or ", ".join(facts["findings"])


def _row(
    cohort: Cohort, work: Path, facts: dict[str, dict[str, Any]], row: FoldRow
) -> dict[str, Any]:
    case_id = row.case_id
    return {
        "case_id": case_id,
        "image": volume(work / f"{case_id}.nii.gz", case_id),
        "brain_mask": volume(work / f"{case_id}_mask.nii.gz", case_id),
        "prior_coarse": None,
        "prior_refined": None,
        "scan_from_mni": facts[case_id]["scan_from_mni"],
        "warp": volume(work / f"{case_id}_warp.nii.gz", case_id),
        "label": row.label,
        "fold": row.fold,
        "synthetic": cohort.synthetic,
    }


def _table(facts: dict[str, dict[str, Any]]) -> str:
    """Return ``qc/process.csv``: a row a case, its numbers and its findings."""
    names = sorted({name for found in facts.values() for name in found.get("numbers", {})})
    rows = []
    for case_id, found in facts.items():
        numbers = found.get("numbers", {})
        cells = [f"{numbers[name]:.6g}" if name in numbers else "" for name in names]
        codes = " ".join(found.get("findings", [FAILED]))
        rows.append([case_id, str(found["included"]).lower(), codes, *cells])
    return csv_text(["case_id", "included", "findings", *names], rows)


def _page_cases(cohort: Cohort, work: Path) -> Iterator[ProcessedCase]:
    for row in cohort.folds().rows:
        facts = facts_of(work, row.case_id)
        also = [borrowed()] if BORROWED in facts.get("findings", ()) else []
        yield ProcessedCase(
            case_id=row.case_id,
            error=facts["error"],
            numbers=facts.get("numbers", {}),
            findings=[*apply_rules(facts.get("numbers", {})), *also],
            picture=work / f"{row.case_id}.webp",
        )
