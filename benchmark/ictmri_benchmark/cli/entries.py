"""Commands about entries: schema, withdrawal, export, and the gate for contributions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ictmri.cli.output import echo
from ictmri.cli.parameters import CohortOption
from ictmri.cli.places import Commands

entry_app = Commands(help="Entries of the leaderboard.", no_args_is_help=True)

Entries = Annotated[
    Path | None,
    typer.Option(help="Folder of all entries of the cohort.", show_default="entries/COHORT"),
]


@entry_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of entry.yaml.

    Example: ictmri entry schema > submission-1.json
    """
    from ictmri_benchmark.board.entry import json_schema

    echo(json_schema(), nl=False)


@entry_app.command("withdraw")
def withdraw(
    slug: Annotated[str, typer.Argument(help="Slug of the entry.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; stands in the ledger for good.")],
    entries: Entries = None,
) -> None:
    """Withdraw an entry: its folder goes, its rows in the ledger stay.

    Example: ictmri entry withdraw my-method --reason "trained on test cases by mistake"
    """
    from ictmri_benchmark.board.folders import own_folder_with
    from ictmri_benchmark.board.ledger import ledger_path
    from ictmri_benchmark.board.submission import withdraw_entry

    place = own_folder_with(slug) if entries is None else entries
    withdraw_entry(place, slug, reason)
    echo(f"{slug}: withdrawn, see {ledger_path(place)}")


@entry_app.command("export")
def export(
    slug: Annotated[str, typer.Argument(help="Slug of the entry.")],
    *,
    to: Annotated[
        Literal["eval-results", "model-card", "every-eval-ever"],
        typer.Option(
            help="The Hub's .eval_results/SLUG.yaml, README.md with a model-index, or a record of Every "
            "Eval Ever."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into: a model's repository.")],
    dataset_id: Annotated[
        str, typer.Option(help="The cohort on the Hub, ORG/NAME.", show_default="ictmri/COHORT")
    ] = "",
    revision: Annotated[str, typer.Option(help="Tag, branch or commit of the cohort there.")] = "",
    entries: Entries = None,
    cohort: CohortOption = "ictmri",
) -> None:
    """Write an entry's scores for the Hugging Face Hub or Every Eval Ever, after scoring it again.

    Example: ictmri entry export my-method --to eval-results --cohort ictmri-phantom --out out/hub
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.folders import folder_with
    from ictmri_benchmark.outlets.every_eval_ever import write_eval_record
    from ictmri_benchmark.outlets.hub_results import rescore, write_eval_results, write_model_card

    table, synthetic = find_folds(cohort)
    place = folder_with(slug, table.name) if entries is None else entries
    done = rescore(place, slug, table, synthetic=synthetic)
    writers = {
        "eval-results": write_eval_results,
        "model-card": write_model_card,
        "every-eval-ever": write_eval_record,
    }
    path = writers[to](out, done, dataset_id or f"ictmri/{table.name}", revision)
    echo(f"{path}: scores of {slug}{' on a SYNTHETIC phantom' if synthetic else ''}")


def codabench(
    out: Annotated[Path, typer.Argument(help="Zip file to write.")],
    *,
    start: Annotated[str, typer.Option(help="First day of submissions, YYYY-MM-DD.")],
    cohort: CohortOption = "ictmri",
    per_day: Annotated[int, typer.Option(min=1, help="Submissions of a participant in a day.")] = 5,
    image: Annotated[
        str, typer.Option(help="Docker image with Python 3.11 and NumPy.", show_default=False)
    ] = "",
) -> None:
    """Write the benchmark as a competition for Codabench, with the evaluator inside.

    The file holds the labels: it is for the organiser.

    Example: ictmri codabench out/phantom.zip --cohort ictmri-phantom --start 2027-01-15
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.outlets.codabench import DEFAULT_IMAGE, write_bundle

    table, synthetic = find_folds(cohort)
    chosen = image or DEFAULT_IMAGE
    write_bundle(out, table, synthetic=synthetic, start=start, per_day=per_day, image=chosen)
    echo(f"{out}: Codabench bundle of {table.name}{' (SYNTHETIC)' if synthetic else ''}")


def gate(
    head: Annotated[str, typer.Argument(help="Commit of the contribution.")],
    *,
    base: Annotated[str, typer.Option(help="Commit of the base branch.")] = "HEAD",
    repository: Annotated[Path, typer.Option(help="Checkout of the base branch.")] = Path(),
    cohort: Annotated[
        str,
        typer.Option(
            help="Dataset name or cohort folder.", show_default="the one whose entries are changed"
        ),
    ] = "",
) -> None:
    """Check and score contributed entries; nothing of the contribution is checked out or run.

    Entries lie in benchmark/entries/COHORT/ of the repository. Prints Markdown for the pull request.

    Example: ictmri gate FETCH_HEAD --base HEAD
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.gate import contributed_cohort
    from ictmri_benchmark.board.gate import gate as check

    table, synthetic = find_folds(cohort or contributed_cohort(repository, base, head))
    echo(check(repository, base, head, table, synthetic=synthetic).markdown())
