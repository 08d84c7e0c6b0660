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
from typing import TYPE_CHECKING, Final

import numpy as np

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldRow, FoldTable
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.board.entry import Entry, load_entry, write_entry
from ictmri_benchmark.score.predictions import PROBABILITIES, Predictions, read_predictions
from ictmri_benchmark.sealed.documents import Challenge, Envelope, decode, read_bytes
from ictmri_benchmark.sealed.keys import public_hex

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MEMBERS: Final = ("submission.json", "entry.yaml", "predictions.csv")
MAX_BYTES: Final = 16 * 2**20
_MAX_ENTRY: Final = 64 * 2**10
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_NEXT: Final = "pack it again: ictmri sealed pack --help"


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that is whole, bound to the challenge and signed by its participant.

    Attributes:
        predictions: (S, n) labels and so on, cases in the order of the challenge.
        table: the predictions file in its one byte form.
        sha256: digest of the archive.
    """

    envelope: Envelope
    entry: Entry
    predictions: Predictions
    table: bytes
    sha256: str


def pack(
    predictions: Path, entry: Path, challenge: Challenge, key: Ed25519PrivateKey
) -> tuple[bytes, Submission]:
    """Return the bytes of a submission and what it holds.

    Raises:
        InputError: predictions or entry are wrong; all problems of both are named.
    """
    problems: list[str] = []
    described = read = None
    try:
        described = _entry(read_bytes(entry, _MAX_ENTRY), challenge)
    except InputError as error:
        problems += [f"{entry}: {problem}" for problem in error.problems]
    try:
        read = read_predictions(predictions, blank_table(challenge))
    except InputError as error:
        problems += [f"{predictions}: {problem}" for problem in error.problems]
    if described and read:
        problems += [f"{entry}: {problem}" for problem in _seed_problems(described, read)]
    if described is None or read is None or problems:
        raise InputError("submission", problems, "correct these; nothing was written")
    parts = {"entry.yaml": _entry_bytes(described), "predictions.csv": canonical(read, challenge)}
    envelope = Envelope.signed_by(
        key,
        schema="ictmri/sealed-submission/1",
        challenge=challenge.sha256(),
        participant=public_hex(key),
        entry_sha256=sha256_bytes(parts["entry.yaml"]),
        predictions_sha256=sha256_bytes(parts["predictions.csv"]),
    )
    content = _archive({"submission.json": envelope.to_json().encode(), **parts})
    if len(content) > MAX_BYTES:
        raise InputError("submission", [f"larger than {MAX_BYTES:,} bytes"], "use fewer seeds")
    return content, unpack(content, challenge, "submission")


def unpack(content: bytes, challenge: Challenge, subject: str) -> Submission:
    """Return what a submission holds, after every check that needs no label.

    Raises:
        InputError: it is damaged, forged, bound to another challenge, or not valid; all problems are named.
    """
    parts = _members(content, subject)
    envelope = decode(parts["submission.json"], Envelope, f"{subject}: submission.json")
    problems = _envelope_problems(envelope, parts, challenge)
    entry = read = None
    try:
        entry = _entry(parts["entry.yaml"], challenge)
    except InputError as error:
        problems += [f"entry.yaml: {problem}" for problem in error.problems]
    try:
        read = _predictions(parts["predictions.csv"], challenge)
    except InputError as error:
        problems += [f"predictions.csv: {problem}" for problem in error.problems]
    if entry and read:
        problems += [f"entry.yaml: {problem}" for problem in _seed_problems(entry, read)]
        if canonical(read, challenge) != parts["predictions.csv"]:
            problems.append("predictions.csv: not in its one byte form")
    if entry is None or read is None or problems:
        raise InputError(subject, problems, _NEXT)
    return Submission(envelope, entry, read, parts["predictions.csv"], sha256_bytes(content))


def blank_table(challenge: Challenge) -> FoldTable:
    """Return the case list as a fold table, for checks that need no label: all labels in it are dummies."""
    rows = tuple(FoldRow(case, case, CLASSES[0], 0) for case in challenge.cases)
    return FoldTable(challenge.name, rows, challenge.sha256())


def canonical(read: Predictions, challenge: Challenge) -> bytes:
    """Return predictions in their one byte form: by seed, then case; the shortest exact numbers."""
    seeded = read.seeds != (0,)
    values = ("prediction",) if read.probabilities is None else PROBABILITIES
    lines = [",".join(["case_id", *(["seed"] if seeded else []), *values])]
    for place, seed in enumerate(read.seeds):
        for case, name in enumerate(challenge.cases):
            if read.probabilities is None:
                cells = [CLASSES[read.labels[place, case]]]
            else:
                cells = [_number(p) for p in read.probabilities[place, case]]
            lines.append(",".join([name, *([str(seed)] if seeded else []), *cells]))
    return ("\n".join(lines) + "\n").encode()


def _number(value: np.float64) -> str:
    return repr(abs(float(value)))


def _entry(content: bytes, challenge: Challenge) -> Entry:
    """Return an entry that is bound to the challenge."""
    if len(content) > _MAX_ENTRY:
        raise InputError("entry.yaml", [f"larger than {_MAX_ENTRY:,} bytes"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.yaml"
        path.write_bytes(content)
        entry = load_entry(path)
    expected = {
        "benchmark.cohort": (entry.benchmark.cohort, challenge.name),
        "benchmark.version": (entry.benchmark.version, challenge.benchmark.version),
        "benchmark.splits_sha256": (entry.benchmark.splits_sha256, challenge.sha256()),
        "synthetic": (entry.synthetic, challenge.synthetic),
        "claimed": (dict(entry.claimed), {}),
    }
    problems = [
        f"{name} is {str(given)[:80]!r}, in this challenge {str(right)!r}"
        for name, (given, right) in expected.items()
        if given != right
    ]
    if problems:
        raise InputError("entry.yaml", problems)
    return entry


def _entry_bytes(entry: Entry) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_entry(Path(folder) / "entry.yaml", entry)
        return (Path(folder) / "entry.yaml").read_bytes()


def _predictions(content: bytes, challenge: Challenge) -> Predictions:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        path.write_bytes(content)
        return read_predictions(path, blank_table(challenge))


def _seed_problems(entry: Entry, read: Predictions) -> list[str]:
    if tuple(entry.seeds) == read.seeds:
        return []
    return [f"seeds are {list(entry.seeds)[:10]}, the predictions have {list(read.seeds)[:10]}"]


def _envelope_problems(
    envelope: Envelope, parts: dict[str, bytes], challenge: Challenge
) -> list[str]:
    problems = []
    if not envelope.is_from(envelope.participant):
        problems.append("the signature is not that of the participant's key: it was edited")
    if envelope.challenge != challenge.sha256():
        problems.append(f"made for another challenge ({envelope.challenge[:12]}...)")
    for name, digest in (
        ("entry.yaml", envelope.entry_sha256),
        ("predictions.csv", envelope.predictions_sha256),
    ):
        if sha256_bytes(parts[name]) != digest:
            problems.append(f"{name} is not the one that was signed")
    if envelope.to_json().encode() != parts["submission.json"]:
        problems.append("submission.json: not in its one byte form")
    return problems


def _archive(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in MEMBERS:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, parts[name])
    return stream.getvalue()


def _members(content: bytes, subject: str) -> dict[str, bytes]:
    """Return the three members of an archive that is exactly as :func:`pack` writes it."""
    if len(content) > MAX_BYTES:
        raise InputError(subject, [f"larger than {MAX_BYTES:,} bytes"], _NEXT)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            problems = _archive_problems(archive.infolist())
            # Only stored members are read, so that no more comes out than was handed in.
            parts = {} if problems else {name: archive.read(name) for name in MEMBERS}
    except Exception as error:  # noqa: BLE001 - zipfile raises a dozen kinds on hostile bytes
        problems, parts = [f"not a zip archive that can be read ({str(error)[:80]})"], {}
    if parts and _archive(parts) != content:
        problems.append("the archive holds more than its three members")
    if problems:
        raise InputError(subject, problems, _NEXT)
    return parts


def _archive_problems(infos: list[zipfile.ZipInfo]) -> list[str]:
    names = [info.filename for info in infos]
    problems = []
    if sorted(names) != sorted(MEMBERS):
        shown = ", ".join(repr(name[:40]) for name in names[:6])
        problems.append(f"holds {len(names)} members ({shown}), not {', '.join(MEMBERS)} once each")
    for info in infos[:6]:
        if info.compress_type != zipfile.ZIP_STORED:
            problems.append(f"{info.filename[:40]!r} is compressed")
        if info.file_size > MAX_BYTES:
            problems.append(f"{info.filename[:40]!r} claims {info.file_size:,} bytes")
    return problems
