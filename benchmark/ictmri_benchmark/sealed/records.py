"""The records of the log: what happened, in what order, each signed and bound to the one before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from ictmri.errors import InputError
from ictmri_benchmark.sealed.canonical import compact
from ictmri_benchmark.sealed.documents import (
    Digest,
    Name,
    PublicKey,
    Signed,
    Value,
    decode,
)

SCHEMA: Final = "ictmri/sealed-log/1"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_PATTERN: Final = r"^2[0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$"
Time = Annotated[str, Field(pattern=_PATTERN)]


class Record(Signed):
    """What all records have.

    Attributes:
        seq: place in the log, from 0.
        previous: digest of the record before; of the challenge in the first.
        time: when, by the organiser's clock, UTC; never before that of the record before.
    """

    title: ClassVar[str] = "record of the log"
    schema_: Literal["ictmri/sealed-log/1"] = Field(alias="schema")
    seq: int = Field(ge=0)
    previous: Digest
    time: Time
    event: str


class Open(Record):
    """The log of a challenge begins."""

    event: Literal["open"]


class Admit(Record):
    """A participant may submit; ``replaces`` is an earlier key of the same participant, or empty."""

    event: Literal["admit"]
    participant: Name
    key: PublicKey
    replaces: Digest | Literal[""]


class Intent(Record):
    """A submission counts from here on, whatever happens before its result."""

    event: Literal["intent"]
    participant: Name
    key: PublicKey
    submission: Digest


class Released(Record):
    """The value that the intent just before it got."""

    event: Literal["result"]
    intent: int = Field(ge=0)
    value: Value


class Close(Record):
    """Nothing is scored any more; the labels are revealed."""

    event: Literal["close"]


KINDS: Final[dict[str, type[Record]]] = {
    "open": Open,
    "admit": Admit,
    "intent": Intent,
    "result": Released,
    "close": Close,
}


def decode_record(line: bytes, subject: str) -> Record:
    """Return the record of a line of the log.

    Raises:
        InputError: it is none, or not in its one byte form.
    """
    plain = decode(line, _AnyRecord, subject)
    kind = KINDS.get(plain.event)
    if kind is None:
        raise InputError(subject, [f"unknown event {plain.event[:30]!r}"], "get the log again")
    record = decode(line, kind, subject)
    if encode_record(record) != line:
        raise InputError(subject, ["not in the byte form it was written in"], "get the log again")
    return record


class _AnyRecord(Record):
    model_config = ConfigDict(extra="ignore")


def encode_record(record: Record) -> bytes:
    """Return the line of a record, without its line end."""
    return compact(record.content())


def time_text(moment: datetime) -> str:
    """Return a moment as the log writes it."""
    return moment.astimezone(UTC).strftime(_TIME)


def time_of(record: Record) -> datetime:
    """Return when a record was written.

    Raises:
        ValueError: there is no such day.
    """
    return datetime.strptime(record.time, _TIME).replace(tzinfo=UTC)


def fields(kind: type[Record]) -> dict[str, Any]:
    """Return the fields that every record of a kind has."""
    event = next(name for name, known in KINDS.items() if known is kind)
    return {"schema": SCHEMA, "event": event}
