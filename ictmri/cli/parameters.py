"""Parameters that several commands have: one meaning, one line of help, one completion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from ictmri.errors import InputError
from ictmri.io.tables import Format

if TYPE_CHECKING:
    from ictmri.cohort import Cohort


def list_cohorts() -> Iterator[tuple[str, str]]:
    """Yield name and line of the cohorts that have a name, and of those that lie where cohorts do."""
    from ictmri.cohort import CLINICAL, PHANTOM
    from ictmri.lookup import GATED_SOURCE, cohorts_nearby, local_cohort

    absent = {
        CLINICAL: f"clinical, not here: ask for access at {GATED_SOURCE}",
        PHANTOM: "SYNTHETIC, 249 cases, not here: scoring needs no volumes, loading makes them",
    }
    seen = set()
    for name, line in absent.items():
        try:
            found = local_cohort(name)
        except InputError as error:
            yield name, f"damaged: {error.problems[0]}"
            continue
        yield name, line if found is None else _cohort_line(found)
        seen |= {found.root.resolve()} if found else set()
    for found in cohorts_nearby():
        if found.root.resolve() not in seen:
            yield str(found.root), _cohort_line(found)


def _cohort_line(cohort: Cohort) -> str:
    manifest = cohort.manifest
    kind = "SYNTHETIC, " if cohort.synthetic else ""
    configs = ", ".join(manifest.configs)
    return f"{kind}{manifest.n_cases} cases, {cohort.name} {manifest.version} ({configs}), in {cohort.root}"


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
Gate = Annotated[
    Literal["manual", "auto", "none"] | None,
    typer.Option(help="Who may read the files [default: manual; none for a phantom]."),
]
RepoId = Annotated[str, typer.Option(help="ORG/NAME on the Hugging Face Hub.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Make the release, show everything, send nothing.")
]
Visible = Annotated[
    bool, typer.Option("--visible", help="List the repository for everyone at the end.")
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
