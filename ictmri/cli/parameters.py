"""Parameters that several commands have: one meaning, one line of help, one completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from ictmri.cli.cohorts import list_cohorts

_HELP: Final = "Dataset name or cohort folder."


CohortArgument = Annotated[str, typer.Argument(help=_HELP, autocompletion=list_cohorts)]
CohortOption = Annotated[str, typer.Option("--cohort", help=_HELP, autocompletion=list_cohorts)]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Worker processes [default: all usable cores].")
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write JSON there, every digit; - prints it, and nothing else.",
        dir_okay=False,
    ),
]
