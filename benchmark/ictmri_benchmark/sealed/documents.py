"""All documents of sealed mode: strict, signed over their one byte form (RFC 8785; they hold no floats)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError, validation_problems
from ictmri.io.files import canonical_json, read_plain, sha256_bytes, unique_keys
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.score.metrics import METRICS
from ictmri_benchmark.score.protocol import VERSION
from ictmri_benchmark.sealed.keys import is_signed, usable

_CONTEXT: Final = b"ictmri sealed mode\n"
_SHOWN: Final = 200
_MAX_INNER: Final = 100
"""Lists and objects in a document: a challenge has seven, a name may hold sixty brackets."""
MAX_BYTES: Final = 16 * 2**20
MAX_CASES: Final = 100_000

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[Digest, AfterValidator(usable)]
CaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Participant = Annotated[
    str, Field(pattern=r"^[^\p{C}\s](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\s])?$", max_length=60)
]
Value = Annotated[str, Field(pattern=r"^-?[01]\.[0-9]{1,4}$")]
"""A released score: decimal text, so that its bytes do not depend on anybody's floats."""
MetricName = Annotated[str, Field(pattern=f"^({'|'.join(METRICS)})$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Place = Annotated[int, Field(ge=0)]
Time = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
Document = TypeVar("Document", bound="Signed")
OfChallenge = TypeVar("OfChallenge", "Result", "Head", "Opening")


class _Sealed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Signed(_Sealed):
    """A document with the signature of its author over everything else in it."""

    schema_: str = Field(alias="schema")
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    def content(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def sha256(self) -> str:
        """Return the digest of the document with its signature."""
        return sha256_bytes(compact(self.content()))

    def to_json(self) -> str:
        """Return the text of the document's file."""
        return canonical_json(self.content())

    def is_from(self, public: str) -> bool:
        """Return True where the signature is that of this key."""
        content = self.content()
        signature = content.pop("signature")
        return is_signed(public, signature, _CONTEXT + compact(content))

    @classmethod
    def signed_by(cls, signer: Ed25519PrivateKey, /, **fields: Any) -> Self:
        """Return the document of these fields, signed; a ValueError names one that is not valid."""
        (schema,) = get_args(cls.model_fields["schema_"].annotation)
        draft = {"schema": schema, **fields, "signature": "0" * 128}
        content = cls.model_validate(draft, strict=False).content()
        del content["signature"]
        signature = signer.sign(_CONTEXT + compact(content)).hex()
        return cls.model_validate({**content, "signature": signature}, strict=False)


class LadderRule(_Sealed):
    """When a new value is released; see :mod:`ictmri_benchmark.score.ladder`."""

    rule: Literal["parameter-free"]
    step: Annotated[str, Field(pattern=r"^0\.0{0,3}[125]$")]


class ChallengeRules(_Sealed):
    """What every participant gets: one number, so often, in any 24 hours, and all of them together."""

    metric: MetricName
    quota: Count
    per_day: Count
    total: Count
    ladder: LadderRule


class ProtocolRef(_Sealed):
    """The protocol that scores."""

    name: Literal["ictmri-cv"]
    version: str


class Commitment(_Sealed):
    """What binds the organiser to the labels without showing them."""

    scheme: Literal["hmac-sha256/1"]
    root: Digest


class Challenge(Signed):
    """What the organiser publishes: cases, commitment, rules, key."""

    schema_: Literal["ictmri/sealed-challenge/1"] = Field(alias="schema")
    name: CaseId
    synthetic: bool
    benchmark: ProtocolRef
    cases: tuple[CaseId, ...] = Field(min_length=1, max_length=MAX_CASES)
    images: dict[CaseId, Digest]
    commitment: Commitment
    rules: ChallengeRules
    organiser: PublicKey

    def check_version(self, subject: str) -> None:
        """Refuse (InputError) a challenge that was opened with another evaluator than this one."""
        if self.benchmark.version != VERSION:
            problem = f"protocol {self.benchmark.version}, this evaluator has {VERSION}"
            raise InputError(subject, [problem], "install the version that has this protocol")


class Envelope(Signed):
    """The part of a submission that binds predictions, entry, challenge and participant together."""

    schema_: Literal["ictmri/sealed-submission/1"] = Field(alias="schema")
    challenge: Digest
    participant: PublicKey
    entry_sha256: Digest
    predictions_sha256: Digest


class Result(Signed):
    """The answer to a submission: one released number, and where it stands in the log."""

    schema_: Literal["ictmri/sealed-result/1"] = Field(alias="schema")
    challenge: Digest
    participant: Participant
    key: PublicKey
    submission: Digest
    metric: MetricName
    value: Value
    used: Count
    left: Place
    seq: Place
    record: Digest

    def __str__(self) -> str:
        said = f"{self.metric} {self.value}, {self.left} submissions left"
        return f"result of {self.participant}: {said}"


class Head(Signed):
    """A checkpoint: the log had this record at this place."""

    schema_: Literal["ictmri/sealed-head/1"] = Field(alias="schema")
    challenge: Digest
    seq: Place
    record: Digest

    def __str__(self) -> str:
        return f"head of the log at record {self.seq}"


class Opening(Signed):
    """What opens the commitment after the end."""

    schema_: Literal["ictmri/sealed-opening/1"] = Field(alias="schema")
    challenge: Digest
    salt: Digest
    folds_sha256: Digest


EVENTS: Final = {
    "open": {"event"},
    "admit": {"event", "participant", "key", "replaces"},
    "intent": {"event", "participant", "key", "submission"},
    "result": {"event", "intent", "value"},
    "close": {"event"},
}
"""Fields of the records. An intent counts from there on, whatever happens before its result."""


class Record(Signed):
    """A record of the log.

    Attributes:
        seq: place in the log, from 0.
        previous: digest of the record before; of the challenge in the first.
        time: when, by the organiser's clock, UTC; never before that of the record before.
        replaces: an earlier key of the same participant, or empty.
        intent: place of the intent that got the value.
    """

    schema_: Literal["ictmri/sealed-log/1"] = Field(alias="schema")
    seq: Place
    previous: Digest
    time: Time
    event: Literal["open", "admit", "intent", "result", "close"]
    participant: Participant = ""
    key: PublicKey = ""
    replaces: Digest | Literal[""] = ""
    submission: Digest = ""
    intent: Place = 0
    value: Value = ""


def compact(value: Any) -> bytes:
    """Return the one byte form of ``value``: what is signed and hashed."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def canonical(content: bytes) -> bytes:
    """Return JSON in its one byte form; a ValueError says that it can be read in two ways, or in none."""
    if content.count(b"[") + content.count(b"{") > _MAX_INNER:
        raise ValueError(f"more than {_MAX_INNER} lists and objects")
    return compact(json.loads(content.decode(), object_pairs_hook=unique_keys))


def decode(content: bytes, kind: type[Document], subject: str) -> Document:
    """Return the document that JSON bytes hold, or name all problems; the signature is not yet checked."""
    try:
        return kind.model_validate_json(canonical(content))
    except ValidationError as error:
        problems = validation_problems(error, "document")
    except ValueError as error:
        problems = [f"not JSON of one meaning: {str(error)[:_SHOWN]}"]
    raise InputError(subject, problems, "give the file as ictmri sealed wrote it")


def load_challenge(path: AnyPath, organiser: str = "") -> Challenge:
    """Read a challenge; an InputError says where it was edited, or is another organiser's.

    Args:
        path: challenge.json.
        organiser: the key that the organiser published elsewhere; not compared where empty.
    """
    path = at_home(path)
    challenge = decode(read_plain(path, MAX_BYTES, "check this path"), Challenge, str(path))
    problems = []
    if not challenge.is_from(challenge.organiser):
        problems.append("the signature is not that of its organiser's key: it was edited")
    if list(challenge.cases) != sorted(set(challenge.cases)):
        problems.append("the cases are not sorted, or one stands twice")
    if challenge.images and set(challenge.images) != set(challenge.cases):
        problems.append("images are not those of the cases")
    if organiser and organiser.strip().lower() != challenge.organiser:
        problems.append(f"its key is {challenge.organiser}, not the organiser's {organiser}")
    if problems:
        raise InputError(str(path), problems, "get challenge.json from the organiser again")
    return challenge


def load_signed(path: Path, kind: type[OfChallenge], challenge: Challenge) -> OfChallenge:
    """Read what the organiser signed for a challenge; an InputError says where it was edited or is not."""
    document = decode(read_plain(path, MAX_BYTES, "check this path"), kind, str(path))
    problems = []
    if not document.is_from(challenge.organiser):
        problems.append("the signature is not the organiser's: it was forged or edited")
    if document.challenge != challenge.sha256():
        problems.append("of another challenge")
    if problems:
        raise InputError(str(path), problems, "ask the organiser for the original")
    return document
