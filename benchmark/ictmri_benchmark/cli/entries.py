"""Commands about entries: new, schema, withdrawal, export, and the gate for contributions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ictmri.cli.output import echo
from ictmri.cli.parameters import CohortOption
from ictmri.cli.places import Commands
from ictmri.errors import InputError
from ictmri_benchmark.cli.scoring import Entries, EntryCohort, TrainedOn, folds_of_entry
from ictmri_benchmark.score.protocol import Selection

if TYPE_CHECKING:
    from ictmri.folds import FoldTable

entry_app = Commands(help="Entries of the leaderboard.", no_args_is_help=True)


@entry_app.command("new")
def new(  # noqa: PLR0913
    *,
    cohort: CohortOption = "ictmri",
    out: Annotated[Path, typer.Option(help="File to write; never one that is there.")] = Path(
        "entry.yaml"
    ),
    name: Annotated[str, typer.Option(help="Of the method, as the leaderboard shows it.")] = "",
    summary: Annotated[str, typer.Option(help="One sentence on what was done.")] = "",
    author: Annotated[list[str] | None, typer.Option(help="May be given again.")] = None,
    licence: Annotated[str, typer.Option(help="Of code or model, e.g. MIT.")] = "",
    selection: Annotated[
        Selection | None, typer.Option(help="How the model was chosen.", show_default=False)
    ] = None,
    trained_on: TrainedOn = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Any field, e.g. inputs.prior=own; may be given again.",
        ),
    ] = None,
) -> None:
    """Write an entry.yaml that is valid for a cohort, with a comment on each field.

    On a terminal it asks for what is not given; elsewhere examples stand there, to be replaced by you.

    Example: ictmri entry new --cohort ictmri-phantom --name "My method" --author "Jane Doe"
    """
    from ictmri.io.files import write_text
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.new_entry import asked_fields, new_entry

    if out.exists():
        raise InputError(str(out), ["exists already"], "edit it, or choose another file with --out")
    table, synthetic = find_folds(cohort)
    options = {
        "method.name": name,
        "method.summary": summary,
        "method.authors": author,
        "method.licence": licence,
        "selection": selection,
        "trained_on": trained_on,
    }
    given = {place: value for place, value in options.items() if value} | _set(fields or [])
    new_entry(table, given, synthetic=synthetic)
    if sys.stdin.isatty():
        _ask(table, given, synthetic=synthetic)
    write_text(out, new_entry(table, given, synthetic=synthetic))
    echo(f"Entry written: {out}")
    left = [place for place, _ in asked_fields() if place not in given]
    if left:
        echo(f"Yours to say, examples stand there: {', '.join(left)}")
    of_folder = "" if cohort == table.name else f" --cohort {cohort}"
    echo(f"Next: ictmri submit predictions.csv --entry {out}{of_folder}")


def _set(fields: list[str]) -> dict[str, Any]:
    from ictmri_benchmark.board.new_entry import parsed_value

    wrong = [field for field in fields if "=" not in field]
    if wrong:
        problems = [f"{field!r} has no =" for field in wrong]
        raise InputError("--set", problems, "give FIELD=VALUE, e.g. inputs.prior=own")
    pairs = (field.partition("=") for field in fields)
    return {place.strip(): parsed_value(place.strip(), text.strip()) for place, _, text in pairs}


def _ask(table: FoldTable, given: dict[str, Any], *, synthetic: bool) -> None:
    """Ask for what only the submitter knows; an answer that is not valid is asked for again."""
    from ictmri_benchmark.board.new_entry import (
        asked_fields,
        example_text,
        explanation,
        new_entry,
        parsed_value,
    )

    echo("Enter takes what stands in brackets.")
    for place, field in asked_fields():
        if place in given:
            continue
        default = example_text(field)
        echo(f"\n{place}: {explanation(field)}")
        while place not in given:
            try:
                answer = {place: parsed_value(place, typer.prompt(place, default=default))}
                new_entry(table, given | answer, synthetic=synthetic)
            except InputError as error:
                echo("\n".join(error.problems), err=True)
            else:
                given.update(answer)


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
    cohort: EntryCohort = "",
) -> None:
    """Write an entry's scores for the Hugging Face Hub or Every Eval Ever, after scoring it again.

    Example: ictmri entry export my-method --to eval-results --out out/hub
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.folders import entry_folder, folder_with
    from ictmri_benchmark.outlets.every_eval_ever import write_eval_record
    from ictmri_benchmark.outlets.hub_results import rescore, write_eval_results, write_model_card

    named = find_folds(cohort) if cohort else None
    place = entries or folder_with(slug, named[0].name if named else "")
    table, synthetic = named or folds_of_entry(entry_folder(place, slug) / "entry.yaml")
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
