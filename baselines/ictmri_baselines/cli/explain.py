"""The command that shows where a run's models look: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ictmri.cli.cohorts import list_cohorts
from ictmri.cli.needs import need_baselines
from ictmri.cli.output import show
from ictmri.cli.parameters import Jobs, JsonFile
from ictmri_baselines.cli.predict import Backbone


def explain(
    run: Annotated[Path, typer.Argument(help="Folder of ictmri reproduce.", file_okay=False)],
    *,
    cohort: Annotated[
        str | None,
        typer.Option(
            help="Dataset name or cohort folder [default: the one that the run was made with].",
            autocompletion=list_cohorts,
        ),
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Only this fold.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Cases on the page.")] = 8,
    json_file: JsonFile = None,
    backbone: Backbone = None,
    jobs: Jobs = None,
) -> None:
    """Show where a run's networks look: 3D Grad-CAM, and its share in the true lesion.

    Writes explanation.json and explanation.html into the run. Only phantoms have true lesions; for
    other cohorts there are pictures alone.

    Example: ictmri explain out/table2-5
    """
    need_baselines()
    from ictmri.io.files import canonical_json
    from ictmri.lookup import find_cohort
    from ictmri_baselines.explanation.explain import PAGE
    from ictmri_baselines.explanation.explain import explain as explained

    given = None if cohort is None else find_cohort(cohort)
    content = explained(run, given, fold=fold, shown=cases, jobs=jobs, own=backbone)
    show(f"{_in_words(content)}\nPage: {run / PAGE}", canonical_json(content), json_file)


def _in_words(content: dict[str, Any]) -> str:
    head = f"{content['recipe']} on {content['cohort']}, {content['n_cases']} cases"
    head += " (SYNTHETIC)" if content["synthetic"] else ""
    if content["summary"] is None:
        return f"{head}\nNobody drew the true lesions of this cohort: pictures, no number."
    from ictmri_baselines.explanation.attention_share import MEASURES

    lines = [_line(title, content["summary"][name]) for name, title in MEASURES.items()]
    return "\n".join([head, *lines])


def _line(title: str, row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"  {title}: not defined"
    value, low, high = (f"{100 * row[name]:.1f}" for name in ("value", "low", "high"))
    return f"  {title}: {value} % ({low} to {high})"
