"""Commands that score: evaluate, compare, submit, leaderboard."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.cohorts import list_cohorts
from ictmri.cli.output import STDOUT, echo, show
from ictmri.cli.parameters import CohortOption, Form, JsonFile, numbers
from ictmri.errors import InputError
from ictmri.io.files import canonical_json
from ictmri_benchmark.score.protocol import IntervalKind, Overlap

Predictions = Annotated[Path, typer.Argument(help="predictions.csv of all cases.")]
_UNROUND = "Divide the probabilities of each case by their sum (of rounded ones, or percent)."
Normalize = Annotated[bool, typer.Option("--normalize", help=_UNROUND)]
Entries = Annotated[
    Path | None,
    typer.Option(help="Folder of all entries of the cohort.", show_default="entries/COHORT"),
]


def evaluate(  # noqa: PLR0913
    predictions: Predictions,
    *,
    cohort: CohortOption = "ictmri",
    folds: Annotated[
        str, typer.Option(help="Only these folds, e.g. 0,1: for development, never ranked.")
    ] = "",
    normalize: Normalize = False,
    json_file: JsonFile = None,
    form: Form = "text",
    interval: Annotated[
        IntervalKind, typer.Option(help="Bootstrap interval; the board shows percentile.")
    ] = "percentile",
    external: Annotated[
        bool, typer.Option("--external", help="The model was trained on another cohort.")
    ] = False,
    trained_on: Annotated[
        str | None, typer.Option(metavar="NAME", help="External: the cohort that it learned from.")
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option(help="External: are patients in both cohorts?")
    ] = "unknown",
) -> None:
    """Score a predictions file: headline metrics with intervals, per class, by fold.

    Columns: case_id,p_glioma,p_pcnsl,p_germinoma,p_rare (and seed), or case_id,prediction.

    With --external all cases are scored at once, without folds, as of a model that saw none of them.

    Example: ictmri evaluate predictions.csv --cohort ictmri-phantom --json report.json
    """
    from ictmri_benchmark import evaluate as score

    if external != (trained_on is not None):
        given, other = ("--external", "--trained-on NAME")[:: 1 if external else -1]
        raise InputError(given, [f"needs {other} beside it"], "ictmri evaluate --help")
    report = score(
        predictions,
        cohort,
        folds=numbers("--folds", folds) if folds else None,
        normalize=normalize,
        interval=interval,
        external=trained_on,
        overlap=overlap,
    )
    show(report.render(), report.to_json(), json_file, form, report.table)


def compare(
    first: Annotated[Path, typer.Argument(help="predictions.csv of all cases.", metavar="A.csv")],
    second: Annotated[Path, typer.Argument(help="The same of another method.", metavar="B.csv")],
    *,
    cohort: CohortOption = "ictmri",
    normalize: Normalize = False,
    json_file: JsonFile = None,
    form: Form = "text",
) -> None:
    """Compare two predictions files: difference with its paired interval, and whether it is chance.

    The difference is A minus B in the metric that ranks the board, tested as the board tests its entries.

    Example: ictmri compare mine.csv out/radiomics/predictions.csv --cohort ictmri-phantom
    """
    from ictmri_benchmark import compare as compared

    found = compared(first, second, cohort, normalize=normalize)
    show(found.render(), found.to_json(), json_file, form, found.table)


def submit(
    predictions: Predictions,
    entry: Annotated[
        Path | None,
        typer.Option(
            help="entry.yaml that describes the method.", show_default="beside the predictions"
        ),
    ] = None,
    *,
    cohort: CohortOption = "ictmri",
    entries: Entries = None,
    normalize: Normalize = False,
    correct: Annotated[
        str, typer.Option(help="Why the entry of this slug is replaced; stands in the ledger.")
    ] = "",
) -> None:
    """Check a submission as a whole, score it, and write it as an entry of your own.

    It lies in entries/COHORT/SLUG of the working directory, its row in the ledger.csv beside it, and
    `ictmri leaderboard` shows it among the published ones. Nothing is sent anywhere.

    Example: ictmri submit predictions.csv --entry entry.yaml --cohort ictmri-phantom
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.folders import local_entries
    from ictmri_benchmark.board.submission import submit as take

    table, synthetic = find_folds(cohort)
    described = predictions.with_name("entry.yaml") if entry is None else entry
    place = local_entries(table.name) if entries is None else entries
    done = take(
        predictions,
        described,
        table,
        place,
        synthetic=synthetic,
        correcting=correct,
        normalize=normalize,
    )
    echo(done.report.render())
    for flag in done.flags:
        echo(f"to look at: {flag}")
    echo(f"\nEntry written: {done.folder}")
    echo("Publish it: a pull request that adds it to benchmark/entries, see benchmark/RULES.md")


def leaderboard(
    *,
    cohort: Annotated[
        str,
        typer.Option(
            help="Dataset name or cohort folder.",
            show_default="every board there is",
            autocompletion=list_cohorts,
        ),
    ] = "",
    given: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="PREDICTIONS.csv",
            help="Show these among the entries, ranked with them; may be given again.",
            show_default=False,
        ),
    ] = None,
    normalize: Normalize = False,
    entries: Annotated[
        Path | None,
        typer.Option(
            help="Only the entries, or runs of ictmri reproduce, of this folder.",
            show_default="the published ones, and yours in entries/COHORT",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write leaderboard.json and .html there; each board of several into its own folder.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Draw for papers: figures (SVG, PNG) and their tables (CSV, LaTeX) into this folder.",
            show_default=False,
        ),
    ] = None,
    json_file: JsonFile = None,
    form: Form = "text",
) -> None:
    """Rescore every entry from its predictions and show the leaderboard; without --out nothing is written.

    Example: ictmri leaderboard --with predictions.csv
    """
    from ictmri.extras import need
    from ictmri_benchmark import leaderboard as board_of
    from ictmri_benchmark.board.choice import chosen_cohorts
    from ictmri_benchmark.outlets.figures import write_figures

    if figures is not None:
        need("figures", "Drawing figures")
    names = [cohort] if cohort else chosen_cohorts(given or [], entries)
    if len(names) > 1 and form not in ("text", "json"):
        step = f"name one: --cohort {names[-1]}"
        raise InputError(f"--format {form}", [f"the boards are {', '.join(names)}"], step)
    boards = [
        board_of(
            name,
            with_={str(path): path for path in given or []},
            entries=entries,
            normalize=normalize,
        )
        for name in names
    ]
    first, *others = boards
    documents = [board.content for board in boards] if others else first.content
    show(
        "\n\n".join(board.render() for board in boards),
        canonical_json(documents),
        json_file,
        form,
        first.table if first.rows else first.reported_table,
    )
    # What a program reads stays alone.
    tell = partial(echo, err=form != "text" or json_file == STDOUT)
    if figures is not None:
        # A board of reported rows alone has nothing to draw, which is no fault beside others.
        for board in [board for board in boards if board.rows] or boards:
            place = figures / board.content["cohort"] if len(boards) > 1 else figures
            drawn = dict.fromkeys(path.stem for path in write_figures(place, board.content))
            tell(f"\nFigures: {place}: {', '.join(drawn)} (svg, png, csv, tex)")
    if out is None:
        told = (
            "As a page: --out DIR. Yours among them: --with predictions.csv, to keep: ictmri submit"
        )
        tell(f"\n{told}")
        return
    for board in boards:
        place = out / board.content["cohort"] if len(boards) > 1 else out
        tell(f"\nLeaderboard: {board.write(place)}")
