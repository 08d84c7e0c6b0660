"""The log: replayed by the organiser before every step and by anyone who verifies, with the same rules."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from ictmri.errors import InputError
from ictmri.io.files import read_plain
from ictmri_benchmark.sealed import documents
from ictmri_benchmark.sealed.documents import Challenge, Head, Record, Result

_DAY: Final = timedelta(hours=24)
_MAX_BYTES: Final = 64 * 2**20
_COMMON: Final = frozenset({"schema_", "signature", "seq", "previous", "time"})
MAX_RECORDS: Final = 50_000


class RuleBrokenError(ValueError):
    """Why a record cannot be the next one of a log."""


@dataclass(slots=True)
class CountedSubmission:
    """A submission that counted: its intent, and its result where there is one yet."""

    intent: Record
    result: Record | None = None

    @property
    def value(self) -> str:
        """The released value, empty where there is none yet."""
        return self.result.value if self.result else ""


@dataclass(slots=True)
class SealedLog:
    """What a log says.

    Attributes:
        keys: the key of each participant that counts now.
        used: every key that was ever admitted, with its participant.
        counted: submissions in the order in which they counted.
    """

    challenge: Challenge
    records: list[Record] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    counted: list[CountedSubmission] = field(default_factory=list)
    _own: dict[str, list[CountedSubmission]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _submissions: set[str] = field(default_factory=set)

    @property
    def closed(self) -> bool:
        """Whether the log has its end."""
        return bool(self.records) and self.records[-1].event == "close"

    @property
    def pending(self) -> CountedSubmission | None:
        """The submission that counted and has no value yet."""
        last = self.counted[-1] if self.counted else None
        return last if last and last.result is None else None

    @property
    def last_digest(self) -> str:
        """What the next record is bound to."""
        return (self.records[-1] if self.records else self.challenge).sha256()

    def of(self, participant: str) -> list[CountedSubmission]:
        """Return the submissions of a participant."""
        return self._own.get(participant, [])

    def add(self, record: Record) -> None:
        """Add a record, or raise a RuleBrokenError where it cannot be the next one."""
        number, event = len(self.records), record.event
        bound, signed = (
            record.previous == self.last_digest,
            record.is_from(self.challenge.organiser),
        )
        in_order = not number or record.time >= self.records[-1].time
        fits = record.model_fields_set == _COMMON | documents.EVENTS[event]
        _require(fits, f"not the fields of {event!r}")
        _require(record.seq == number, f"its number is {record.seq}: records were removed or moved")
        _require(bound, "it is not bound to the record before: the chain is broken")
        _require(signed, "the signature is not the organiser's: it was edited")
        _require((event == "open") != bool(number), "the log opens once, at its beginning")
        _require(not self.closed, "the challenge is closed")
        _require(in_order, "its time is before that of the record before")
        _require(not record.time.microsecond, "its time is not a whole second")
        _require(event == "result" or not self.pending, "the submission before has no result")
        if event in {"admit", "intent"}:
            # There must be room for a result and the end.
            _require(number + 3 <= MAX_RECORDS, f"the log is full: {MAX_RECORDS} records")
        rule = {"admit": self._admit, "intent": self._count, "result": self._release}.get(event)
        if rule:
            rule(record)
        self.records.append(record)

    def _admit(self, record: Record) -> None:
        name, earlier = record.participant, self.used.get(record.key)
        _require(earlier is None, f"this key was admitted before, for {earlier!r}")
        if record.replaces:
            known = self.keys.get(name) == record.replaces
            _require(known, f"the key to replace is not that of {name!r}")
        else:
            folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
            new = folded not in self._names
            _require(new, f"{name!r} is admitted already: one key a participant")
            self._names.add(folded)
        self.keys[name] = record.key
        self.used[record.key] = name

    def _count(self, record: Record) -> None:
        name = record.participant
        _require(self.used.get(record.key) == name, f"the key {record.key[:16]}... is not admitted")
        _require(self.keys[name] == record.key, f"this key of {name!r} was replaced")
        _require(record.submission not in self._submissions, "this submission was counted before")
        self.check_quota(name, record.time)
        self.counted.append(CountedSubmission(record))
        self._own.setdefault(name, []).append(self.counted[-1])
        self._submissions.add(record.submission)

    def check_quota(self, name: str, now: datetime) -> None:
        """Raise a RuleBrokenError where one more submission of a participant would pass a limit."""
        rules, own = self.challenge.rules, self.of(name)
        _require(len(own) < rules.quota, f"{name}: all {rules.quota} submissions are used")
        if len(own) >= rules.per_day:
            free = own[-rules.per_day].intent.time + _DAY
            wait = f"the next one from {free:%Y-%m-%d %H:%M} UTC"
            _require(now >= free, f"{name}: {rules.per_day} in 24 hours; {wait}")
        left = len(self.counted) < rules.total
        _require(left, f"all {rules.total} submissions of the challenge are used")

    def _release(self, record: Record) -> None:
        pending = self.pending
        if pending is None or pending.intent.seq != record.intent:
            raise RuleBrokenError("it is not the result of the submission just before")
        pending.result, step = record, Decimal(self.challenge.rules.ladder.step)
        values = [Decimal(item.value) for item in self.of(pending.intent.participant)[-2:]]
        fits = values[-1] % step == 0 and values[-1] <= 1
        _require(fits, f"{record.value} is not a multiple of the step")
        _require(values[-1] >= values[0], f"{record.value} is lower than what was released before")

    def standings(self) -> list[str]:
        """Return the sealed board: the released value of each participant."""
        values = {name: [item.value for item in self.of(name) if item.value] for name in self.keys}
        order = sorted((-Decimal(told[-1]), name) for name, told in values.items() if told)
        lines = [f"{'participant':<40}{self.challenge.rules.metric:>16}{'submissions':>13}"]
        return lines + [f"{n:<40}{values[n][-1]:>16}{len(values[n]):>13}" for _, n in order]

    def contradictions(self, seen: Head | Result) -> list[str]:
        """Say where the log is not the one that a signed head or result has seen."""
        if seen.seq >= len(self.records):
            there = f"it has {len(self.records)} records, record {seen.seq} was signed"
            return [f"the log was cut: {there}"]
        record = self.records[seen.seq]
        if record.sha256() != seen.record:
            return [f"record {seen.seq} is not the one that was signed: the log was rewritten"]
        if isinstance(seen, Head):
            return []
        item = next((item for item in self.counted if item.result is record), None)
        if item is None:
            return [f"record {seen.seq} is not a result"]
        told = (item.intent.participant, item.intent.key, item.intent.submission, item.value)
        same = told == (seen.participant, seen.key, seen.submission, seen.value)
        return [] if same else [f"record {seen.seq} says something else than the result"]


def read_log(path: Path, challenge: Challenge) -> SealedLog:
    """Read a log and replay it; an InputError names the first record that cannot be right, and why."""
    *lines, rest = read_plain(path, _MAX_BYTES, "check this path").split(b"\n")
    log, where = SealedLog(challenge), ""
    try:
        _require(len(lines) <= MAX_RECORDS, f"more than {MAX_RECORDS} records")
        _require(not rest, "the last line is cut")
        _require(bool(lines), "the log is empty")
        for number, line in enumerate(lines, start=1):
            where = f"line {number}: "
            record = documents.decode(line, Record, "record")
            written = documents.compact(record.content()) == line
            _require(written, "not in the byte form it was written in")
            log.add(record)
    except (RuleBrokenError, InputError) as error:
        problems = error.problems if isinstance(error, InputError) else [str(error)]
        told = (where + problem for problem in problems)
        raise InputError(str(path), told, "do not trust this log; ask for the original") from None
    return log


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuleBrokenError(otherwise)
