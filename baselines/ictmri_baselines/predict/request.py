"""What is asked for, and everything about it that can be found wrong before the minutes of work."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ictmri.errors import InputError, ScanError
from ictmri.scans.codes import CODES
from ictmri.scans.read import NIFTI_ENDINGS, read_scan
from ictmri.scans.scan import Scan
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.out_of_distribution import REFERENCE, load_reference
from ictmri_baselines.predict.run import Models, open_models
from ictmri_baselines.processor import Settings, preset
from ictmri_baselines.processor.extraction.own_mask import own_mask_step

if TYPE_CHECKING:
    from collections.abc import Callable

    import nibabel as nib

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
        settings: of the processor; those that the models' brains were processed with where None.
        brain: another extraction than the settings'; None keeps it.
        mask: the user's brain mask on the scan's grid.
        title: heading of the page, the only words in it that are not the program's.
        force: show probabilities of a scan that did not pass the QC.
    """

    scan: Path
    model: Path
    out: Path
    prior: Path | None = None
    json: Path | None = None
    settings: Preset | None = None
    brain: str | None = None
    mask: Path | None = None
    title: str = DEFAULT_TITLE
    force: bool = False
    backbone: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A request whose inputs were read.

    Attributes:
        scan: the scan, under a header without names.
        models: of the run.
        settings: of the processor.
        mask: the user's brain mask, None where there is none.
    """

    scan: Scan
    models: Models
    settings: Settings
    mask: nib.Nifti1Image | None


@dataclass(slots=True)
class _Found:
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
    found = _Found([], [])
    scan = found.attempt("SCAN", lambda: _read(request.scan))
    models = found.attempt("--model", lambda: _models(request))
    mask = None
    if request.mask is not None:
        chosen = request.mask
        mask = found.attempt("--mask", lambda: _read(chosen).image)
        if mask is not None and scan is not None:
            found.attempt("--mask", lambda: own_mask_step(mask, scan.image))
    for name, problem in _output_problems(request):
        found.problems.append(f"{name}: {problem}")
        found.steps.append("choose other files for the results")
    if found.problems:
        step = "; ".join(dict.fromkeys(filter(None, found.steps)))
        raise InputError("ictmri predict", found.problems, step)
    return Given(scan, models, _settings(request, models), mask)


def _models(request: Request) -> Models:
    """Open the models, and load each once: what is wrong with one is said before the minutes of work."""
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


def _settings(request: Request, models: Models) -> Settings:
    chosen = models.processing
    if request.settings is not None:
        chosen = preset(request.settings, synthetic=False)
    given = {} if request.brain is None else {"brain": request.brain}
    return Settings.model_validate(chosen.model_dump() | given)


def _output_problems(request: Request) -> list[tuple[str, str]]:
    outputs = {"--out": request.out, "--prior": request.prior, "--json": request.json}
    inputs = {"SCAN": request.scan, "--model": request.model, "--mask": request.mask}
    taken = {os.path.realpath(path): name for name, path in inputs.items() if path is not None}
    problems = []
    for name, path in outputs.items():
        if path is None:
            continue
        problem = _place_problem(path)
        place = os.path.realpath(path)
        if place in taken:
            problem = f"{path} is also {taken[place]}"
        taken[place] = name
        if problem:
            problems.append((name, problem))
    prior = request.prior
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
