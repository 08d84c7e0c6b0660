"""The command that writes a cohort in other tools' layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ictmri.cli.output import echo


def export(
    cohort: Annotated[str, typer.Argument(help="Dataset name or cohort folder.")],
    *,
    to: Annotated[
        Literal["bids", "monai", "nnunet", "nifti"],
        typer.Option(help="BIDS 1.10, MONAI datalists, nnU-Net v2, or plain NIfTI with a table."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    config: Annotated[
        Literal["default", "processed", "truth"] | None,
        typer.Option(
            help="Which volumes [default: default; for nnunet the ones that have labels].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a cohort in the layout of another tool, with our folds.

    Volumes leave as they are stored, headers in mm; the folder is as private as the cohort.

    Example: ictmri export ictmri-phantom --to bids --out out/phantom-bids
    """
    from ictmri.export.write import export_cohort
    from ictmri.lookup import find_cohort

    found = find_cohort(cohort)
    done = export_cohort(found, to, out, config=config)
    kind = "SYNTHETIC phantom, " if found.synthetic else ""
    echo(
        f"{out}: {to} export of {found.name} ({kind}{found.manifest.n_cases} cases, "
        f"{len(done.record['files'])} files, {done.n_bytes / 1e6:.0f} MB)"
    )
