"""Parameters that several commands have: one meaning, one line of help, one completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from ictmri.cli.cohorts import list_cohorts
from ictmri.errors import InputError
from ictmri.io.tables import Format

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
Form = Annotated[
    Format,
    typer.Option(
        "--format", help="Of what is printed; csv, latex and markdown are the table alone."
    ),
]


def numbers(option: str, text: str) -> list[int]:
    """Return whole numbers separated by commas, each once, in order.

    Raises:
        InputError: one of them is no whole number.
    """
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal() and len(part) < 10)]
    if wrong:
        raise InputError(option, [f"{part!r} is not a number" for part in wrong], "give e.g. 0,1,2")
    return sorted({int(part) for part in parts})
