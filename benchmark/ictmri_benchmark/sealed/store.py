"""The organiser's folder.

``public/`` (challenge.json, log.jsonl, head.json, results/) is there to be published as it is; ``private/``
holds the key, the salt, the labels and the submissions, for the organiser alone.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from ictmri.errors import InputError
from ictmri.folds import FoldTable, write_folds
from ictmri.io.files import new_folder, read_plain, settle, sha256_file, write_bytes, write_text
from ictmri.io.lock import locked
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.score.ladder import released_values
from ictmri_benchmark.score.protocol import BENCHMARK, VERSION
from ictmri_benchmark.sealed import documents, keys
from ictmri_benchmark.sealed.documents import Challenge, ChallengeRules, Record, Result
from ictmri_benchmark.sealed.labels import LabelledCases, commit, read_committed
from ictmri_benchmark.sealed.log import CountedSubmission, RuleBrokenError, SealedLog, read_log
from ictmri_benchmark.sealed.package import SealedSubmission, load_submission, unpack

_LOCK_SECONDS: Final = 60
_RESTORE: Final = "restore the folder as it was; nothing was scored"


class ChallengeStore:
    """An organiser's folder whose lock is held; made by :meth:`create` and :meth:`open`."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey, log: SealedLog, now: datetime) -> None:
        self.public, self.private = folder / "public", folder / "private"
        self.log, self.challenge = log, log.challenge
        self._key = key
        self._now = now.astimezone(UTC).replace(microsecond=0)

    @classmethod
    def create(
        cls, folder: AnyPath, cases: LabelledCases, rules: ChallengeRules, now: datetime
    ) -> Challenge:
        """Make an organiser's folder, which must be new, with a fresh key and salt, and open its log."""
        folder = at_home(folder)
        key, salt = Ed25519PrivateKey.generate(), secrets.token_bytes(32)
        rows = sorted(cases.rows, key=lambda row: row.case_id)
        challenge = Challenge.signed_by(
            key,
            name=cases.name,
            synthetic=cases.synthetic,
            benchmark={"name": BENCHMARK, "version": VERSION},
            cases=[row.case_id for row in rows],
            images=dict(sorted(cases.images.items())),
            commitment=commit(rows, salt),
            rules=rules,
            organiser=keys.public_hex(key),
        )
        with new_folder(folder) as part:
            store = cls(part, key, SealedLog(challenge), now)
            store.private.mkdir(mode=0o700)
            write_folds(store.private / "folds.csv", rows)
            (store.private / "folds.csv").chmod(0o600)
            keys.write_key(store.private / "organiser.key", key)
            write_text(store.private / "salt", salt.hex() + "\n", mode=0o600)
            write_text(store.public / "challenge.json", challenge.to_json())
            store._append("open")
        return challenge

    @classmethod
    @contextmanager
    def open(cls, folder: AnyPath, now: datetime) -> Iterator[Self]:
        """Open an organiser's folder: alone, and only if its log and head are whole.

        A submission that counted gets its result, where a process died in between.

        Raises:
            InputError: it is none, another process holds it, or the log was edited or cut.
        """
        folder = at_home(folder)
        public, private = folder / "public", folder / "private"
        if not (public / "challenge.json").is_file():
            problem = "not an organiser's folder"
            raise InputError(str(folder), [problem], "make one: ictmri sealed init --help")
        try:
            with locked(private / ".lock", f"works on {folder}", seconds=_LOCK_SECONDS):
                challenge = documents.load_challenge(public / "challenge.json")
                challenge.check_version(str(folder))
                key = keys.load_key(private / "organiser.key")
                log = read_log(public / "log.jsonl", challenge)
                head = documents.load_signed(private / "head.json", documents.Head, challenge)
                problems = log.contradictions(head)
                if keys.public_hex(key) != challenge.organiser:
                    problems.append("the key is not that of the challenge")
                if problems:
                    raise InputError(str(folder), problems, _RESTORE)
                store = cls(folder, key, log, now)
                store._finish()
                yield store
        except TimeoutError:
            problem = "another command is at work here"
            raise InputError(str(folder), [problem], "try later") from None

    def admit(self, key: str, participant: str, *, replaces: bool = False) -> None:
        """Admit a participant with a public key (hexadecimal), a name and a key once only.

        Raises:
            InputError: the name or the key is admitted already, or the challenge is closed.
        """
        old = self.log.keys.get(participant, "") if replaces else ""
        if replaces and not old:
            problem = f"no participant {participant!r} whose key could be replaced"
            raise InputError("admission", [problem], "leave --new-key out")
        try:
            self._append("admit", participant=participant, key=key, replaces=old)
        except RuleBrokenError as error:
            next_step = "one participant, one name, one key"
            raise InputError("admission", [str(error)], next_step) from None
        except ValidationError:
            problem = "1 to 60 printing characters, no space at either end"
            raise InputError("--name", [problem], "give a name for the log") from None

    def score(self, archive: Path) -> tuple[Result, bool]:
        """Score a submission: one released number, signed, in the log; say too whether it counted.

        The intent is logged before the score is computed, so that a process that dies in between gives no
        free look. The same predictions of the same participant get their first answer again and do not
        count; those of another participant count for that participant.

        Raises:
            InputError: the submission is not valid (not counted), its participant is not admitted or has no
                submission left, or the challenge is closed.
        """
        content = read_plain(archive, documents.MAX_BYTES, "check this path")
        submission = unpack(content, self.challenge, str(archive))
        key, wanted = submission.envelope.participant, submission.envelope.predictions_sha256
        participant = self.log.used.get(key, "")
        if not participant:
            problem = f"the key {key[:16]}... is not admitted"
            raise InputError(str(archive), [problem], "ictmri sealed admit --help")
        for item in self.log.of(participant):
            if self._stored(item).envelope.predictions_sha256 == wanted:
                return self._write_result(item), False
        self._labels()
        given = {"participant": participant, "key": key, "submission": submission.sha256}
        try:
            self.log.check_quota(participant, self._now)
            self._append("intent", content, **given)
        except RuleBrokenError as error:
            raise InputError(str(archive), [str(error)], "nothing was scored") from None
        self._finish()
        return self._write_result(self.log.counted[-1]), True

    def reveal(self, out: Path) -> int:
        """End the challenge and write what anyone needs to check it; return the number of submissions.

        Raises:
            InputError: ``out`` exists, or the folder is damaged.
        """
        with new_folder(out) as part:
            self._labels()
            names = [f"submissions/{self._stored(item).sha256}.zip" for item in self.log.counted]
            if not self.log.closed:
                self._append("close")
            for name in ("challenge.json", "log.jsonl", "head.json"):
                write_bytes(part / name, (self.public / name).read_bytes())
            for name in ("folds.csv", *names):
                write_bytes(part / name, (self.private / name).read_bytes())
            digest = sha256_file(part / "folds.csv")
            opening = self._signed(documents.Opening, salt=self._salt().hex(), folds_sha256=digest)
            write_text(part / "opening.json", opening.to_json())
        return len(names)

    def _append(self, event: str, archive: bytes = b"", **given: Any) -> None:
        """Append a record to the log and move the head; a submission that it is about is kept first.

        Its time is never before that of the last record, whatever the clock says: a clock that goes back
        must not give submissions away.
        """
        records, last = self.log.records, self.log.last_digest
        time = max([self._now, *(record.time for record in records[-1:])])
        given |= {"seq": len(records), "previous": last, "time": time, "event": event}
        record = Record.signed_by(self._key, **given)
        self.log.add(record)
        if archive:
            write_bytes(self._place(record.submission), archive, mode=0o600)
        lines = [documents.compact(item.content()) + b"\n" for item in records]
        write_bytes(self.public / "log.jsonl", b"".join(lines))
        if os.name == "posix":
            settle(self.public)
        head = self._signed(documents.Head, seq=record.seq, record=record.sha256())
        for folder in (self.private, self.public):
            write_text(folder / "head.json", head.to_json())

    def _signed(self, kind: type[documents.Signed], **fields: Any) -> Any:
        return kind.signed_by(self._key, challenge=self.challenge.sha256(), **fields)

    def _labels(self) -> FoldTable:
        keys.check_secret(self.private / "folds.csv")
        return read_committed(self.private / "folds.csv", self._salt(), self.challenge)

    def _salt(self) -> bytes:
        path = self.private / "salt"
        keys.check_secret(path)
        text = path.read_text(encoding="utf-8").strip()
        if not re.fullmatch("[0-9a-f]{64}", text):
            raise InputError(str(path), ["not 32 bytes in hexadecimal"], _RESTORE)
        return bytes.fromhex(text)

    def _place(self, sha256: str) -> Path:
        return self.private / "submissions" / f"{sha256}.zip"

    def _stored(self, item: CountedSubmission) -> SealedSubmission:
        sha256 = item.intent.submission
        return load_submission(self._place(sha256), sha256, self.challenge)

    def _finish(self) -> None:
        """Give a submission that counted its result; those before are computed anew with it."""
        pending = self.log.pending
        if pending is None:
            return
        own, rules = self.log.of(pending.intent.participant), self.challenge.rules
        truth, predicted = self._labels().labels, [self._stored(s).predictions.labels for s in own]
        values = released_values(np.array(truth), rules.metric, rules.ladder.step, predicted)
        for item, value in zip(own[:-1], values, strict=False):
            if item.value != value:
                problem = f"record {item.intent.seq} released {item.value}, recomputed is {value}"
                raise InputError(str(self.public), [problem], _RESTORE)
        self._append("result", intent=pending.intent.seq, value=values[-1])
        self._write_result(pending)

    def _write_result(self, item: CountedSubmission) -> Result:
        """Write and return the signed result of a scored submission; it has the same bytes every time."""
        released, intent, rules = item.result, item.intent, self.challenge.rules
        if released is None:
            raise ValueError("this submission has no result yet")
        used = self.log.of(intent.participant).index(item) + 1
        result: Result = self._signed(
            Result,
            **intent.model_dump(include={"participant", "key", "submission"}),
            metric=rules.metric,
            value=item.value,
            used=used,
            left=rules.quota - used,
            seq=released.seq,
            record=released.sha256(),
        )
        write_text(self.public / "results" / f"{released.seq}.json", result.to_json())
        return result
