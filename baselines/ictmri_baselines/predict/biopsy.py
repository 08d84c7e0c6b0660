"""A virtual biopsy: from a scan and a run to a page, the prior in the scan's own space, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np

from ictmri.atlas.alignment import AlignmentError
from ictmri.builders.placement import look_over
from ictmri.files import write_bytes, write_json
from ictmri.volumes import pack
from ictmri_baselines.localizer import localize
from ictmri_baselines.localizer.detectors import Saliency, make_detector
from ictmri_baselines.predict.diagnosis import diagnose
from ictmri_baselines.predict.judgement import ordered, told
from ictmri_baselines.predict.page import write_page
from ictmri_baselines.predict.request import Given, Request, read_request
from ictmri_baselines.predict.result import Biopsy, content_of
from ictmri_baselines.processor import Mapping, Processed, process
from ictmri_baselines.processor.brain_mask import ExtractionError
from ictmri_baselines.processor.qc import Finding, excluded, failed, judge, measure

Step = Callable[[str], None]
"""Called with the name of what begins."""
_STEPS: Final = 4
_SILENT_SECONDS: Final = 2.0
_HALF: Final = 0.5


def virtual_biopsy(request: Request) -> Biopsy:
    """Process, localise and diagnose a scan, and write what was asked for.

    The page and the JSON are written whatever the QC says. A scan that does not pass it is not diagnosed,
    and its prior is not written, unless the request forces both.

    Raises:
        InputError: something in the request is wrong; everything that is, before the work begins.
        MissingDependencyError: a step's package is not installed.
    """
    given = read_request(request)
    with _progress(_STEPS + 2 * len(given.models.each)) as step:
        made = _made(given, request, step)
        step("write")
        content = content_of(made)
        if request.prior is not None and made.diagnosis is not None:
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
    notes, _ = look_over(image)
    processed, numbers, judged = _processed(given)
    findings = ordered([*told([*given.scan.oddities, *notes]), *judged])
    found = diagnosis = None
    if processed is not None:
        step("localize")
        found = localize(processed.brain, make_detector(Saliency()))
    if processed is not None and found is not None and (request.force or not excluded(findings)):
        step("diagnose")
        diagnosis = diagnose(processed.brain, found, given.models, lambda: step("diagnose"))
    return Biopsy(
        title=request.title,
        scan=given.scan,
        models=given.models,
        settings=given.settings,
        findings=findings,
        numbers=numbers,
        processed=processed,
        found=found,
        diagnosis=diagnosis,
    )


def _processed(given: Given) -> tuple[Processed | None, dict[str, float], list[Finding]]:
    image = given.scan.image
    try:
        processed = process(image, given.settings, own_mask=given.mask)
    except (AlignmentError, ExtractionError) as error:
        return None, {}, [failed(str(error))]
    numbers = measure(image, processed)
    return processed, numbers, judge(numbers)


def _write_prior(path: Path, made: Biopsy) -> None:
    if made.processed is None or made.found is None:
        raise ValueError("a scan that could not be processed has no prior")
    prior = prior_in_scan(made.found.refined, made.processed.mapping, made.scan.image)
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
