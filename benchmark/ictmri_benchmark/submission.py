"""``ictmri submit``: a checked and scored entry in the entries folder, and its row in the ledger."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ictmri.builders.change import only_one
from ictmri.errors import InputError
from ictmri.files import write_bytes, write_text
from ictmri.folds import FoldTable
from ictmri_benchmark import ledger
from ictmri_benchmark.entry import Entry, load_entry, write_entry
from ictmri_benchmark.flags import review_flags
from ictmri_benchmark.predictions import Predictions, read_predictions
from ictmri_benchmark.protocol import VERSION
from ictmri_benchmark.report import Report, evaluate

CLAIM_TOLERANCE = 0.0051
"""A claimed value may be rounded to two decimals."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that was accepted.

    Attributes:
        folder: where it lies.
        report: its score.
        flags: what a person should look at, see :mod:`ictmri_benchmark.flags`.
    """

    folder: Path
    report: Report
    flags: list[str]


@dataclass(frozen=True, slots=True)
class Checked:
    """A submission without a problem, not yet written."""

    entry: Entry
    predictions: Predictions
    report: Report


def check(predictions: Path, entry: Path, cohort: FoldTable, *, synthetic: bool) -> Checked:
    """Check predictions and entry as a whole and score them.

    Raises:
        InputError: anything is wrong with either file; all problems of both are named.
    """
    problems: list[str] = []
    described = report = None
    try:
        described = load_entry(entry)
        problems += [f"{entry}: {problem}" for problem in binding_problems(described, cohort)]
        if described.synthetic != synthetic:
            problems.append(
                f"{entry}: synthetic is {described.synthetic}, the cohort says {synthetic}"
            )
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
    return Checked(described, read_predictions(predictions, cohort), report)


def submit(
    predictions: Path,
    entry: Path,
    cohort: FoldTable,
    entries: Path,
    *,
    synthetic: bool,
    correcting: str = "",
) -> Submission:
    """Check a submission, write ``entries/<slug>/``, and add its row to the ledger beside ``entries``.

    Args:
        predictions: predictions.csv.
        entry: entry.yaml.
        cohort: the fold table that holds the labels.
        entries: folder of all entries.
        synthetic: marks the report of a phantom.
        correcting: why an entry of the same slug is replaced; where empty, none may exist.

    Raises:
        InputError: anything is wrong; all problems of both files are named.
    """
    done = check(predictions, entry, cohort, synthetic=synthetic)
    folder = entries / done.entry.slug
    with only_one(entries):
        before = ledger.current(ledger.read_ledger(ledger.ledger_path(entries))).get(folder.name)
        if folder.exists() and not correcting:
            raise InputError(
                str(folder),
                ["an entry of this slug exists"],
                "choose another slug in entry.yaml, or say --correct REASON to replace it",
            )
        if correcting and not folder.exists():
            raise InputError(
                str(folder), ["there is no such entry to correct"], "leave --correct out"
            )
        part = entries / f".{folder.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        write_bytes(part / "predictions.csv", predictions.read_bytes())
        write_text(part / "report.json", done.report.to_json())
        write_entry(part / "entry.yaml", done.entry)
        digest = done.predictions.sha256
        # After a kill at this point the row is there already, and the folder follows now.
        if before is None or before.predictions_sha256 != digest or correcting:
            action: ledger.Action = "corrected" if correcting else "added"
            ledger.record(entries, action, folder.name, digest, correcting or "submitted")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    flags = review_flags(done.predictions, cohort, _others(entries, folder.name, cohort))
    return Submission(folder, done.report, flags)


def withdraw_entry(entries: Path, slug: str, reason: str) -> None:
    """Remove an entry's folder; its rows in the ledger stay, with the reason.

    Raises:
        InputError: there is no such entry, or no reason was given.
    """
    known = sorted(path.parent.name for path in entries.glob("*/entry.yaml"))
    if slug not in known:
        raise InputError(str(entries), [f"no entry {slug!r}"], f"there are {', '.join(known)}")
    if not reason.strip():
        raise InputError("--reason", ["is empty"], "say why; it stands in the ledger")
    with only_one(entries):
        ledger.record(entries, "withdrawn", slug, "", reason)
        shutil.rmtree(entries / slug)


def _others(entries: Path, slug: str, cohort: FoldTable) -> dict[str, Predictions]:
    """Return the predictions of the other entries, as far as they are for this cohort."""
    found = {}
    for path in sorted(entries.glob("*/predictions.csv")):
        if path.parent.name in (slug, f".{slug}.part"):
            continue
        try:
            found[path.parent.name] = read_predictions(path, cohort)
        except InputError:
            continue
    return found


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
