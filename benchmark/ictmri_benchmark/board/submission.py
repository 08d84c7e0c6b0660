"""``ictmri submit``: a checked and scored entry in the entries folder, and its row in the ledger.

A change is first complete beside the entries under a name with a dot, then in the ledger, then in its
place; after a kill at any point, the same command goes on from there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.csvfile import MAX_BYTES
from ictmri.io.files import read_plain, sha256_bytes, write_bytes, write_text
from ictmri.io.lock import folder_lock
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.board import ledger
from ictmri_benchmark.board.entry import SLUG, Entry, load_entry, still_examples, write_entry
from ictmri_benchmark.board.flags import review_flags
from ictmri_benchmark.board.folders import entry_folders, is_run, is_shipped, shipped_entries
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.predictions import Predictions, format_predictions, read_predictions
from ictmri_benchmark.score.protocol import OWN_LEVELS, VERSION, Level, version_key
from ictmri_benchmark.score.report import External, Report, is_report_of, protocol_of, score

CLAIM_TOLERANCE = 0.0051
"""A claimed value may be rounded to two decimals."""
NORMALIZED: Final = "; probabilities divided by their sum"
CURRENT: Final = cast("tuple[int, ...]", version_key(VERSION))


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that was accepted.

    Attributes:
        folder: where it lies.
        report: its score.
        flags: what a person should look at, see :mod:`ictmri_benchmark.board.flags`.
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


def check(
    predictions: Path,
    entry: Path,
    cohort: FoldTable,
    *,
    synthetic: bool,
    levels: Sequence[Level] = OWN_LEVELS,
    normalize: bool = False,
) -> Checked:
    """Check predictions and entry as a whole and score them.

    Args:
        predictions: predictions.csv.
        entry: entry.yaml.
        cohort: the fold table that holds the labels.
        synthetic: marks the report of a phantom.
        levels: of evidence that the entry may have; all where the maintainers have taken it already.
        normalize: check what is left when the probabilities of each case were divided by their sum.

    Raises:
        InputError: anything is wrong with either file; all problems of both are named.
    """
    problems: list[str] = []
    described, read = read_both(
        predictions,
        entry,
        cohort,
        problems,
        synthetic=synthetic,
        levels=levels,
        normalize=normalize,
    )
    if described is not None and read is not None:
        drawn, external = bootstrap(cohort, [read.labels]), external_of(described)
        report = score(read, cohort, drawn, synthetic=synthetic, external=external)
        problems += [f"{entry}: {problem}" for problem in claim_problems(described, report)]
        if not problems:
            return Checked(described, read, report)
    raise InputError("submission", problems, "correct both files; nothing was written")


def read_both(
    predictions: Path,
    entry: Path,
    cohort: FoldTable,
    problems: list[str],
    *,
    synthetic: bool,
    levels: Sequence[Level],
    normalize: bool = False,
) -> tuple[Entry | None, Predictions | None]:
    """Read an entry and its predictions without a look at the labels; see :func:`check`.

    What is wrong with either is added to ``problems``; what cannot be read is None.
    """
    described = read = None
    with collected(problems, str(entry)):
        described = load_entry(entry, cohort.name)
        bound = [*binding_problems(described, cohort), *data_problems(described, cohort)]
        problems += [f"{entry}: {problem}" for problem in bound]
        if described.synthetic != synthetic:
            told = f"synthetic is {described.synthetic}, the cohort says {synthetic}"
            problems.append(f"{entry}: {told}")
        if described.level not in levels:
            problems.append(f"{entry}: level {described.level} is given by the maintainers")
    with collected(problems, str(predictions)):
        read = read_predictions(predictions, cohort, normalize=normalize)
        if normalize:
            read = read_predictions(predictions, cohort, content=_one_form(read, cohort))
    return described, read


def _one_form(read: Predictions, cohort: FoldTable) -> bytes:
    return format_predictions(read, cohort.case_ids).encode()


def submit(
    predictions: AnyPath,
    entry: AnyPath,
    cohort: FoldTable,
    entries: AnyPath,
    *,
    synthetic: bool,
    correcting: str = "",
    normalize: bool = False,
) -> Submission:
    """Check a submission, write ``entries/<slug>/``, and add its row to ``entries/ledger.csv``.

    Where entry.yaml does not name the cohort's data, the entry that is written does.

    Args:
        predictions: predictions.csv.
        entry: entry.yaml.
        cohort: the fold table that holds the labels.
        entries: folder of all entries.
        synthetic: marks the report of a phantom.
        correcting: why an entry of the same slug is replaced; where empty, none may exist.
        normalize: write probabilities that were divided by their sum, where that is 1 but for rounding, or
            100; the ledger says so.

    Raises:
        InputError: anything is wrong; all problems of both files are named.
    """
    predictions, entry, entries = at_home(predictions), at_home(entry), at_home(entries)
    done = check(predictions, entry, cohort, synthetic=synthetic, normalize=normalize)
    slug, digest = done.entry.slug, done.predictions.sha256
    content = _one_form(done.predictions, cohort) if normalize else _content(predictions, digest)
    reason = (correcting or "submitted") + NORMALIZED * normalize
    with folder_lock(entries):
        _tidy(entries, slug)
        before = ledger.last_event(entries, slug)
        _refuse_published(entries, slug, cohort.name)
        _refuse_unless_due(entries, slug, before, correcting)
        part = entries / f".{slug}.part"
        write_bytes(part / "predictions.csv", content)
        write_text(part / "report.json", done.report.to_json())
        write_entry(part / "entry.yaml", bound_to_data(done.entry, cohort))
        # After a kill behind this point the row is there already, and the folder follows now.
        _record(entries, slug, digest, before, reason, correcting=bool(correcting))
        _move_away(entries, slug)
        part.rename(entries / slug)
        _tidy(entries, slug)
    flags = review_flags(done.predictions, cohort, _others(entries, slug, cohort))
    flags += [f"entry.yaml: {place} is still the example's" for place in still_examples(done.entry)]
    return Submission(entries / slug, done.report, flags)


def _content(predictions: Path, digest: str) -> bytes:
    content = read_plain(predictions, MAX_BYTES, "give a CSV file")
    if sha256_bytes(content) != digest:
        raise InputError(str(predictions), ["changed while it was read"], "run the command again")
    return content


def _run_of(entries: Path, slug: str) -> Path | None:
    """Return the run that has a slug: as its folder's name, or in its entry.yaml."""
    for folder in filter(is_run, entry_folders(entries)):
        try:
            own = load_entry(folder / "entry.yaml").slug
        except InputError:  # damaged: named by the leaderboard
            own = folder.name
        if slug in {own, folder.name}:
            return folder
    return None


def bound_to_data(entry: Entry, cohort: FoldTable) -> Entry:
    """Return an entry that names the data of the cohort on which it was checked."""
    bound = entry.benchmark.model_copy(update={"data_sha256": cohort.data_sha256})
    return entry.model_copy(update={"benchmark": bound})


def _refuse_published(entries: Path, slug: str, cohort: str) -> None:
    published = shipped_entries(cohort) / slug
    if published.is_dir() and not is_shipped(entries):
        problem = "a published entry has this slug"
        raise InputError(str(published), [problem], "choose another slug in entry.yaml")


def _refuse_unless_due(
    entries: Path, slug: str, before: ledger.Event | None, correcting: str
) -> None:
    """Refuse what would replace an entry or a run that nobody asked to replace, and the other way round."""
    if before is None and (run := _run_of(entries, slug)):
        problem = "a run of ictmri reproduce has this slug"
        raise InputError(str(run), [problem], "choose another slug in entry.yaml")
    folder = entries / slug
    known = before is not None and before.action != "withdrawn"
    if folder.exists() and not correcting:
        raise InputError(
            str(folder),
            ["an entry of this slug exists"],
            "choose another slug in entry.yaml, or say --correct REASON to replace it",
        )
    if correcting and not folder.exists() and not known:
        raise InputError(str(folder), ["there is no such entry to correct"], "leave --correct out")


def _record(
    entries: Path,
    slug: str,
    digest: str,
    before: ledger.Event | None,
    reason: str,
    *,
    correcting: bool,
) -> None:
    """Add the row of this command to the ledger, unless a killed run of it did so before."""
    action: ledger.Action = "corrected" if correcting else "added"
    if before is not None and before.predictions_sha256 == digest:
        told = (action, ledger.plain_reason(reason))
        if not correcting or (before.action, before.reason) == told:
            return
    ledger.record(entries, action, slug, digest, reason)


def _tidy(entries: Path, slug: str) -> None:
    """Remove what a killed command left of an entry; links are refused, never followed."""
    for name in (f".{slug}.part", f".{slug}.gone", slug):
        if (entries / name).is_symlink():
            problem = [f"{name} is a link, which could lead anywhere"]
            raise InputError(str(entries), problem, "remove the link")
        if name.startswith("."):
            shutil.rmtree(entries / name, ignore_errors=True)


def _move_away(entries: Path, slug: str) -> None:
    """Take an entry out of sight in one step; a folder half removed would pass for a damaged entry."""
    if (entries / slug).exists():
        (entries / slug).rename(entries / f".{slug}.gone")


def withdraw_entry(entries: AnyPath, slug: str, reason: str) -> None:
    """Remove an entry's folder; its rows in the ledger stay, with the reason.

    Raises:
        InputError: there is no such entry, or no reason was given.
    """
    entries = at_home(entries)
    known = [folder.name for folder in entry_folders(entries)]
    unfinished = bool(re.fullmatch(SLUG, slug)) and (entries / f".{slug}.gone").is_dir()
    if slug not in known and not unfinished:
        there = f"there are {', '.join(known)}" if known else "the folder has no entries"
        raise InputError(str(entries), [f"no entry {slug!r}"], there)
    if not reason.strip():
        raise InputError("--reason", ["is empty"], "say why; it stands in the ledger")
    with folder_lock(entries):
        before = ledger.last_event(entries, slug)
        if before is None and is_run(entries / slug):
            problem = f"{slug} is a run of ictmri reproduce, which nobody submitted"
            raise InputError(str(entries), [problem], "remove its folder")
        if before is None or before.action != "withdrawn":
            ledger.record(entries, "withdrawn", slug, "", reason)
        _tidy(entries, slug)
        _move_away(entries, slug)
        _tidy(entries, slug)


def _others(entries: Path, slug: str, cohort: FoldTable) -> dict[str, Predictions]:
    """Return the predictions of the other entries, as far as they are for this cohort."""
    found = {}
    for folder in entry_folders(entries):
        if folder.name != slug:
            with suppress(InputError):
                found[folder.name] = read_predictions(folder / "predictions.csv", cohort)
    return found


def external_of(entry: Entry) -> External | None:
    """Return what an entry says of a model that was trained elsewhere, None for one of the folds."""
    return External(entry.trained_on, entry.overlaps) if entry.is_external else None


def binding_problems(entry: Entry, cohort: FoldTable) -> list[str]:
    """Say where an entry was made for another cohort, other folds or a protocol that is not known here."""
    problems = []
    if entry.benchmark.cohort != cohort.name:
        problems.append(f"benchmark.cohort is {entry.benchmark.cohort!r}, not {cohort.name!r}")
    if entry.trained_on == cohort.name:
        problems.append(
            f"trained_on is {cohort.name!r} itself: leave it out, that is no other cohort"
        )
    if entry.benchmark.splits_sha256 != cohort.sha256:
        problems.append(f"benchmark.splits_sha256 is not that of these folds, {cohort.sha256}")
    version = version_key(entry.benchmark.version)
    if version is None or version > CURRENT:
        problems.append(f"benchmark.version is {entry.benchmark.version!r}, scored is {VERSION}")
    return problems


def data_problems(entry: Entry, cohort: FoldTable) -> list[str]:
    """Say where an entry names other data than the cohort's; none where either is not known."""
    named = entry.benchmark.data_sha256
    if not named or not cohort.data_sha256 or named == cohort.data_sha256:
        return []
    return [f"benchmark.data_sha256 is not that of this cohort's data, {cohort.data_sha256}"]


Stored = Literal["none", "same", "older", "other"]


def stored_report(report: Report, path: Path) -> Stored:
    """Say what the report at a path is beside the one that its predictions give.

    One of an older protocol cannot be compared: its entry is scored anew.
    """
    if not path.is_file():
        return "other" if path.exists() else "none"
    made = report.to_json().encode()
    with path.open("rb") as stream:
        content = stream.read(2 * len(made))
    if content == made or is_report_of(content, report):
        return "same"
    version = version_key(protocol_of(content))
    return "older" if version is not None and version < CURRENT else "other"


def claim_problems(entry: Entry, report: Report) -> list[str]:
    """Say where claimed values or seeds are not those of the predictions."""
    pooled = report.content["pooled"]
    problems = [f"claimed.{name}: no such metric" for name in entry.claimed if name not in pooled]
    problems += [
        f"claimed.{name} is {claimed}, recomputed is {pooled[name]['value']:.4f}"
        for name, claimed in entry.claimed.items()
        if name in pooled and abs(claimed - pooled[name]["value"]) > CLAIM_TOLERANCE
    ]
    if sorted(entry.seeds) != report.content["seeds"]:
        problems.append(f"seeds are {list(entry.seeds)}, the file has {report.content['seeds']}")
    return problems
