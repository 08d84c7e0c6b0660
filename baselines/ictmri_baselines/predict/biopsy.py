"""A virtual biopsy: what is asked for, checked before the minutes of work, and what is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np

from ictmri.atlas.alignment import AlignmentError
from ictmri.errors import InputError, ScanError
from ictmri.io.files import write_bytes, write_json
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.volumes import pack
from ictmri.scans.findings import CODES, Finding
from ictmri.scans.placement import examine_scan
from ictmri.scans.read import NIFTI_ENDINGS, read_scan
from ictmri.scans.scan import Scan
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.out_of_distribution import REFERENCE, load_reference
from ictmri_baselines.localizer import Localization, localize
from ictmri_baselines.predict.decision import decide, ordered, told
from ictmri_baselines.predict.diagnosis import diagnose
from ictmri_baselines.predict.dicom_seg import DicomSource, dicom_source, write_segmentation
from ictmri_baselines.predict.outputs import occupied
from ictmri_baselines.predict.page import write_page
from ictmri_baselines.predict.result import Biopsy, Marked, content_of
from ictmri_baselines.predict.run import Models, open_models
from ictmri_baselines.processor import Mapping, Processed, ProcessorSettings, preset, process
from ictmri_baselines.processor.extraction.network import ExtractionError
from ictmri_baselines.processor.extraction.own_mask import own_mask_step
from ictmri_baselines.processor.qc.apply_rules import apply_rules, borrowed, failed
from ictmri_baselines.processor.qc.measures import measure

Preset = Literal["light", "paper"]
DEFAULT_TITLE: Final = "Scan"


@dataclass(frozen=True, slots=True)
class Request:
    """One scan, a run, and what is wanted of them.

    Attributes:
        scan: NIfTI, NRRD, MetaImage, or a folder with the DICOM series.
        model: see :func:`~ictmri_baselines.predict.run.open_models`.
        backbone: ``module:Class`` of the models' backbone where that is a class of one's own: imported.
        out: the page.
        prior: where the refined prior goes, on the scan's own grid; None: nowhere.
        json: where the numbers go; None: nowhere.
        dicom_seg: where the same goes as a DICOM segmentation of the series; None: nowhere.
        settings: of the processor; those that the models' brains were processed with where None.
        brain: another extraction than the settings'; None keeps it.
        mask: the user's brain mask on the scan's grid.
        title: heading of the page, the only words in it that are not the program's.
        force: show probabilities of a scan that did not pass the QC.
    """

    scan: AnyPath
    model: AnyPath
    out: AnyPath
    prior: AnyPath | None = None
    json: AnyPath | None = None
    dicom_seg: AnyPath | None = None
    settings: Preset | None = None
    brain: str | None = None
    mask: AnyPath | None = None
    title: str = DEFAULT_TITLE
    force: bool = False
    backbone: str | None = None

    @property
    def outputs(self) -> dict[str, Path]:
        """The files that are wanted, by the option of each."""
        given = {
            "--out": self.out,
            "--prior": self.prior,
            "--json": self.json,
            "--dicom-seg": self.dicom_seg,
        }
        return {name: at_home(path) for name, path in given.items() if path is not None}


@dataclass(frozen=True, slots=True)
class Given:
    """A request whose inputs were read.

    Attributes:
        scan: the scan, under a header without names.
        models: of the run.
        settings: of the processor.
        mask: the user's brain mask, None where there is none.
        source: the series' images, None where no segmentation of them is wanted.
    """

    scan: Scan
    models: Models
    settings: ProcessorSettings
    mask: nib.Nifti1Image | None = None
    source: DicomSource | None = None


@dataclass(slots=True)
class _Checks:
    problems: list[str]
    steps: list[str]

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what ``work`` returns, or None where it found the input wrong."""
        try:
            return work()
        except InputError as error:
            self.problems += [f"{name}: {problem}" for problem in error.problems]
            self.steps.append(error.next_step)
        return None


def read_request(request: Request) -> Given:
    """Read the inputs, and try the outputs' places.

    Raises:
        InputError: with everything that is wrong.
    """
    found = _Checks([], [])
    place = at_home(request.scan)
    scan = found.attempt("SCAN", lambda: _read(place))
    models = found.attempt("--model", lambda: checked_models(request))
    mask = None
    if request.mask is not None:
        chosen = at_home(request.mask)
        mask = found.attempt("--mask", lambda: _read(chosen).image)
        if mask is not None and scan is not None:
            found.attempt("--mask", lambda: own_mask_step(mask, scan.image))
    source = None
    if request.dicom_seg is not None and scan is not None:
        source = found.attempt("--dicom-seg", lambda: dicom_source(place, scan.image))
    for name, problem in _output_problems(request):
        found.problems.append(f"{name}: {problem}")
        found.steps.append("choose other files for the results")
    if found.problems:
        step = "; ".join(dict.fromkeys(filter(None, found.steps)))
        raise InputError("ictmri predict", found.problems, step)
    return Given(scan, models, chosen_settings(request, models), mask, source)


def checked_models(request: Request) -> Models:
    """Open the models, and load each once: what is wrong with one is said before the minutes of work.

    Raises:
        InputError: one of them cannot be used.
    """
    models = open_models(request.model, request.backbone)
    for model in models.each:
        network, _ = load_model(model.path, own=request.backbone)
        if (model.path.parent / REFERENCE).is_file():
            load_reference(model.path.parent, network.backbone.channels)
    if request.settings is None:
        _ = models.processing
    return models


def _read(path: Path) -> Scan:
    if not path.exists():
        raise InputError(str(path), [f"there is no {path}"], "check the path")
    try:
        return read_scan(path)
    except ScanError as error:
        raise InputError(str(path), [str(error)], CODES[error.code].next_step) from None


def chosen_settings(request: Request, models: Models) -> ProcessorSettings:
    """Return the processor's settings: those of the models, unless others are asked for."""
    chosen = models.processing
    if request.settings is not None:
        chosen = preset(request.settings, synthetic=False)
    given = {} if request.brain is None else {"brain": request.brain}
    return ProcessorSettings.model_validate(chosen.model_dump() | given)


def _output_problems(request: Request) -> list[tuple[str, str]]:
    outputs = request.outputs
    inputs = {"SCAN": request.scan, "--model": request.model, "--mask": request.mask}
    taken = {os.path.realpath(path): name for name, path in inputs.items() if path is not None}
    problems = []
    for name, path in outputs.items():
        problem = _place_problem(path)
        place = os.path.realpath(path)
        if place in taken:
            problem = f"{path} is also {taken[place]}"
        taken[place] = name
        problem = problem or occupied(name, path)
        if problem:
            problems.append((name, problem))
    prior = outputs.get("--prior")
    if prior is not None and not prior.name.lower().endswith(NIFTI_ENDINGS):
        problems.append(("--prior", f"{prior.name} must end in {' or '.join(NIFTI_ENDINGS)}"))
    return problems


def _place_problem(path: Path) -> str:
    """Say why a file cannot be written; makes no folder yet."""
    if path.is_dir():
        return f"{path} is a folder"
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"{path} cannot be written: {nearest}: {error.strerror}"


Step = Callable[[str], None]
"""Called with the name of what begins."""
_STEPS: Final = 4
_SILENT_SECONDS: Final = 2.0
_HALF: Final = 0.5


def virtual_biopsy(request: Request) -> Biopsy:
    """Process, localise and diagnose a scan, and write what was asked for.

    The page and the JSON are written whatever the QC says. What is not to be believed is not made: see
    :mod:`ictmri_baselines.predict.decision`. Then no prior is written, and one of an earlier scan at its
    place is removed.

    Raises:
        InputError: something in the request is wrong; everything that is, before the work begins.
        MissingDependencyError: a step's package is not installed.
    """
    given, wanted = read_request(request), request.outputs
    with _progress(_STEPS + 2 * len(given.models.each)) as step:
        made = biopsy_of(given, request.title, force=request.force, step=step)
        step("write")
        content = content_of(made)
        write_page(wanted["--out"], made, content)
        if "--json" in wanted:
            write_json(wanted["--json"], content)
        if "--prior" in wanted:
            write_prior(wanted["--prior"], made)
        # Last: it alone can fail for what stands in the scan's headers.
        if "--dicom-seg" in wanted and given.source is not None:
            write_dicom_seg(wanted["--dicom-seg"], made, given.source)
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


def biopsy_of(
    given: Given, title: str, *, force: bool = False, step: Step = lambda _: None
) -> Biopsy:
    """Process, localise and diagnose a scan, as far as there is something to be believed.

    Args:
        given: what was read.
        title: heading of its page.
        force: make probabilities of a scan that did not pass the QC.
        step: called with the name of what begins.
    """
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
        other_localizer=given.models.other_localizer,
        incomplete=given.models.incomplete,
        force=force,
    )
    outcome = so_far()
    found = marked = diagnosis = None
    if processed is not None and outcome.shown:
        step("localize")
        found = localize(processed.brain, given.models.localizer.detector())
        marked = _in_scan(found, processed, image)
        outcome = so_far(found=found)
    if processed is not None and found is not None and outcome.shown:
        step("diagnose")
        diagnosis = diagnose(processed.brain, found, given.models, lambda: step("diagnose"))
        outcome = so_far(found=found, diagnosis=diagnosis)
    return Biopsy(
        title=title,
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
    return processed, numbers, [*apply_rules(numbers), *also]


def _prior_of(made: Biopsy) -> nib.Nifti1Image | None:
    return made.marked.refined if made.marked is not None and made.outcome.shown else None


def write_dicom_seg(path: Path, made: Biopsy, source: DicomSource) -> None:
    """Write the refined prior as a segmentation; where it marks nothing, remove that of another scan.

    Raises:
        InputError: see :func:`~ictmri_baselines.predict.dicom_seg.write_segmentation`.
    """
    prior = _prior_of(made)
    if prior is None or not np.asarray(prior.dataobj).any():
        path.unlink(missing_ok=True)
        return
    write_segmentation(path, prior, source, made.models.localizer.name)


def write_prior(path: Path, made: Biopsy) -> None:
    """Write the refined prior on the scan's grid; where there is none, remove that of another scan."""
    prior = _prior_of(made)
    if prior is None:
        path.unlink(missing_ok=True)
        return
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
