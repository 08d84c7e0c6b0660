"""The organiser's folder while it is held: its log, its secrets, its submissions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError
from ictmri.folds import FoldTable, read_folds
from ictmri.io.files import sha256_file, write_bytes, write_text
from ictmri.io.lock import locked
from ictmri_benchmark.sealed import keys
from ictmri_benchmark.sealed.commitment import SALT_BYTES, commit
from ictmri_benchmark.sealed.documents import (
    Challenge,
    Head,
    Opening,
    Result,
    decode,
    load_challenge,
    read_bytes,
    version_problems,
)
from ictmri_benchmark.sealed.ladder import released_values
from ictmri_benchmark.sealed.log import Scoring, State, head_problems, read_log
from ictmri_benchmark.sealed.package import MAX_BYTES, Submission, unpack
from ictmri_benchmark.sealed.records import (
    Record,
    Released,
    encode_record,
    fields,
    time_of,
    time_text,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LOCK_SECONDS: Final = 60
RESTORE: Final = "restore the folder as it was; nothing was scored"


class Office:
    """An organiser's folder whose lock is held; made by :func:`opened`."""

    def __init__(
        self, folder: Path, challenge: Challenge, state: State, key: Ed25519PrivateKey
    ) -> None:
        self.folder = folder
        self.challenge = challenge
        self.state = state
        self._key = key

    def append(self, kind: type[Record], now: datetime, **given: Any) -> Record:
        """Append a record to the log and move the head.

        Its time is never before that of the last record, whatever the clock says: a clock that goes back
        must not give submissions away.

        Raises:
            InputError: the record would break a rule.
        """
        last = self.state.records[-1] if self.state.records else None
        moment = max(now, time_of(last)) if last else now
        record = kind.signed_by(
            self._key,
            **fields(kind),
            seq=len(self.state.records),
            previous=self.state.next_previous(),
            time=time_text(moment),
            **given,
        )
        problems = self.state.add(record)
        if problems:
            raise InputError(str(self.folder), problems, RESTORE)
        lines = [encode_record(item) + b"\n" for item in self.state.records]
        path = self.folder / "public" / "log.jsonl"
        write_bytes(path, b"".join(lines))
        _settle_folder(path.parent)
        self._write_head(record)
        return record

    def _write_head(self, record: Record) -> None:
        head = Head.signed_by(
            self._key,
            schema="ictmri/sealed-head/1",
            challenge=self.challenge.sha256(),
            seq=record.seq,
            record=record.sha256(),
        )
        for part in ("private", "public"):
            write_text(self.folder / part / "head.json", head.to_json())

    def labels(self) -> FoldTable:
        """Return the labels, checked against the commitment.

        Raises:
            InputError: they, or the salt, are not those that were committed to.
        """
        path = self.folder / "private" / "folds.csv"
        keys.check_secret(path)
        table = read_folds(path, self.challenge.name)
        if commit(table.rows, self.salt()) != self.challenge.commitment:
            raise InputError(str(path), ["not the labels that were committed to"], RESTORE)
        return table

    def salt(self) -> bytes:
        """Return the secret salt.

        Raises:
            InputError: it is damaged.
        """
        path = self.folder / "private" / "salt"
        keys.check_secret(path)
        try:
            salt = bytes.fromhex(path.read_text(encoding="utf-8").strip())
        except ValueError:
            salt = b""
        if len(salt) != SALT_BYTES:
            raise InputError(str(path), [f"not {SALT_BYTES} bytes in hexadecimal"], RESTORE)
        return salt

    def stored(self, scoring: Scoring) -> Submission:
        """Return a submission that counted.

        Raises:
            InputError: it is lost or damaged.
        """
        path = self.submission_path(scoring.intent.submission)
        submission = unpack(read_bytes(path, MAX_BYTES), self.challenge, str(path))
        if submission.sha256 != scoring.intent.submission:
            raise InputError(str(path), ["not the submission that counted"], RESTORE)
        return submission

    def submission_path(self, sha256: str) -> Path:
        """Return where a submission is kept."""
        return self.folder / "private" / "submissions" / f"{sha256}.zip"

    def finish(self, now: datetime) -> None:
        """Give a submission that counted its result, where a process died in between."""
        pending = self.state.pending
        if pending is None:
            return
        participant = pending.intent.participant
        values = self._values(participant)
        self.append(Released, now, intent=pending.intent.seq, value=values[-1])
        self.write_result(pending)

    def _values(self, participant: str) -> list[str]:
        """Return the values of all submissions of a participant, computed anew."""
        own = self.state.of(participant)
        table, rules = self.labels(), self.challenge.rules
        values = released_values(
            table, rules, [self.stored(item).predictions.labels for item in own]
        )
        for item, value in zip(own, values, strict=True):
            if item.result is not None and item.value != value:
                problem = f"record {item.result.seq} released {item.value}, recomputed is {value}"
                raise InputError(str(self.folder), [problem], RESTORE)
        return values

    def write_result(self, scoring: Scoring) -> Result:
        """Write and return the signed result of a scored submission; it has the same bytes every time."""
        released = scoring.result
        if released is None:
            raise ValueError("this submission has no result yet")
        participant = scoring.intent.participant
        used = self.state.of(participant).index(scoring) + 1
        result = Result.signed_by(
            self._key,
            schema="ictmri/sealed-result/1",
            challenge=self.challenge.sha256(),
            participant=participant,
            key=scoring.intent.key,
            submission=scoring.intent.submission,
            metric=self.challenge.rules.metric,
            value=scoring.value,
            used=used,
            left=self.challenge.rules.quota - used,
            seq=released.seq,
            record=released.sha256(),
        )
        write_text(self.folder / "public" / "results" / f"{released.seq}.json", result.to_json())
        return result

    def scored_before(self, submission: Submission, participant: str) -> Scoring | None:
        """Return the participant's earlier submission of the same predictions, if there is one."""
        wanted = submission.envelope.predictions_sha256
        for item in self.state.of(participant):
            if self.stored(item).envelope.predictions_sha256 == wanted:
                return item
        return None

    def sign_opening(self) -> dict[str, Any]:
        """Return the content of the document that opens the commitment."""
        return Opening.signed_by(
            self._key,
            schema="ictmri/sealed-opening/1",
            challenge=self.challenge.sha256(),
            salt=self.salt().hex(),
            folds_sha256=sha256_file(self.folder / "private" / "folds.csv"),
        ).content()


@contextmanager
def opened(folder: Path) -> Iterator[Office]:
    """Open an organiser's folder: alone, and only if its log and head are whole.

    Raises:
        InputError: it is none, another process holds it, or the log was edited or cut.
    """
    if not (folder / "public" / "challenge.json").is_file():
        next_step = "make one: ictmri sealed init --help"
        raise InputError(str(folder), ["not an organiser's folder"], next_step)
    lock = folder / "private" / ".lock"
    try:
        with locked(lock, f"works on {folder}", seconds=_LOCK_SECONDS):
            yield _office(folder)
    except TimeoutError:
        raise InputError(str(folder), ["another command is at work here"], "try later") from None


def _office(folder: Path) -> Office:
    challenge = load_challenge(folder / "public" / "challenge.json")
    problems = version_problems(challenge)
    if problems:
        raise InputError(str(folder), problems, "install the version that has this protocol")
    key = keys.load_key(folder / "private" / "organiser.key")
    if keys.public_hex(key) != challenge.organiser:
        raise InputError(str(folder), ["the key is not that of the challenge"], RESTORE)
    state = read_log(folder / "public" / "log.jsonl", challenge)
    path = folder / "private" / "head.json"
    head = decode(read_bytes(path), Head, str(path))
    problems = head_problems(head, state)
    if problems:
        raise InputError(str(folder / "public" / "log.jsonl"), problems, RESTORE)
    return Office(folder, challenge, state, key)


def _settle_folder(folder: Path) -> None:
    """Wait until the name of a new file is on the disk too: an intent must outlive a power cut."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
