"""``ictmri submit``: a checked and scored entry in the entries folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ictmri.errors import InputError
from ictmri.files import write_bytes, write_text
from ictmri.folds import FoldTable
from ictmri_benchmark.entry import Entry, load_entry, write_entry
from ictmri_benchmark.protocol import VERSION
from ictmri_benchmark.report import Report, evaluate

CLAIM_TOLERANCE = 0.0051
"""A claimed value may be rounded to two decimals."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that was accepted."""

    folder: Path
    report: Report


def submit(
    predictions: Path, entry: Path, cohort: FoldTable, entries: Path, *, synthetic: bool
) -> Submission:
    """Check predictions and entry as a whole, score them, and write ``entries/<slug>/``.

    Raises:
        InputError: anything is wrong with either file; all problems of both are named.
    """
    problems: list[str] = []
    described = report = None
    try:
        described = load_entry(entry)
        problems += [f"{entry}: {problem}" for problem in binding_problems(described, cohort)]
    except InputError as error:
        problems += [f"{entry}: {problem}" for problem in error.problems]
    try:
        report = evaluate(predictions, cohort, synthetic=synthetic)
    except InputError as error:
        problems += [f"{predictions}: {problem}" for problem in error.problems]
    if described is not None and report is not None:
        problems += [f"{entry}: {problem}" for problem in claim_problems(described, report)]
    if described is None or report is None or problems:
        raise InputError("submission", problems, "correct both files; nothing was written")
    folder = entries / described.slug
    if folder.exists():
        raise InputError(
            str(folder), ["an entry of this slug exists"], "choose another slug in entry.yaml"
        )
    write_bytes(folder / "predictions.csv", predictions.read_bytes())
    write_text(folder / "report.json", report.to_json())
    write_entry(folder / "entry.yaml", described)
    return Submission(folder, report)


def binding_problems(entry: Entry, cohort: FoldTable) -> list[str]:
    """Say where an entry was made for another cohort, other folds or another protocol."""
    problems = []
    if entry.benchmark.cohort != cohort.name:
        problems.append(f"benchmark.cohort is {entry.benchmark.cohort!r}, not {cohort.name!r}")
    if entry.benchmark.splits_sha256 != cohort.sha256:
        problems.append(f"benchmark.splits_sha256 is not that of these folds, {cohort.sha256}")
    if entry.benchmark.version != VERSION:
        problems.append(f"benchmark.version is {entry.benchmark.version}, scored is {VERSION}")
    return problems


def claim_problems(entry: Entry, report: Report) -> list[str]:
    """Say where claimed values or seeds are not those of the predictions."""
    pooled = report.content["pooled"]
    problems = [f"claimed.{name}: no such metric" for name in entry.claimed if name not in pooled]
    problems += [
        f"claimed.{name} is {claimed}, recomputed is {pooled[name]['value']:.4f}"
        for name, claimed in entry.claimed.items()
        if name in pooled and abs(claimed - pooled[name]["value"]) > CLAIM_TOLERANCE
    ]
    if list(entry.seeds) != report.content["seeds"]:
        problems.append(f"seeds are {list(entry.seeds)}, the file has {report.content['seeds']}")
    return problems
