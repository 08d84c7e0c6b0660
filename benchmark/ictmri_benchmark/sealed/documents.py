"""The documents of sealed mode: small, strict, signed over their one byte form."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import MAX_PROBLEMS, InputError
from ictmri.io.files import canonical_json, read_plain
from ictmri_benchmark.score.protocol import BENCHMARK, VERSION
from ictmri_benchmark.sealed.canonical import compact, digest, parse
from ictmri_benchmark.sealed.keys import is_signed, public_hex, usable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CONTEXT: Final = b"ictmri sealed mode\n"
_MAX_BYTES: Final = 16 * 2**20
_SHOWN: Final = 200
MAX_CASES: Final = 100_000

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[Digest, AfterValidator(usable)]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
CaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Name = Annotated[
    str, Field(pattern=r"^[^\p{C}\s](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\s])?$", max_length=60)
]
Value = Annotated[str, Field(pattern=r"^[01]\.[0-9]{1,4}$")]
"""A released score: decimal text, so that its bytes do not depend on anybody's floats."""
Step = Annotated[str, Field(pattern=r"^0\.0{0,3}[125]$")]
Metric = Literal["macro_precision", "macro_recall", "macro_f1", "accuracy"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Document = TypeVar("Document", bound="Signed")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Signed(_Strict):
    """A document with the signature of its author over everything else in it."""

    schema_: str = Field(alias="schema")
    signature: Signature
    title: ClassVar[str] = "document"

    def content(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def sha256(self) -> str:
        """Return the digest of the document with its signature."""
        return digest(self.content())

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
        """Return the document of these fields, signed.

        Raises:
            ValueError: a field is not valid.
        """
        unsigned = cls.model_validate({**fields, "signature": "0" * 128}, strict=False).content()
        del unsigned["signature"]
        signature = signer.sign(_CONTEXT + compact(unsigned)).hex()
        return cls.model_validate({**unsigned, "signature": signature}, strict=False)


class LadderRule(_Strict):
    """When a new value is released; see :mod:`ictmri_benchmark.sealed.ladder`."""

    rule: Literal["parameter-free"]
    step: Step

    def level(self, value: str) -> int | None:
        """Return the number of steps of a released value, None where it is not a multiple of the step."""
        levels, rest = divmod(Decimal(value), Decimal(self.step))
        return None if rest or Decimal(value) > 1 else int(levels)


class Rules(_Strict):
    """What every participant gets.

    Attributes:
        metric: the one number that is released.
        quota: scored submissions of a participant.
        per_day: of them in any 24 hours.
        total: scored submissions of all participants.
        ladder: when a new value is released.
    """

    metric: Metric
    quota: Count
    per_day: Count
    total: Count
    ladder: LadderRule


class ProtocolRef(_Strict):
    """The protocol that scores."""

    name: Literal["ictmri-cv"] = BENCHMARK
    version: str


class Commitment(_Strict):
    """What binds the organiser to the labels without showing them."""

    scheme: Literal["hmac-sha256/1"]
    root: Digest


class Challenge(Signed):
    """What the organiser publishes: cases, commitment, rules, key."""

    title: ClassVar[str] = "challenge"
    schema_: Literal["ictmri/sealed-challenge/1"] = Field(alias="schema")
    name: CaseId
    synthetic: bool
    benchmark: ProtocolRef
    cases: tuple[CaseId, ...] = Field(min_length=1, max_length=MAX_CASES)
    images: dict[CaseId, Digest]
    commitment: Commitment
    rules: Rules
    organiser: PublicKey


class Envelope(Signed):
    """The part of a submission that binds predictions, entry, challenge and participant together."""

    title: ClassVar[str] = "submission"
    schema_: Literal["ictmri/sealed-submission/1"] = Field(alias="schema")
    challenge: Digest
    participant: PublicKey
    entry_sha256: Digest
    predictions_sha256: Digest


class Result(Signed):
    """The answer to a submission: one released number, and where it stands in the log."""

    title: ClassVar[str] = "result"
    schema_: Literal["ictmri/sealed-result/1"] = Field(alias="schema")
    challenge: Digest
    participant: Name
    key: PublicKey
    submission: Digest
    metric: Metric
    value: Value
    used: Count
    left: int = Field(ge=0)
    seq: int = Field(ge=0)
    record: Digest


class Head(Signed):
    """A checkpoint: the log had this record at this place."""

    title: ClassVar[str] = "head of the log"
    schema_: Literal["ictmri/sealed-head/1"] = Field(alias="schema")
    challenge: Digest
    seq: int = Field(ge=0)
    record: Digest


class Opening(Signed):
    """What opens the commitment after the end."""

    title: ClassVar[str] = "opening"
    schema_: Literal["ictmri/sealed-opening/1"] = Field(alias="schema")
    challenge: Digest
    salt: Digest
    folds_sha256: Digest


def read_bytes(path: Path, limit: int = _MAX_BYTES) -> bytes:
    """Read a file that somebody handed in.

    Raises:
        InputError: it cannot be read, is no plain file, or is larger than ``limit`` bytes.
    """
    return read_plain(path, limit, "check this path")


def decode(content: bytes, kind: type[Document], subject: str) -> Document:
    """Return the document that JSON bytes hold; its signature is the caller's to check.

    Raises:
        InputError: it is not one; every problem is named with its dotted path.
    """
    try:
        value = parse(content)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004
        return kind.model_validate_json(compact(value))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or kind.title}: {item['msg']}"[:_SHOWN]
            for item in error.errors(include_url=False)[:MAX_PROBLEMS]
        ]
    except ValueError as error:
        problems = [f"not JSON of one meaning: {str(error)[:_SHOWN]}"]
    raise InputError(subject, problems, f"give a {kind.title} as ictmri sealed wrote it")


def load_challenge(path: Path, organiser: str = "") -> Challenge:
    """Read a challenge and check that its own key signed it.

    Args:
        path: challenge.json.
        organiser: the key that the organiser published elsewhere; not compared where empty.

    Raises:
        InputError: it is none, was edited, or is another organiser's.
    """
    challenge = decode(read_bytes(path), Challenge, str(path))
    problems = challenge_problems(challenge)
    if organiser and organiser.strip().lower() != challenge.organiser:
        problems.append(f"its key is {challenge.organiser}, not the organiser's {organiser}")
    if problems:
        raise InputError(str(path), problems, "get challenge.json from the organiser again")
    return challenge


def challenge_problems(challenge: Challenge) -> list[str]:
    """Say what is wrong with a challenge that has the right form."""
    problems = []
    if not challenge.is_from(challenge.organiser):
        problems.append("the signature is not that of its organiser's key: it was edited")
    if list(challenge.cases) != sorted(set(challenge.cases)):
        problems.append("the cases are not sorted, or one stands twice")
    if challenge.images and set(challenge.images) != set(challenge.cases):
        problems.append("images are not those of the cases")
    return problems


def version_problems(challenge: Challenge) -> list[str]:
    """Say where this evaluator is not the one that the challenge was opened with."""
    version = challenge.benchmark.version
    return [] if version == VERSION else [f"protocol {version}, this evaluator has {VERSION}"]


def write_challenge(key: Ed25519PrivateKey, **fields: Any) -> Challenge:
    """Return a signed challenge of these fields."""
    return Challenge.signed_by(
        key, schema="ictmri/sealed-challenge/1", organiser=public_hex(key), **fields
    )
