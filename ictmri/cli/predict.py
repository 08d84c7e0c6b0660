"""The command for one's own scan: predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ictmri.cli.needs import need_baselines
from ictmri.cli.volumes import Brain, Preset
from ictmri.errors import InputError

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


def predict(  # noqa: PLR0913
    scan: Annotated[
        Path,
        typer.Argument(help="NIfTI, NRRD or MetaImage file, or a folder of DICOM files."),
    ],
    *,
    model: Annotated[
        Path,
        typer.Option(metavar="RUN", help="Run of ictmri reproduce, or one model.safetensors."),
    ],
    out: Annotated[Path, typer.Option(help="The report, one offline page.")] = Path("report.html"),
    prior: Annotated[
        Path | None,
        typer.Option(help="Write the refined prior in the scan's own space, .nii.gz."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
    settings: Annotated[
        Preset | None,
        typer.Option(help="Of the processing [default: those that the model learned with]."),
    ] = None,
    brain: Annotated[
        Brain | None, typer.Option(help="Another brain extraction than the settings'.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Your own brain mask on the scan's grid.")
    ] = None,
    title: Annotated[
        str, typer.Option(help="Heading of the report; no name of a patient.")
    ] = "Scan",
    force: Annotated[
        bool, typer.Option(help="Give probabilities although the scan fails the quality control.")
    ] = False,
    backbone: Backbone = None,
) -> None:
    """Process, localise and diagnose a scan of your own. Research use only, not a medical device.

    The report is one HTML file: probabilities and what they are worth, the prior, where the models looked,
    a viewer, quality control. A scan that fails the quality control gets a report without probabilities,
    and the exit code 1.

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
        settings=None if settings is None else settings.value,
        brain=None if brain is None else brain.value,
        mask=mask,
        title=title,
        force=force,
        backbone=backbone,
    )
    made = virtual_biopsy(request)
    _tell(made, request)


def _tell(made: Biopsy, request: Request) -> None:
    from ictmri_baselines.predict.result import NOTICE, SYNTHETIC_NOTICE
    from ictmri_baselines.predict.words import percent

    failures = [
        f"{found.code}: {found.text}" for found in made.findings if found.severity == "exclude"
    ]
    if made.diagnosis is None:
        step = f"look at {request.out}; --force gives probabilities all the same"
        raise InputError(
            "the scan did not pass the quality control, so there is no diagnosis", failures, step
        )
    for failure in failures:
        typer.echo(f"not valid: {failure}", err=True)
    if made.models.synthetic:
        typer.echo(f"warning: {SYNTHETIC_NOTICE}", err=True)
    from ictmri.classes import CLASS_TITLES

    shares = zip(CLASS_TITLES.values(), made.diagnosis.mean, strict=True)
    typer.echo(", ".join(f"{name} {percent(share)}" for name, share in shares))
    typer.echo(f"Report: {request.out}\n{NOTICE}")
