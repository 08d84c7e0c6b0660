"""The command that writes a cohort in other tools' layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ictmri.cli.output import echo
from ictmri.cli.parameters import CohortArgument
from ictmri.errors import InputError


def export(
    cohort: CohortArgument,
    *,
    to: Annotated[
        Literal["bids", "monai", "nnunet", "nifti", "folds"],
        typer.Option(
            help="BIDS 1.10, MONAI datalists, nnU-Net v2, plain NIfTI with a table, or the folds alone: "
            "ids and numbers without a label or volume, for anybody."
        ),
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
    if to == "folds":
        if config is not None:
            raise InputError("--config", ["folds have no volumes"], "leave it out")
        _export_folds(cohort, out)
        return
    from ictmri.export.write import export_cohort
    from ictmri.lookup import find_cohort

    found = find_cohort(cohort)
    done = export_cohort(found, to, out, config=config)
    kind = "SYNTHETIC phantom, " if found.synthetic else ""
    echo(
        f"{out}: {to} export of {found.name} ({kind}{found.manifest.n_cases} cases, "
        f"{len(done.record['files'])} files, {done.n_bytes / 1e6:.0f} MB)"
    )


def _export_folds(cohort: str, out: Path) -> None:
    from ictmri.folds import public_folds
    from ictmri.io.files import write_text
    from ictmri.lookup import find_folds

    table, synthetic = find_folds(cohort)
    text, path = public_folds(table), out / f"{table.name}-folds.csv"
    if path.exists() and path.read_bytes() != text.encode():
        raise InputError(str(path), ["other folds lie there"], "choose another --out")
    write_text(path, text)
    kind = "SYNTHETIC phantom, " if synthetic else ""
    echo(f"{path}: folds of {table.name} ({kind}{len(table.rows)} cases), no label")
