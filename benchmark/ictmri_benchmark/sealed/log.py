"""The log: replayed by the organiser before every step and by anyone who verifies, with the same rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ictmri.errors import MAX_PROBLEMS, InputError
from ictmri_benchmark.sealed.documents import Challenge, Head, Result, read_bytes
from ictmri_benchmark.sealed.records import (
    Admit,
    Close,
    Intent,
    Open,
    Record,
    Released,
    decode_record,
    time_of,
)

_DAY: Final = timedelta(hours=24)
_MAX_BYTES: Final = 64 * 2**20
MAX_RECORDS: Final = 50_000
_UNTRUSTED: Final = "do not trust this log; ask for the original"


@dataclass(slots=True)
class Scoring:
    """A submission that counted, and the value that it got (empty: not yet)."""

    intent: Intent
    result: Released | None = None

    @property
    def value(self) -> str:
        """The released value, empty where there is none yet."""
        return self.result.value if self.result else ""


@dataclass(slots=True)
class State:
    """What a log says.

    Attributes:
        keys: the key of each participant that counts now.
        used: every key that was ever admitted, with its participant.
        scorings: submissions in the order in which they counted.
    """

    challenge: Challenge
    records: list[Record] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    scorings: list[Scoring] = field(default_factory=list)
    closed: bool = False
    _own: dict[str, list[Scoring]] = field(default_factory=dict)
    _submissions: set[str] = field(default_factory=set)

    @property
    def pending(self) -> Scoring | None:
        """The submission that counted and has no value yet."""
        last = self.scorings[-1] if self.scorings else None
        return last if last and last.result is None else None

    def of(self, participant: str) -> list[Scoring]:
        """Return the submissions of a participant."""
        return self._own.get(participant, [])

    def next_previous(self) -> str:
        """Return what the next record is bound to."""
        return self.records[-1].sha256() if self.records else self.challenge.sha256()

    def admit_problems(self, participant: str, key: str, replaces: str) -> list[str]:
        """Say why a participant cannot be admitted with this key."""
        problems = []
        if key in self.used:
            problems.append(f"this key was admitted before, for {self.used[key]!r}")
        if replaces:
            if self.keys.get(participant) != replaces:
                problems.append(f"the key to replace is not that of {participant!r}")
        elif _folded(participant) in {_folded(name) for name in self.keys}:
            problems.append(f"{participant!r} is admitted already: one key a participant")
        return problems + self._room_problems()

    def quota_problems(self, participant: str, now: datetime) -> list[str]:
        """Say which limit one more submission of a participant would pass."""
        rules, own = self.challenge.rules, self.of(participant)
        recent = time_of(own[-rules.per_day].intent) if len(own) >= rules.per_day else None
        problems = []
        if len(own) >= rules.quota:
            problems.append(f"{participant}: all {rules.quota} submissions are used")
        elif recent is not None and now - recent < _DAY:
            free = recent + _DAY
            problems.append(
                f"{participant}: {rules.per_day} in 24 hours; the next one from {free:%Y-%m-%d %H:%M} UTC"
            )
        if len(self.scorings) >= rules.total:
            problems.append(f"all {rules.total} submissions of the challenge are used")
        return problems + self._room_problems()

    def _room_problems(self) -> list[str]:
        """Say where an intent and its result, or an admission, would leave no room for the end."""
        full = len(self.records) + 3 > MAX_RECORDS
        return [f"the log is full: {MAX_RECORDS} records"] if full else []

    def add(self, record: Record) -> list[str]:
        """Add a record and say what is wrong with it."""
        problems = self._chain_problems(record)
        if isinstance(record, Admit):
            problems += self._add_admit(record)
        elif isinstance(record, Intent):
            problems += self._add_intent(record)
        elif isinstance(record, Released):
            problems += self._add_result(record)
        elif isinstance(record, Close):
            self.closed = True
            problems += ["a submission has no result"] if self.pending else []
        self.records.append(record)
        return problems

    def _chain_problems(self, record: Record) -> list[str]:
        problems = []
        if record.seq != len(self.records):
            problems.append(f"its number is {record.seq}: records were removed, added or moved")
        if record.previous != self.next_previous():
            problems.append("it is not bound to the record before: the chain is broken")
        if not record.is_from(self.challenge.organiser):
            problems.append("the signature is not the organiser's: it was edited")
        if isinstance(record, Open) == bool(self.records):
            problems.append("the log opens once, at its beginning")
        if self.closed:
            problems.append("it comes after the end")
        try:
            moment = time_of(record)
            if self.records and moment < time_of(self.records[-1]):
                problems.append("its time is before that of the record before")
        except ValueError:
            problems.append(f"there is no moment {record.time}")
        return problems

    def _add_admit(self, record: Admit) -> list[str]:
        problems = self.admit_problems(record.participant, record.key, record.replaces)
        problems += ["a submission has no result"] if self.pending else []
        self.keys[record.participant] = record.key
        self.used[record.key] = record.participant
        return problems

    def _add_intent(self, record: Intent) -> list[str]:
        problems = ["the submission before has no result"] if self.pending else []
        if self.keys.get(record.participant) != record.key:
            problems.append(f"{record.participant!r} is not admitted with this key")
        if record.submission in self._submissions:
            problems.append("this submission was counted before")
        try:
            problems += self.quota_problems(record.participant, time_of(record))
        except ValueError:
            problems.append("its time cannot be compared")
        self.scorings.append(Scoring(record))
        self._own.setdefault(record.participant, []).append(self.scorings[-1])
        self._submissions.add(record.submission)
        return problems

    def _add_result(self, record: Released) -> list[str]:
        pending = self.pending
        if pending is None or pending.intent.seq != record.intent:
            return ["it is not the result of the submission just before"]
        earlier = self.of(pending.intent.participant)[:-1]
        pending.result = record
        level = self.challenge.rules.ladder.level
        value, before = level(record.value), level(earlier[-1].value) if earlier else None
        if value is None:
            return [f"{record.value} is not a multiple of the step"]
        if before is not None and value < before:
            return [f"{record.value} is lower than what was released before"]
        return []


def replay(challenge: Challenge, records: Sequence[Record], subject: str) -> State:
    """Return what a log says, checked from its first record to its last.

    Raises:
        InputError: a record was edited, removed, moved or added, or a rule was not kept.
    """
    state = State(challenge)
    problems = [] if records else ["the log is empty"]
    for number, record in enumerate(records, start=1):
        problems += [f"line {number}: {problem}" for problem in state.add(record)]
        if problems:
            # What follows a record that cannot be right was made for another log than this one.
            raise InputError(subject, problems, _UNTRUSTED)
    if problems:
        raise InputError(subject, problems, _UNTRUSTED)
    return state


def read_log(path: Path, challenge: Challenge) -> State:
    """Read and replay a log file.

    Raises:
        InputError: it is none, or not the unchanged log of this challenge.
    """
    content = read_bytes(path, _MAX_BYTES)
    if content.count(b"\n") > MAX_RECORDS:
        raise InputError(str(path), [f"more than {MAX_RECORDS} records"], _UNTRUSTED)
    lines = content.split(b"\n")
    problems = [] if lines[-1] == b"" else ["the last line is cut"]
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        if len(problems) >= MAX_PROBLEMS:
            break
        try:
            records.append(decode_record(line, f"line {number}"))
        except InputError as error:
            problems += [f"line {number}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(path), problems, _UNTRUSTED)
    return replay(challenge, records, str(path))


def head_problems(head: Head | Result, state: State) -> list[str]:
    """Say where a log is not the one that a signed head or result has seen."""
    if not head.is_from(state.challenge.organiser):
        return [f"{head.title}: the signature is not the organiser's: it was forged or edited"]
    if head.challenge != state.challenge.sha256():
        return [f"{head.title}: of another challenge"]
    if head.seq >= len(state.records):
        return [
            f"the log was cut: it has {len(state.records)} records, record {head.seq} was signed"
        ]
    if state.records[head.seq].sha256() != head.record:
        return [f"record {head.seq} is not the one that was signed: the log was rewritten"]
    return []


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
