"""What anyone can check after the end: labels, scores and every released value, computed anew."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ictmri.errors import InputError
from ictmri.folds import FoldTable, read_folds
from ictmri.io.files import sha256_bytes
from ictmri_benchmark import evaluate
from ictmri_benchmark.sealed.commitment import commit
from ictmri_benchmark.sealed.documents import (
    Challenge,
    Head,
    Opening,
    decode,
    read_bytes,
    version_problems,
)
from ictmri_benchmark.sealed.ladder import released_values, scored, truth_of
from ictmri_benchmark.sealed.log import State, head_problems, read_log
from ictmri_benchmark.sealed.package import MAX_BYTES, Submission, unpack

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Checked:
    """A revealed challenge in which everything was as it had been promised.

    Attributes:
        state: the log.
        submissions: what was scored, in the order of the log.
        table: the labels.
    """

    state: State
    submissions: list[Submission]
    table: FoldTable


def check_reveal(folder: Path, challenge: Challenge) -> Checked:
    """Check a revealed challenge against the challenge that was published at its beginning.

    Raises:
        InputError: labels, a submission or a released value is not what it should be; everything that is
            wrong is named.
    """
    problems = version_problems(challenge)
    if problems:
        raise InputError(str(folder), problems, "install the version that has this protocol")
    state = read_log(folder / "log.jsonl", challenge)
    head = decode(read_bytes(folder / "head.json"), Head, str(folder / "head.json"))
    problems += head_problems(head, state)
    if not state.closed:
        problems.append("the log has no end")
    table, found = _labels(folder, challenge)
    problems += found
    submissions, found = _submissions(folder, state)
    problems += found
    if not problems:
        problems += _value_problems(state, submissions, table)
        problems += _evaluator_problems(state, submissions, table)
    if problems:
        raise InputError(str(folder), problems, "this is not what was promised: ask the organiser")
    return Checked(state, submissions, table)


def _labels(folder: Path, challenge: Challenge) -> tuple[FoldTable, list[str]]:
    opening = decode(read_bytes(folder / "opening.json"), Opening, str(folder / "opening.json"))
    table = read_folds(folder / "folds.csv", challenge.name)
    problems = []
    if not opening.is_from(challenge.organiser) or opening.challenge != challenge.sha256():
        problems.append("opening.json: not signed by this challenge's organiser")
    if opening.folds_sha256 != table.sha256:
        problems.append("folds.csv: not the file that was signed")
    if sorted(table.case_ids) != list(challenge.cases):
        problems.append("folds.csv: not the cases of the challenge")
    if commit(table.rows, bytes.fromhex(opening.salt)) != challenge.commitment:
        problems.append("folds.csv: not the labels that were committed to at the beginning")
    return table, problems


def _submissions(folder: Path, state: State) -> tuple[list[Submission], list[str]]:
    submissions: list[Submission] = []
    problems: list[str] = []
    for item in state.scorings:
        path = folder / "submissions" / f"{item.intent.submission}.zip"
        try:
            content = read_bytes(path, MAX_BYTES)
            submission = unpack(content, state.challenge, path.name)
            if sha256_bytes(content) != item.intent.submission:
                problems.append(f"{path.name}: not the submission in the log")
            if submission.envelope.participant != item.intent.key:
                problems.append(f"{path.name}: not signed by {item.intent.participant!r}")
            submissions.append(submission)
        except InputError as error:
            problems += [f"{path.name}: {problem}" for problem in error.problems]
    logged = {f"{item.intent.submission}.zip" for item in state.scorings}
    there = {path.name for path in (folder / "submissions").glob("*")}
    problems += [f"{name}: not in the log" for name in sorted(there - logged)]
    return submissions, problems


def _value_problems(state: State, submissions: list[Submission], table: FoldTable) -> list[str]:
    """Recompute every released value: the Ladder's, on the submissions in the order of the log."""
    problems = []
    pairs = list(zip(state.scorings, submissions, strict=True))
    for participant in dict.fromkeys(s.intent.participant for s in state.scorings):
        own = [(s, item) for s, item in pairs if s.intent.participant == participant]
        values = released_values(
            table, state.challenge.rules, [item.predictions.labels for _, item in own]
        )
        problems += [
            f"{participant}, record {s.intent.seq}: {s.value} was released, recomputed is {value}"
            for (s, _), value in zip(own, values, strict=True)
            if s.value != value
        ]
    return problems


def _evaluator_problems(state: State, submissions: list[Submission], table: FoldTable) -> list[str]:
    """Compare the score that the Ladder used with that of the ordinary report."""
    metric, truth = state.challenge.rules.metric, truth_of(table)
    problems = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "predictions.csv"
        for item in submissions:
            path.write_bytes(item.table)
            report = evaluate(path, table, synthetic=state.challenge.synthetic, n_draws=2)
            value = report.content["pooled"][metric]["value"]
            used = scored(truth, item.predictions.labels, metric).value
            if abs(value - used) > _TOLERANCE:
                problems.append(f"{item.sha256[:12]}...: {metric} {used}, the report has {value}")
    return problems
