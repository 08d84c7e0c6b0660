"""What anyone can check while the labels are sealed: signatures, the chain, nothing cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ictmri.errors import InputError
from ictmri_benchmark.sealed.canonical import parse
from ictmri_benchmark.sealed.documents import Challenge, Head, Result, decode, read_bytes
from ictmri_benchmark.sealed.log import State, head_problems, read_log
from ictmri_benchmark.sealed.records import Released


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found genuine: one line a file, and the logs."""

    lines: list[str]
    states: list[State]


def verify(files: Sequence[Path], challenge: Challenge) -> Verified:
    """Check results, heads and logs of a challenge, each alone and all against one another.

    Raises:
        InputError: anything is forged, edited, cut, or contradicts another of the files.
    """
    signed: list[tuple[Path, Head | Result]] = []
    logs: list[tuple[Path, State]] = []
    problems: list[str] = []
    for path in files:
        try:
            content = read_bytes(path)
            if path.suffix == ".jsonl":
                logs.append((path, read_log(path, challenge)))
            else:
                signed.append((path, _signed(content, challenge, str(path))))
        except InputError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    problems += _contradictions(signed)
    for log, state in logs:
        for path, document in signed:
            problems += [f"{log}: {p} ({path})" for p in _seen_problems(document, state)]
    if problems:
        raise InputError("verification", problems, "do not trust these files")
    lines = [f"{path}: genuine {_told(document)}" for path, document in signed]
    lines += [f"{path}: whole, {len(state.records)} records" for path, state in logs]
    return Verified(lines, [state for _, state in logs])


def _signed(content: bytes, challenge: Challenge, subject: str) -> Head | Result:
    try:
        plain: Any = parse(content)
    except ValueError as error:
        raise InputError(subject, [f"not JSON of one meaning: {str(error)[:200]}"]) from None
    schema = plain.get("schema") if isinstance(plain, dict) else None
    kind: type[Head] | type[Result] = Head if schema == "ictmri/sealed-head/1" else Result
    document = decode(content, kind, subject)
    problems = []
    if not document.is_from(challenge.organiser):
        problems.append("the signature is not the organiser's: it was forged or edited")
    if document.challenge != challenge.sha256():
        problems.append("of another challenge")
    if problems:
        raise InputError(subject, problems)
    return document


def _contradictions(signed: Sequence[tuple[Path, Head | Result]]) -> list[str]:
    """Say where the organiser signed two histories."""
    seen: dict[int, tuple[Path, str]] = {}
    problems = []
    for path, document in signed:
        first, record = seen.setdefault(document.seq, (path, document.record))
        if record != document.record:
            problems.append(f"{first} and {path}: two different records {document.seq} were signed")
    return problems


def _seen_problems(document: Head | Result, state: State) -> list[str]:
    problems = head_problems(document, state)
    if problems or isinstance(document, Head):
        return problems
    record = state.records[document.seq]
    scoring = next((s for s in state.scorings if s.result is record), None)
    if scoring is None or not isinstance(record, Released):
        return [f"record {document.seq} is not a result"]
    said = (scoring.intent.participant, scoring.intent.key, scoring.intent.submission, record.value)
    if said != (document.participant, document.key, document.submission, document.value):
        return [f"record {document.seq} says something else than the result"]
    return []


def _told(document: Head | Result) -> str:
    if isinstance(document, Head):
        return f"head of the log at record {document.seq}"
    return (
        f"result of {document.participant}: {document.metric} {document.value}, "
        f"{document.left} submissions left"
    )


def challenge_lines(challenge: Challenge) -> list[str]:
    """Tell what a challenge is, with the digest that entry.yaml is bound to."""
    rules = challenge.rules
    kind = ", SYNTHETIC" if challenge.synthetic else ""
    return [
        f"{challenge.name}: {len(challenge.cases)} cases{kind}, {challenge.benchmark.name} "
        f"{challenge.benchmark.version}, {rules.metric} in steps of {rules.ladder.step}",
        f"limits: {rules.quota} submissions each, {rules.per_day} in 24 hours, {rules.total} in all",
        f"challenge {challenge.sha256()}",
        f"organiser {challenge.organiser}",
    ]


def standings(state: State) -> list[str]:
    """Return the sealed board of a log: the released value of each participant."""
    names = [name for name in state.keys if any(s.value for s in state.of(name))]
    values = {name: [s.value for s in state.of(name) if s.value] for name in names}
    order = sorted(names, key=lambda name: (-Decimal(values[name][-1]), name))
    lines = [f"{'participant':<40}{state.challenge.rules.metric:>16}{'submissions':>13}"]
    lines += [f"{name:<40}{values[name][-1]:>16}{len(values[name]):>13}" for name in order]
    return lines
