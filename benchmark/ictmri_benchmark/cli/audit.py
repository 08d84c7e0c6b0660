"""The command that audits reported numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ictmri.cli.output import show
from ictmri.cli.parameters import Form, JsonFile


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
