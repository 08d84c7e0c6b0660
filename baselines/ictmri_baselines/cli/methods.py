"""Commands that run methods, demo and reproduce, and what ``ictmri list`` shows of the baselines."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ictmri.cli.first_lines import first_line
from ictmri.cli.output import echo
from ictmri.cli.parameters import CohortOption, Jobs, numbers
from ictmri.errors import InputError
from ictmri.extras import need_baselines
from ictmri_baselines.cli.volumes import Scheduler
from ictmri_baselines.registry import BACKBONES, DETECTORS, METHODS, recipe_ids

if TYPE_CHECKING:
    from ictmri_baselines.reproduction.recipe import Profile, Recipe
    from ictmri_baselines.reproduction.reproduce import Run

_Profile = Annotated[Literal["smoke", "cpu", "paper"], typer.Option(help="Size of the training.")]
_DemoOut = Annotated[Path, typer.Option(help="Folder for everything the demo makes.")]
_Recipe = Annotated[
    str | None,
    typer.Argument(
        help="Recipe id, or a recipe file; its method is a path module:function of your own, or one of "
        f"{', '.join(METHODS)}.",
        show_default=False,
        autocompletion=recipe_ids,
    ),
]
_Out = Annotated[Path, typer.Option(help="Folder of the run; with --all, of all runs.")]
_All = Annotated[
    bool, typer.Option("--all", help="Every recipe that ships and needs no file of yours.")
]
_Folds = Annotated[str, typer.Option(help="Only these folds, e.g. 0,1 [default: all].")]
_Seeds = Annotated[str, typer.Option(help="Seeds, e.g. 0,1,2 [default: the recipe's].")]
_Results = Annotated[
    Path | None,
    typer.Option(
        help="Folder for README.md and results.json: all finished runs beside this one, with what "
        "the paper reports [default with --all: that of the runs].",
        show_default=False,
    ),
]


_ToEntries = Annotated[
    Path | None,
    typer.Option(
        "--entries",
        help="Hand each finished run in as an entry of this folder; the tables are then of the entries "
        "there.",
        show_default=False,
    ),
]


def demo(
    out: _DemoOut = Path("out/demo"),
    *,
    n_cases: Annotated[int, typer.Option(min=40, help="Cases of the phantom.")] = 249,
    profile: _Profile = "cpu",
    jobs: Jobs = None,
) -> None:
    """Run the whole benchmark on the SYNTHETIC phantom: minutes on 2 cores, resumable.

    Example: ictmri demo --out out/demo
    """
    need_baselines()
    from ictmri_baselines.reproduction.demo import run_demo
    from ictmri_benchmark.board.views import render_table

    done = run_demo(
        out, n_cases=n_cases, profile=profile, jobs=jobs, say=lambda line: echo(line, err=True)
    )
    echo(render_table(done.leaderboard))
    echo(f"\nOpen this: {done.page}")
    echo(f'Load the cohort: ictmri.load_dataset("{done.cohort.root}", fold=0)')
    echo("\nAdd your own; until you have predictions, the demo's radiomics stand in for them:\n")
    for words in own_entry(out, done.cohort.root):
        echo("  " + " ".join(map(shlex.quote, words)))


def own_entry(out: Path, cohort: Path) -> list[list[str]]:
    """Return the commands that put predictions onto the demo's board."""
    # `make demo` calls it by a path that may not be the user's.
    called = "ictmri" if shutil.which("ictmri") else sys.argv[0]
    predictions, entries = "mine.csv", str(out / "entries")
    of = ["--cohort", str(cohort)]
    return [
        ["cp", str(out / "entries" / "controls-radiomics" / "predictions.csv"), predictions],
        [called, "leaderboard", "--with", predictions, "--entries", entries, *of],
        [called, "entry", "new", "--name", "My method", *of],
        [called, "submit", predictions, "--entry", "entry.yaml", "--entries", entries, *of],
        [called, "leaderboard", "--entries", entries, *of, "--out", str(out)],
    ]


def reproduce(  # noqa: PLR0913
    recipe: _Recipe = None,
    *,
    out: _Out,
    every: _All = False,
    cohort: CohortOption = "ictmri",
    folds: _Folds = "",
    seeds: _Seeds = "",
    profile: _Profile = "cpu",
    results: _Results = None,
    entries: _ToEntries = None,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
) -> None:
    """Make an entry from a recipe: predictions, report and entry.yaml.

    What is finished is kept: the same command goes on where it was stopped.

    Example: ictmri reproduce table2/5 --cohort ictmri-phantom --out out/baselines/table2-5
    """
    need_baselines()
    from ictmri.lookup import find_cohort, find_folds
    from ictmri_baselines.reproduction.reproduce import chosen_folds
    from ictmri_baselines.reproduction.reproduce import reproduce as run
    from ictmri_baselines.reproduction.results import collect, hand_in, write_results

    only = numbers("--folds", folds) if folds else None
    drawn = numbers("--seeds", seeds) if seeds else None
    recipes = _chosen(recipe, profile, every=every)
    # Before volumes are fetched or made.
    chosen_folds(only, find_folds(cohort)[0].n_folds)
    for one in recipes:
        _warn(one, profile)
        done = run(
            one,
            find_cohort(cohort),
            out / one.slug if every else out,
            folds=only,
            seeds=drawn,
            profile=profile,
            jobs=jobs,
            scheduler=scheduler,
        )
        _tell(one, done)
        if entries is not None and done.complete:
            table, synthetic = find_folds(cohort)
            echo(f"Handed in: {hand_in(done.out, table, entries, synthetic=synthetic)}")
    if only is None and (every or results is not None):
        runs = out if every else out.resolve().parent
        table, synthetic = find_folds(cohort)
        write_results(results or runs, collect(entries or runs, table, synthetic=synthetic))
        echo(f"\nReported | reproduced: {(results or runs) / 'README.md'}")


def _chosen(recipe: str | None, profile: Profile, *, every: bool) -> list[Recipe]:
    from ictmri_baselines.reproduction.recipe import load_recipe

    if every == (recipe is not None):
        problem = "both a recipe and --all" if every else "no recipe"
        raise InputError("ictmri reproduce", [problem], "give a recipe, or --all")
    if recipe is not None:
        return [load_recipe(recipe)]
    return [one for one in map(load_recipe, recipe_ids()) if not one.missing(profile)]


def _warn(recipe: Recipe, profile: Profile) -> None:
    for line in recipe.overruled(profile):
        echo(f"{recipe.id}: {line}", err=True)
    for path in recipe.imports(profile):
        echo(f"{recipe.id} imports {path}, which is not this package's", err=True)


def _tell(recipe: Recipe, done: Run) -> None:
    if done.report is None:
        echo(f"{done.out}: these folds are done; the entry follows when all are")
        return
    echo(done.report.render())
    if recipe.reported:
        echo(_reported(recipe.reported, synthetic=done.synthetic))
    echo(f"\nEntry: {done.out}")


def _reported(slug: str, *, synthetic: bool) -> str:
    from ictmri_benchmark.board.leaderboard import reported_rows
    from ictmri_benchmark.score.metrics import PRINTED

    row = next((row for row in reported_rows() if row["slug"] == slug), None)
    if row is None:
        return f"\nbenchmark/reported.yaml has no row {slug}: nothing to hold this against."
    named = [metric.plain for metric in PRINTED if row[metric.plain] is not None]
    numbers = ", ".join(f"{name} {row[name]}" for name in named)
    about = " Not to be compared: this cohort is SYNTHETIC." if synthetic else ""
    return f"\nReported, in percent, on the clinical cohort ({row['source']}): {numbers}.{about}"


def list_recipes() -> Iterator[tuple[str, str]]:
    """Yield id and name of the recipes that ship."""
    from ictmri_baselines.reproduction.recipe import load_recipe

    for name in recipe_ids():
        yield name, load_recipe(name).name


def list_methods() -> Iterator[tuple[str, str]]:
    """Yield name and line of the methods that a recipe may name."""
    for name, method in METHODS.items():
        yield name, first_line(method.function)


def list_backbones() -> Iterator[tuple[str, str]]:
    """Yield name and line of the backbones that ``--backbone`` may name."""
    for name, backbone in BACKBONES.items():
        yield name, first_line(backbone.settings)


def list_detectors() -> Iterator[tuple[str, str]]:
    """Yield name and line of the detectors that ``--detector`` may name."""
    for name, settings in DETECTORS.items():
        yield name, first_line(settings)
