"""Commands that score (evaluate, compare, submit, leaderboard), and the audit of reported numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ictmri.cli.output import STDOUT, echo, show
from ictmri.cli.parameters import CohortOption, Form, JsonFile, list_cohorts, numbers
from ictmri.errors import InputError
from ictmri.io.files import canonical_json
from ictmri_benchmark.score.protocol import IntervalKind, Overlap

if TYPE_CHECKING:
    from ictmri.folds import FoldTable
    from ictmri_benchmark.board.views import Leaderboard

Predictions = Annotated[Path, typer.Argument(help="predictions.csv of all cases.")]
_UNROUND = "Divide the probabilities of each case by their sum (of rounded ones, or percent)."
Normalize = Annotated[bool, typer.Option("--normalize", help=_UNROUND)]
TrainedOn = Annotated[
    str | None,
    typer.Option(
        "--trained-on",
        metavar="NAME",
        help="The cohort that the model learned from, where it is another: external validation.",
        show_default=False,
    ),
]
External = Annotated[
    Overlap, typer.Option("--overlap", help="External: are patients in both cohorts?")
]
EntryCohort = Annotated[
    str,
    typer.Option(
        "--cohort",
        help="Dataset name or cohort folder.",
        show_default="the one in entry.yaml",
        autocompletion=list_cohorts,
    ),
]
Entries = Annotated[
    Path | None,
    typer.Option(help="Folder of all entries of the cohort.", show_default="entries/COHORT"),
]

BoardCohort = Annotated[
    str,
    typer.Option(
        "--cohort",
        help="Dataset name or cohort folder.",
        show_default="every board there is",
        autocompletion=list_cohorts,
    ),
]
With = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        metavar="PREDICTIONS.csv",
        help="Show these among the entries, ranked with them; may be given again.",
        show_default=False,
    ),
]
OnlyEntries = Annotated[
    Path | None,
    typer.Option(
        "--entries",
        help="Only the entries, or runs of ictmri reproduce, of this folder.",
        show_default="the published ones, and yours in entries/COHORT",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write leaderboard.json and .html there; each board of several into its own folder.",
        show_default=False,
    ),
]
Figures = Annotated[
    Path | None,
    typer.Option(
        "--figures",
        help="Draw for papers: figures (SVG, PNG) and their tables (CSV, LaTeX) into this folder.",
        show_default=False,
    ),
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
        bool, typer.Option("--external", help="The same, said aloud: --trained-on is then needed.")
    ] = False,
    trained_on: TrainedOn = None,
    overlap: External = "unknown",
) -> None:
    """Score a predictions file: headline metrics with intervals, per class, by fold.

    Columns: case_id,p_glioma,p_pcnsl,p_germinoma,p_rare (and seed), or case_id,prediction.

    With --trained-on all cases are scored at once, without folds, as of a model that saw none of them.

    Example: ictmri evaluate predictions.csv --cohort ictmri-phantom --json report.json
    """
    from ictmri_benchmark import evaluate as score

    if external and trained_on is None:
        problem = "needs --trained-on NAME beside it"
        raise InputError("--external", [problem], "ictmri evaluate --help")
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


def folds_of_entry(entry: Path, cohort: str = "") -> tuple[FoldTable, bool]:
    """Return the folds of the cohort that an entry.yaml names, or of another that is given.

    Raises:
        InputError: it is not known by its name alone.
    """
    from ictmri.lookup import find_folds
    from ictmri_benchmark.board.entry import load_entry

    name = cohort or load_entry(entry).benchmark.cohort
    try:
        return find_folds(name)
    except InputError as error:
        if cohort:
            raise
        problems = [f"benchmark.cohort {name!r}: {problem}" for problem in error.problems]
        raise InputError(str(entry), problems, "give its folder: --cohort FOLDER") from None


def submit(
    predictions: Predictions,
    entry: Annotated[
        Path | None,
        typer.Option(
            help="entry.yaml that describes the method.", show_default="beside the predictions"
        ),
    ] = None,
    *,
    cohort: EntryCohort = "",
    entries: Entries = None,
    normalize: Normalize = False,
    correct: Annotated[
        str, typer.Option(help="Why the entry of this slug is replaced; stands in the ledger.")
    ] = "",
) -> None:
    """Check a submission as a whole, score it, and write it as an entry of your own.

    It lies in entries/COHORT/SLUG of the working directory, its row in the ledger.csv beside it, and
    `ictmri leaderboard` shows it among the published ones. Nothing is sent anywhere.

    Example: ictmri submit predictions.csv --entry entry.yaml
    """
    from ictmri_benchmark.board.entry import load_entry
    from ictmri_benchmark.board.folders import local_entries
    from ictmri_benchmark.board.submission import submit as take

    described = predictions.with_name("entry.yaml") if entry is None else entry
    table, synthetic = folds_of_entry(described, cohort)
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
    said = load_entry(done.folder / "entry.yaml")
    what = f"{', '.join(said.tracks)}; prior {said.inputs.prior}; selection {said.selection}"
    echo(f"to look at: entry.yaml says: {what}")
    for flag in done.flags:
        echo(f"to look at: {flag}")
    echo(f"\nEntry written: {done.folder}")
    echo("Publish it: a pull request that adds it to benchmark/entries, see benchmark/RULES.md")


def leaderboard(  # noqa: PLR0913
    *,
    cohort: BoardCohort = "",
    given: With = None,
    normalize: Normalize = False,
    trained_on: TrainedOn = None,
    overlap: External = "unknown",
    entries: OnlyEntries = None,
    out: Out = None,
    figures: Figures = None,
    json_file: JsonFile = None,
    form: Form = "text",
) -> None:
    """Rescore every entry from its predictions and show the leaderboard; without --out nothing is written.

    Example: ictmri leaderboard --with predictions.csv
    """
    from ictmri.extras import need
    from ictmri_benchmark import leaderboard as board_of
    from ictmri_benchmark.board.folders import chosen_cohorts

    if figures is not None:
        need("figures", "Drawing figures")
    if not given and (trained_on is not None or overlap != "unknown"):
        raise InputError("--trained-on", ["is of --with, which is not there"], "say of what")
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
            external=trained_on,
            overlap=overlap,
        )
        for name in names
    ]
    first, *others = boards
    show(
        "\n\n".join(board.render() for board in boards),
        canonical_json([board.content for board in boards] if others else first.content),
        json_file,
        form,
        first.table if first.rows or first.external else first.reported_table,
    )
    # What a program reads stays alone.
    _write_boards(boards, out, figures, partial(echo, err=form != "text" or json_file == STDOUT))


def _write_boards(
    boards: list[Leaderboard], out: Path | None, figures: Path | None, tell: Callable[[str], None]
) -> None:
    """Write pages and figures, each board of several into a folder of its own."""
    from ictmri_benchmark.outlets.figures import write_figures

    def place(folder: Path, board: Leaderboard) -> Path:
        return folder / board.content["cohort"] if len(boards) > 1 else folder

    if figures is not None:
        # A board of reported rows alone has nothing to draw, which is no fault beside others.
        for board in [board for board in boards if board.rows] or boards:
            folder = place(figures, board)
            drawn = dict.fromkeys(path.stem for path in write_figures(folder, board.content))
            tell(f"\nFigures: {folder}: {', '.join(drawn)} (svg, png, csv, tex)")
    if out is None:
        told = (
            "As a page: --out DIR. Yours among them: --with predictions.csv, to keep: ictmri submit"
        )
        tell(f"\n{told}")
        return
    for board in boards:
        tell(f"\nLeaderboard: {board.write(place(out, board))}")


def audit(
    rows: Annotated[Path, typer.Argument(help="CSV file of reported rows.", metavar="ROWS.csv")],
    *,
    json_file: JsonFile = None,
    form: Form = "text",
    budget: Annotated[
        int,
        typer.Option(
            help="Million steps for each search of confusion matrices; 1 is about half a second.",
            min=1,
            max=10_000,
        ),
    ] = 8,
) -> None:
    """Ask of reported numbers whether they can be what they say they are.

    Columns: name, table, precision, recall, f1, accuracy, unit (percent | fraction), decimals, n, folds
    (5, or sizes: 49+50x4), aggregation (pooled | fold-mean), averaging (macro | weighted | micro),
    class_counts (120+60+40+29), classes. A name and one number are needed; leave empty what is unknown.

    Example: ictmri audit benchmark/audit/paper.csv --json audit.json
    """
    from ictmri_benchmark.audit import audit as examine

    found = examine(rows, budget * 1_000_000, quiet=False)
    show(found.render(), found.to_json(), json_file, form, found.table)
