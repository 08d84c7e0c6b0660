"""Commands that score: evaluate, compare, submit, leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.output import echo, show
from ictmri.cli.parameters import CohortOption, JsonFile, numbers
from ictmri.errors import InputError
from ictmri_benchmark.score.protocol import IntervalKind, Overlap

Predictions = Annotated[Path, typer.Argument(help="predictions.csv of all cases.")]
_UNROUND = "Divide the probabilities of each case by their sum (of rounded ones, or percent)."
Normalize = Annotated[bool, typer.Option("--normalize", help=_UNROUND)]


def evaluate(  # noqa: PLR0913
    predictions: Predictions,
    *,
    cohort: CohortOption = "ictmri",
    folds: Annotated[
        str, typer.Option(help="Only these folds, e.g. 0,1: for development, never ranked.")
    ] = "",
    normalize: Normalize = False,
    json_file: JsonFile = None,
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
    show(report.render(), report.to_json(), json_file)


def compare(
    first: Annotated[Path, typer.Argument(help="predictions.csv of all cases.", metavar="A.csv")],
    second: Annotated[Path, typer.Argument(help="The same of another method.", metavar="B.csv")],
    *,
    cohort: CohortOption = "ictmri",
    normalize: Normalize = False,
    json_file: JsonFile = None,
) -> None:
    """Compare two predictions files: difference with its paired interval, and whether it is chance.

    The difference is A minus B in the metric that ranks the board, tested as the board tests its entries.

    Example: ictmri compare mine.csv out/radiomics/predictions.csv --cohort ictmri-phantom
    """
    from ictmri_benchmark import compare as compared

    found = compared(first, second, cohort, normalize=normalize)
    show(found.render(), found.to_json(), json_file)


def submit(
    predictions: Predictions,
    entry: Annotated[Path, typer.Option(help="entry.yaml that describes the method.")],
    *,
    cohort: CohortOption = "ictmri",
    entries: Annotated[Path, typer.Option(help="Folder of all entries.")] = Path(
        "benchmark/entries"
    ),
    correct: Annotated[
        str, typer.Option(help="Why the entry of this slug is replaced; stands in the ledger.")
    ] = "",
) -> None:
    """Check a submission as a whole, score it, and write it as an entry.

    Its row is added to ledger.csv beside the entries folder.

    Example: ictmri submit predictions.csv --entry entry.yaml --cohort ictmri-phantom
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.submission import submit as take

    table, synthetic = find_folds(cohort)
    done = take(predictions, entry, table, entries, synthetic=synthetic, correcting=correct)
    echo(done.report.render())
    for flag in done.flags:
        echo(f"to look at: {flag}")
    echo(f"\nEntry written: {done.folder}")


def leaderboard(
    out: Annotated[Path, typer.Option(help="Folder for leaderboard.json and .html.")] = Path("out"),
    *,
    entries: Annotated[Path, typer.Option(help="Folder of all entries.")] = Path(
        "benchmark/entries"
    ),
    cohort: CohortOption = "ictmri",
) -> None:
    """Rescore every entry from its predictions and render the leaderboard.

    Example: ictmri leaderboard --entries out/demo/entries --cohort ictmri-phantom --out out
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.leaderboard import (
        build_leaderboard,
        render_table,
        write_leaderboard,
    )

    table, synthetic = find_folds(cohort)
    board = build_leaderboard(entries, table, synthetic=synthetic)
    write_leaderboard(out, board)
    echo(render_table(board))
    echo(f"\nLeaderboard: {out / 'leaderboard.html'}")
