"""The command for one's own scan: predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ictmri.cli.needs import need_baselines
from ictmri.cli.output import echo
from ictmri.errors import InputError
from ictmri_baselines.cli.volumes import BrainName, Preset

if TYPE_CHECKING:
    from ictmri_baselines.predict import Request
    from ictmri_baselines.predict.result import Biopsy


Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:CLASS",
        help="The models' backbone where that is a class of your own. It is imported; a model imports "
        "nothing by itself.",
    ),
]


_Scan = Annotated[
    Path, typer.Argument(help="NIfTI, NRRD or MetaImage file, or a folder of DICOM files.")
]
_Run = Annotated[
    Path, typer.Option(metavar="RUN", help="Run of ictmri reproduce, or one model.safetensors.")
]
_Report = Annotated[Path, typer.Option(help="The report, one offline page.")]
_Prior = Annotated[
    Path | None, typer.Option(help="Write the refined prior in the scan's own space, .nii.gz.")
]
_Json = Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")]
_Settings = Annotated[
    Preset | None,
    typer.Option(help="Of the processing [default: those that the model learned with]."),
]
_Brain = Annotated[
    BrainName | None, typer.Option(help="Another brain extraction than the settings'.")
]
_Mask = Annotated[Path | None, typer.Option(help="Your own brain mask on the scan's grid.")]
_Title = Annotated[str, typer.Option(help="Heading of the report; no name of a patient.")]
_Force = Annotated[
    bool, typer.Option(help="Put probabilities into the report that are not valid, struck out.")
]


def predict(  # noqa: PLR0913
    scan: _Scan,
    *,
    model: _Run,
    out: _Report = Path("report.html"),
    prior: _Prior = None,
    json: _Json = None,
    settings: _Settings = None,
    brain: _Brain = None,
    mask: _Mask = None,
    title: _Title = "Scan",
    force: _Force = False,
    backbone: Backbone = None,
) -> None:
    """Process, localise and diagnose a scan of your own. Research use only, not a medical device.

    The report is one HTML file: probabilities and what they are worth, the prior, where the models looked,
    a viewer, quality control. A scan that fails the quality control, or in which no lesion was found,
    gets a report without probabilities, and the exit code 1.

    Example: ictmri predict scan.nii.gz --model out/table2-5 --out report.html --prior prior.nii.gz
    """
    need_baselines()
    from ictmri_baselines.predict import Request, virtual_biopsy

    request = Request(
        scan=scan,
        model=model,
        out=out,
        prior=prior,
        json=json,
        settings=settings,
        brain=brain,
        mask=mask,
        title=title,
        force=force,
        backbone=backbone,
    )
    made = virtual_biopsy(request)
    _tell(made, request)


def _tell(made: Biopsy, request: Request) -> None:
    """Say on the terminal what the report says."""
    from ictmri.classes import CLASS_TITLES
    from ictmri_baselines.predict.decision import STATES
    from ictmri_baselines.predict.result import NOTICE, SYNTHETIC_NOTICE
    from ictmri_baselines.predict.words import percent

    outcome = made.outcome
    if made.diagnosis is None:
        step = f"look at {request.out}"
        if STATES[outcome.state].forceable:
            step += "; --force puts probabilities into it all the same, struck out"
        problem = f"{outcome.sentence}, so there is no diagnosis"
        raise InputError(problem, list(outcome.reasons), step)
    mark = "doubtful" if outcome.valid else "not valid"
    for reason in outcome.reasons:
        echo(f"{mark}: {reason}", err=True)
    if made.models.synthetic:
        echo(f"warning: {SYNTHETIC_NOTICE}", err=True)
    if outcome.valid:
        shares = zip(CLASS_TITLES.values(), made.diagnosis.mean, strict=True)
        echo(", ".join(f"{name} {percent(share)}" for name, share in shares))
    else:
        echo(f"{outcome.sentence}: the probabilities stand in the report, struck out", err=True)
    if request.prior is not None and made.marked is not None:
        volume = made.marked.volumes()["refined_ml"]
        echo(f"Prior: {request.prior}, {volume:.1f} ml in the scan's own space")
    echo(f"Report: {request.out}\n{NOTICE}")
