"""Commands about entries: their schema, their withdrawal, and the gate for contributions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

entry_app = typer.Typer(help="Entries of the leaderboard.", no_args_is_help=True)

Entries = Annotated[Path, typer.Option(help="Folder of all entries.")]


@entry_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of entry.yaml.

    Example: ictmri entry schema > submission-1.json
    """
    from ictmri_benchmark.entry import json_schema

    typer.echo(json_schema(), nl=False)


@entry_app.command("withdraw")
def withdraw(
    slug: Annotated[str, typer.Argument(help="Slug of the entry.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; stands in the ledger for good.")],
    entries: Entries = Path("benchmark/entries"),
) -> None:
    """Withdraw an entry: its folder goes, its rows in the ledger stay.

    Example: ictmri entry withdraw my-method --reason "trained on test cases by mistake"
    """
    from ictmri_benchmark.submission import withdraw_entry

    withdraw_entry(entries, slug, reason)
    typer.echo(f"{slug}: withdrawn, see {entries.resolve().parent / 'ledger.csv'}")


def gate(
    head: Annotated[str, typer.Argument(help="Commit of the contribution.")],
    *,
    base: Annotated[str, typer.Option(help="Commit of the base branch.")] = "HEAD",
    repository: Annotated[Path, typer.Option(help="Checkout of the base branch.")] = Path(),
    cohort: Annotated[str, typer.Option(help="Dataset name or cohort folder.")] = "ictmri",
) -> None:
    """Check and score contributed entries; nothing of the contribution is checked out or run.

    Prints Markdown for the pull request.

    Example: ictmri gate FETCH_HEAD --base HEAD --cohort ictmri-phantom
    """
    from ictmri.cohort import find_folds
    from ictmri_benchmark.gate import gate as check

    table, synthetic = find_folds(cohort)
    typer.echo(check(repository, base, head, table, synthetic=synthetic).markdown())
