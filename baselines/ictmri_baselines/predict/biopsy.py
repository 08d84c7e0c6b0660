"""A virtual biopsy: from a scan and a run to a page, the prior in the scan's own space, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np

from ictmri.atlas.alignment import AlignmentError
from ictmri.io.files import write_bytes, write_json
from ictmri.io.volumes import pack
from ictmri.scans.placement import examine_scan
from ictmri_baselines.localizer import Localization, localize
from ictmri_baselines.localizer.detectors import Saliency, make_detector
from ictmri_baselines.predict.diagnosis import diagnose
from ictmri_baselines.predict.judgement import decide, ordered, told
from ictmri_baselines.predict.page import write_page
from ictmri_baselines.predict.request import Given, Request, read_request
from ictmri_baselines.predict.result import Biopsy, Marked, content_of
from ictmri_baselines.processor import Mapping, Processed, process
from ictmri_baselines.processor.extraction.mask import ExtractionError
from ictmri_baselines.processor.qc.apply_rules import Finding, borrowed, failed, judge, measure

Step = Callable[[str], None]
"""Called with the name of what begins."""
_STEPS: Final = 4
_SILENT_SECONDS: Final = 2.0
_HALF: Final = 0.5


def virtual_biopsy(request: Request) -> Biopsy:
    """Process, localise and diagnose a scan, and write what was asked for.

    The page and the JSON are written whatever the QC says. What is not to be believed is not made: see
    :mod:`ictmri_baselines.predict.judgement`. Then no prior is written, and one of an earlier scan at its
    place is removed.

    Raises:
        InputError: something in the request is wrong; everything that is, before the work begins.
        MissingDependencyError: a step's package is not installed.
    """
    given = read_request(request)
    with _progress(_STEPS + 2 * len(given.models.each)) as step:
        made = _made(given, request, step)
        step("write")
        content = content_of(made)
        if request.prior is not None:
            _write_prior(request.prior, made)
        if request.json is not None:
            write_json(request.json, content)
        write_page(request.out, made, content)
    return made


def prior_in_scan(
    prior: nib.Nifti1Image, mapping: Mapping, scan: nib.Nifti1Image
) -> nib.Nifti1Image:
    """Return a refined prior on a scan's own grid: its shape, its affine, uint8, 0 or 1.

    Args:
        prior: 0 or 1, on an MNI152 grid.
        mapping: between that scan and MNI152 space.
        scan: as it was read, its header free of names.
    """
    back = np.asarray(mapping.to_scan(prior, scan).dataobj) > _HALF
    header = scan.header.copy()
    header.set_slope_inter(1, 0)
    return nib.Nifti1Image(back.astype(np.uint8), scan.affine, header, dtype=np.uint8)


def _made(given: Given, request: Request, step: Step) -> Biopsy:
    step("process")
    image = given.scan.image
    notes, _ = examine_scan(image)
    processed, numbers, judged = _processed(given)
    findings = ordered([*told([*given.scan.oddities, *notes]), *judged])
    so_far = partial(
        decide,
        findings,
        processed=processed is not None,
        as_for_the_model=given.settings == given.models.processing,
        force=request.force,
    )
    outcome = so_far()
    found = marked = diagnosis = None
    if processed is not None and outcome.shown:
        step("localize")
        found = localize(processed.brain, make_detector(Saliency()))
        marked = _in_scan(found, processed, image)
        outcome = so_far(found=found)
    if processed is not None and found is not None and outcome.shown:
        step("diagnose")
        diagnosis = diagnose(processed.brain, found, given.models, lambda: step("diagnose"))
        outcome = so_far(found=found, diagnosis=diagnosis)
    return Biopsy(
        title=request.title,
        scan=given.scan,
        models=given.models,
        settings=given.settings,
        findings=findings,
        numbers=numbers,
        outcome=outcome,
        processed=processed,
        found=found,
        marked=marked,
        diagnosis=diagnosis if outcome.shown else None,
    )


def _in_scan(found: Localization, processed: Processed, scan: nib.Nifti1Image) -> Marked:
    """Return what both priors mark in the brain, on the scan's grid."""
    brain = np.asarray(processed.brain.mask.dataobj) > 0
    inside = (np.asarray(found.coarse.dataobj) > _HALF) & brain
    coarse = nib.Nifti1Image(inside.astype(np.uint8), found.coarse.affine)
    made = (prior_in_scan(one, processed.mapping, scan) for one in (coarse, found.refined))
    return Marked(*made)


def _processed(given: Given) -> tuple[Processed | None, dict[str, float], list[Finding]]:
    image = given.scan.image
    try:
        processed = process(image, given.settings, own_mask=given.mask)
    except (AlignmentError, ExtractionError) as error:
        return None, {}, [failed(str(error))]
    numbers = measure(image, processed)
    also = [borrowed()] if processed.borrowed else []
    return processed, numbers, [*judge(numbers), *also]


def _write_prior(path: Path, made: Biopsy) -> None:
    if made.marked is None or not made.outcome.shown:
        path.unlink(missing_ok=True)
        return
    prior = made.marked.refined
    packed = path.name.lower().endswith(".gz")
    write_bytes(path, pack(prior, "prior")["bytes"] if packed else prior.to_bytes())


@contextmanager
def _progress(total: int) -> Iterator[Step]:
    """Yield what moves a progress bar on, which appears when the work takes longer than two seconds."""
    from tqdm import tqdm

    with tqdm(total=total, unit="step", delay=_SILENT_SECONDS, leave=False) as bar:

        def begins(name: str) -> None:
            bar.set_description(name)
            bar.update()

        yield begins
