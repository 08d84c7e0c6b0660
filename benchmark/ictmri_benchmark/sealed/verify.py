"""What anyone can check: before the end that nothing is cut or forged, after it all; and its entries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.files import new_folder, read_plain, write_bytes, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.board.entry import BenchmarkRef, write_entry
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.ladder import released_values, scored
from ictmri_benchmark.score.report import score
from ictmri_benchmark.sealed.documents import (
    MAX_BYTES,
    Challenge,
    Head,
    Opening,
    Result,
    load_signed,
)
from ictmri_benchmark.sealed.labels import read_committed
from ictmri_benchmark.sealed.log import SealedLog, read_log
from ictmri_benchmark.sealed.package import SealedSubmission, load_submission

_TOLERANCE: Final = 1e-9
_HEAD: Final = re.compile(rb'"schema"\s*:\s*"ictmri/sealed-head/1"')
"""The key that says so: within a name its quotation marks would be escaped."""


def verify(
    files: Sequence[AnyPath], challenge: Challenge
) -> tuple[dict[Path, SealedLog], dict[Path, Head | Result]]:
    """Check results, heads and logs of a challenge, each alone and all against one another.

    Returns:
        The logs, and the heads and results.

    Raises:
        InputError: anything is forged, edited, cut, or contradicts another of the files.
    """
    logs: dict[Path, SealedLog] = {}
    signed: dict[Path, Head | Result] = {}
    problems: list[str] = []
    for path in map(at_home, files):
        with collected(problems, str(path)):
            if path.suffix == ".jsonl":
                logs[path] = read_log(path, challenge)
            else:
                is_head = _HEAD.search(read_plain(path, MAX_BYTES, "check this path"))
                signed[path] = (
                    load_signed(path, Head, challenge)
                    if is_head
                    else load_signed(path, Result, challenge)
                )
    seen: dict[int, tuple[Path, str]] = {}
    for path, document in signed.items():
        first, record = seen.setdefault(document.seq, (path, document.record))
        if record != document.record:
            told = f"two different records {document.seq} were signed"
            problems.append(f"{first} and {path}: {told}")
        for place, log in logs.items():
            problems += [f"{place}: {told} ({path})" for told in log.contradictions(document)]
    if problems:
        raise InputError("verification", problems, "do not trust these files")
    return logs, signed


@dataclass(frozen=True, slots=True)
class CheckedReveal:
    """A revealed challenge in which everything was as promised; submissions in the order of the log."""

    log: SealedLog
    submissions: list[SealedSubmission]
    table: FoldTable


def check_reveal(folder: AnyPath, challenge: Challenge) -> CheckedReveal:
    """Check a revealed challenge against the challenge that was published at its beginning.

    Raises:
        InputError: labels, a submission or a released value is not what it should be; everything that is
            wrong is named.
    """
    folder = at_home(folder)
    challenge.check_version(str(folder))
    log = read_log(folder / "log.jsonl", challenge)
    problems = log.contradictions(load_signed(folder / "head.json", Head, challenge))
    if not log.closed:
        problems.append("the log has no end")
    opening = load_signed(folder / "opening.json", Opening, challenge)
    table = None
    with collected(problems, "folds.csv"):
        table = read_committed(folder / "folds.csv", bytes.fromhex(opening.salt), challenge)
        if opening.folds_sha256 != table.sha256:
            problems.append("folds.csv: not the file that was signed")
    submissions = []
    for item in log.counted:
        name, sha256 = f"{item.intent.submission}.zip", item.intent.submission
        with collected(problems, name):
            place = folder / "submissions" / name
            submissions.append(load_submission(place, sha256, challenge))
            if submissions[-1].envelope.participant != item.intent.key:
                problems.append(f"{name}: not signed by {item.intent.participant!r}")
    known = {f"{item.intent.submission}.zip" for item in log.counted}
    there = {path.name for path in (folder / "submissions").glob("*")}
    problems += [f"{name}: not in the log" for name in sorted(there - known)]
    if table is not None and not problems:
        checked = CheckedReveal(log, submissions, table)
        problems = list(_score_problems(checked))
        if not problems:
            return checked
    raise InputError(str(folder), problems, "this is not what was promised: ask the organiser")


def _score_problems(checked: CheckedReveal) -> Iterator[str]:
    """Compute every released value anew, and compare the Ladder's scores with those of the report."""
    log, table = checked.log, checked.table
    rules, truth = log.challenge.rules, np.array(table.labels)
    own: dict[str, list[SealedSubmission]] = {}
    for item, submission in zip(log.counted, checked.submissions, strict=True):
        own.setdefault(item.intent.participant, []).append(submission)
        labels = submission.predictions.labels
        report = score(submission.predictions, table, bootstrap(table, [labels], 2), synthetic=True)
        shown = report.content["pooled"][rules.metric]["value"]
        used = scored(truth, labels, rules.metric).value
        if abs(shown - used) > _TOLERANCE:
            yield f"{submission.sha256[:12]}...: {rules.metric} {used}, the report has {shown}"
    for name, submissions in own.items():
        predicted = (each.predictions.labels for each in submissions)
        values = released_values(truth, rules.metric, rules.ladder.step, predicted)
        for item, value in zip(log.of(name), values, strict=True):
            if item.value != value:
                told = f"{item.value} was released, recomputed is {value}"
                yield f"{name}, record {item.intent.seq}: {told}"


def write_entries(out: AnyPath, checked: CheckedReveal) -> int:
    """Write the submission that stands for each participant as an R4 entry, and the board of them.

    It is the one whose value was released last; every other one was not better by more than chance. ``out``
    must be new. The number of entries is returned.
    """
    out = at_home(out)
    log, table, synthetic = checked.log, checked.table, checked.log.challenge.synthetic
    standing: dict[str, tuple[str, SealedSubmission]] = {}
    for item, submission in zip(log.counted, checked.submissions, strict=True):
        name = item.intent.participant
        if name not in standing or item.value != standing[name][0]:
            standing[name] = (item.value, submission)
    slugs = Counter(best.entry.slug for _, best in standing.values())
    with new_folder(out) as part:
        for name, (_, best) in standing.items():
            slug = best.entry.slug
            if slugs[slug] > 1:
                slug = f"{slug[:40]}-{log.keys[name][:12]}"
            version = best.entry.benchmark.version
            bound = BenchmarkRef(version=version, cohort=table.name, splits_sha256=table.sha256)
            changed = {"slug": slug, "benchmark": bound, "level": "R4"}
            drawn = bootstrap(table, [best.predictions.labels])
            report = score(best.predictions, table, drawn, synthetic=synthetic)
            write_bytes(part / "entries" / slug / "predictions.csv", best.table)
            write_entry(
                part / "entries" / slug / "entry.yaml", best.entry.model_copy(update=changed)
            )
            write_text(part / "entries" / slug / "report.json", report.to_json())
        if standing:
            board = build_leaderboard(part / "entries", table, synthetic=synthetic)
            write_leaderboard(part, board)
    return len(standing)
