"""The organiser's folder: made, participants admitted, submissions scored.

``public/`` (challenge.json, log.jsonl, head.json, results/) is there to be published as it is; ``private/``
holds the key, the salt, the labels and the submissions, for the organiser alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ictmri.errors import InputError
from ictmri.folds import FoldRow, write_folds
from ictmri.io.files import as_new_folder, is_free, write_text
from ictmri_benchmark.score.protocol import BENCHMARK, VERSION
from ictmri_benchmark.sealed import keys
from ictmri_benchmark.sealed.commitment import commit, new_salt
from ictmri_benchmark.sealed.documents import (
    Challenge,
    Name,
    Result,
    Rules,
    load_challenge,
    read_bytes,
    write_challenge,
)
from ictmri_benchmark.sealed.log import State
from ictmri_benchmark.sealed.office import Office, opened
from ictmri_benchmark.sealed.package import MAX_BYTES, unpack
from ictmri_benchmark.sealed.records import Admit, Close, Intent, Open


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a submission; ``counted`` is False where it had been scored before."""

    result: Result
    counted: bool


def init(
    folder: Path,
    rows: Sequence[FoldRow],
    name: str,
    rules: Rules,
    *,
    now: datetime,
    images: dict[str, str] | None = None,
    synthetic: bool = False,
) -> Challenge:
    """Make an organiser's folder with a fresh key and salt, and open its log.

    Args:
        folder: a path that does not exist yet.
        rows: all cases with their labels and folds.
        name: the challenge's name.
        rules: what every participant gets.
        now: the organiser's clock.
        images: SHA-256 of the image by case; empty where they are not bound.
        synthetic: marks a phantom.

    Raises:
        InputError: the folder exists.
    """
    if folder.is_symlink() or not is_free(folder):
        raise InputError(str(folder), ["exists and is not empty"], "choose another path")
    key, salt = keys.new_key(), new_salt()
    ordered = sorted(rows, key=lambda row: row.case_id)
    challenge = write_challenge(
        key,
        name=name,
        synthetic=synthetic,
        benchmark={"name": BENCHMARK, "version": VERSION},
        cases=[row.case_id for row in ordered],
        images=dict(sorted((images or {}).items())),
        commitment=commit(ordered, salt).model_dump(),
        rules=rules.model_dump(),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        (part / "private").mkdir(mode=0o700)
        write_folds(part / "private" / "folds.csv", ordered)
        (part / "private" / "folds.csv").chmod(0o600)
        keys.write_key(part / "private" / "organiser.key", key)
        keys.write_secret(part / "private" / "salt", salt.hex().encode() + b"\n")
        write_text(part / "public" / "challenge.json", challenge.to_json())
        Office(part, challenge, State(challenge), key).append(Open, now)
        as_new_folder(part)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return challenge


def admit(
    folder: Path, public: str, participant: str, *, now: datetime, replaces: bool = False
) -> None:
    """Admit a participant with a public key (hexadecimal).

    Raises:
        InputError: the name or the key is admitted already, or the challenge is closed.
    """
    try:
        TypeAdapter(Name).validate_python(participant)
    except ValidationError:
        problem = "1 to 60 printing characters, no space at either end"
        raise InputError("--name", [problem], "give a name for the log") from None
    with opened(folder) as office:
        office.finish(now)
        old = office.state.keys.get(participant, "") if replaces else ""
        problems = office.state.admit_problems(participant, public, old)
        if replaces and not old:
            problems.append(f"no participant {participant!r} whose key could be replaced")
        if office.state.closed:
            problems.append("the challenge is closed")
        if problems:
            raise InputError("admission", problems, "one participant, one name, one key")
        office.append(Admit, now, participant=participant, key=public, replaces=old)


def score(folder: Path, archive: Path, *, now: datetime) -> Answer:
    """Score a submission: one released number, signed, in the log.

    The intent is logged before the score is computed, so that a process that dies in between gives no free
    look. The same predictions of the same participant get their first answer again and do not count; those
    of another participant count for that participant.

    Raises:
        InputError: the submission is not valid (not counted), its participant is not admitted or has no
            submission left, or the challenge is closed.
    """
    challenge = load_challenge(folder / "public" / "challenge.json")
    content = read_bytes(archive, MAX_BYTES)
    submission = unpack(content, challenge, str(archive))
    with opened(folder) as office:
        office.finish(now)
        key, state = submission.envelope.participant, office.state
        participant = state.used.get(key, "")
        if not participant:
            problem = f"the key {key[:16]}... is not admitted"
            raise InputError(str(archive), [problem], "ictmri sealed admit --help")
        before = office.scored_before(submission, participant)
        if before is not None:
            return Answer(office.write_result(before), counted=False)
        problems = ["the challenge is closed"] if state.closed else []
        if state.keys[participant] != key:
            problems.append(f"this key of {participant!r} was replaced")
        problems += state.quota_problems(participant, now)
        if problems:
            raise InputError(str(archive), problems, "nothing was scored")
        office.labels()
        keys.write_secret(office.submission_path(submission.sha256), content)
        office.append(Intent, now, participant=participant, key=key, submission=submission.sha256)
        office.finish(now)
        return Answer(office.write_result(state.scorings[-1]), counted=True)


def close(office: Office, now: datetime) -> None:
    """End the challenge; a second time changes nothing."""
    office.finish(now)
    if not office.state.closed:
        office.append(Close, now)
