"""The command that publishes the models of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ictmri.cli.needs import need_baselines
from ictmri.cli.output import echo
from ictmri.errors import InputError


def publish_model(
    run: Annotated[
        Path, typer.Argument(help="Whole run of ictmri reproduce that kept its models.")
    ],
    repo_id: Annotated[str, typer.Option(help="ORG/NAME on the Hugging Face Hub.")] = "",
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the release, show every file, send nothing.")
    ] = False,
    gate: Annotated[
        Literal["manual", "auto", "none"] | None,
        typer.Option(help="Who may read the files [default: manual; none for a phantom's]."),
    ] = None,
    visible: Annotated[
        bool, typer.Option("--visible", help="List the repository for everyone at the end.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Of the weights [default: apache-2.0 for a phantom's]."),
    ] = None,
) -> None:
    """Publish the models of a run on the Hugging Face Hub: weights, settings, a card with its scores.

    What is sent is made as RUN.model beside the run first: look at it. Predictions, ids of cases, folds and
    logs stay here. A new repository is private until you make it visible.

    Example: ictmri publish-model out/table2-5 --repo-id clinic/biopsy --dry-run
    """
    need_baselines()
    from ictmri.release.make_release import Order
    from ictmri_baselines.predict import release as releases

    if not repo_id:
        step = "give ORG/NAME, e.g. --repo-id clinic/biopsy"
        raise InputError("--repo-id", ["is missing"], step)
    made = releases.make_model_release(run, repo_id, licence)
    order = Order(repo_id, gate or ("none" if made.synthetic else "manual"), visible)
    for line in releases.plan_lines(made, order):
        echo(line)
    if dry_run:
        echo("Dry run: nothing was sent.")
        return
    done = releases.publish_model(made, order)
    echo(f"{'Published' if done.new else 'Published before'}: {done.url}")
    if not visible:
        echo("It is private. To list it for everyone, run again with --visible.")
    echo(f"Use: ictmri predict scan.nii.gz --model {repo_id}@{done.commit}")
