"""``submission.zip``: packed by the participant, taken apart by the organiser and by whoever checks.

One submission has one byte form: canonical predictions, three stored members in a fixed order, no times.
What is read is packed again and compared, so that nothing else (a second member of a name, a link, a path,
a comment, compressed data) can hide in the archive.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldRow, FoldTable
from ictmri.io.files import read_plain, sha256_bytes, stored_zip
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.yamlfile import dump_yaml
from ictmri_benchmark.board.entry import Entry
from ictmri_benchmark.board.submission import read_both
from ictmri_benchmark.score.predictions import Predictions, format_predictions
from ictmri_benchmark.score.protocol import LEVELS
from ictmri_benchmark.sealed.documents import MAX_BYTES, Challenge, Envelope, decode
from ictmri_benchmark.sealed.keys import public_hex

MEMBERS: Final = ("submission.json", "entry.yaml", "predictions.csv")
_NEXT: Final = "pack it again: ictmri sealed pack --help"


@dataclass(frozen=True, slots=True)
class SealedSubmission:
    """A submission that is whole, bound to the challenge and signed by its participant.

    Attributes:
        predictions: (S, n) labels and so on, cases in the order of the challenge.
        table: the predictions file in its one byte form.
        content: the archive.
    """

    envelope: Envelope
    entry: Entry
    predictions: Predictions
    table: bytes
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the archive."""
        return sha256_bytes(self.content)


def pack(
    predictions: AnyPath,
    entry: AnyPath,
    challenge: Challenge,
    key: Ed25519PrivateKey,
    *,
    normalize: bool = False,
) -> SealedSubmission:
    """Return a submission, or name all problems of both files (InputError).

    With ``normalize``, of probabilities that were divided by their sum, where rounding left it off 1.
    """
    predictions, entry = at_home(predictions), at_home(entry)
    challenge.check_version("challenge")
    problems: list[str] = []
    described, read = _read(predictions, entry, challenge, problems, normalize=normalize)
    if described is None or read is None or problems:
        raise InputError("submission", problems, "correct these; nothing was written")
    text = dump_yaml(described.model_dump(mode="json", by_alias=True)).encode()
    table = format_predictions(read, challenge.cases).encode()
    envelope = Envelope.signed_by(
        key,
        challenge=challenge.sha256(),
        participant=public_hex(key),
        entry_sha256=sha256_bytes(text),
        predictions_sha256=sha256_bytes(table),
    )
    parts = (envelope.to_json().encode(), text, table)
    content = stored_zip(dict(zip(MEMBERS, parts, strict=True)))
    return unpack(content, challenge, "submission")


def unpack(content: bytes, challenge: Challenge, subject: str) -> SealedSubmission:
    """Return what a submission holds, after every check that needs no label.

    Raises:
        InputError: it is damaged, forged, bound to another challenge, or not valid; all problems are named.
    """
    parts = _members(content, subject)
    envelope = decode(parts["submission.json"], Envelope, f"{subject}: submission.json")
    signed = {"entry.yaml": envelope.entry_sha256, "predictions.csv": envelope.predictions_sha256}
    problems = [
        f"{name} is not the one that was signed"
        for name, digest in signed.items()
        if sha256_bytes(parts[name]) != digest
    ]
    if not envelope.is_from(envelope.participant):
        problems.append("the signature is not that of the participant's key: it was edited")
    if envelope.challenge != challenge.sha256():
        problems.append(f"made for another challenge ({envelope.challenge[:12]}...)")
    if envelope.to_json().encode() != parts["submission.json"]:
        problems.append("submission.json: not in its one byte form")
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in MEMBERS]
        for place in places:
            place.write_bytes(parts[place.name])
        entry, read = _read(places[2], places[1], challenge, problems)
    table = parts["predictions.csv"]
    if read and format_predictions(read, challenge.cases).encode() != table:
        problems.append("predictions.csv: not in its one byte form")
    if entry is None or read is None or problems:
        raise InputError(subject, (told.replace(f"{folder}/", "") for told in problems), _NEXT)
    return SealedSubmission(envelope, entry, read, table, content)


def load_submission(path: Path, sha256: str, challenge: Challenge) -> SealedSubmission:
    """Read a submission that counted; an InputError says where it is not the one of this digest."""
    content = read_plain(path, MAX_BYTES, "restore it as it was")
    if sha256_bytes(content) != sha256:
        raise InputError(str(path), ["not the submission in the log"], "restore it as it was")
    return unpack(content, challenge, str(path))


def _read(
    predictions: Path,
    entry: Path,
    challenge: Challenge,
    problems: list[str],
    *,
    normalize: bool = False,
) -> tuple[Entry | None, Predictions | None]:
    """Read both files against the case list: no check here needs a label, so all labels are dummies."""
    rows = tuple(FoldRow(case, case, CLASSES[0], 0) for case in challenge.cases)
    listed, levels = FoldTable(challenge.name, rows, challenge.sha256()), tuple(LEVELS)
    synthetic = challenge.synthetic
    found, read = read_both(
        predictions,
        entry,
        listed,
        problems,
        synthetic=synthetic,
        levels=levels,
        normalize=normalize,
    )
    if found and found.claimed:
        problems.append(f"{entry}: claimed must be empty: one number is released, by the organiser")
    if found and read and tuple(found.seeds) != read.seeds:
        told = f"seeds are {list(found.seeds)[:10]}, the predictions have {list(read.seeds)[:10]}"
        problems.append(f"{entry}: {told}")
    return found, read


def _members(content: bytes, subject: str) -> dict[str, bytes]:
    """Return the three members of an archive that is exactly as :func:`pack` writes it."""
    if len(content) > MAX_BYTES:
        raise InputError(subject, [f"larger than {MAX_BYTES:,} bytes"], "hand in fewer seeds")
    parts: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [info.filename for info in archive.infolist()]
            packed = [info.filename for info in archive.infolist() if info.compress_type]
            if sorted(names) != sorted(MEMBERS):
                shown = ", ".join(repr(name[:40]) for name in names[:6])
                problem = (
                    f"holds {len(names)} members ({shown}), not {', '.join(MEMBERS)} once each"
                )
            elif packed:
                problem = f"{packed[0]!r} is compressed"
            else:
                # Only stored members are read, so that no more comes out than was handed in.
                parts = {name: archive.read(name) for name in MEMBERS}
                problem = "the archive holds more than its three members"
    except Exception as error:  # noqa: BLE001 - zipfile raises a dozen kinds on hostile bytes
        problem = f"not a zip archive that can be read ({str(error)[:80]})"
    if not parts or stored_zip(parts) != content:
        raise InputError(subject, [problem], _NEXT)
    return parts
