"""A made-up sealed challenge: an organiser, participants with keys, and what they hand in."""

from __future__ import annotations

import copy
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.made_predictions import probabilities, write_predictions

from ictmri.folds import Candidate, FoldTable, assign_folds, format_folds
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo, write_entry
from ictmri_benchmark.sealed import keys
from ictmri_benchmark.sealed.documents import Result, load_challenge
from ictmri_benchmark.sealed.labels import LabelledCases, make_rules
from ictmri_benchmark.sealed.package import pack
from ictmri_benchmark.sealed.store import ChallengeStore

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """An organiser with a small sealed set, and participants with keys."""

    def __init__(self, root: Path, table: FoldTable, **limits: int) -> None:
        self.root, self.table = root, table
        self.folder = root / "sealed"
        given = {"metric": "macro_f1", "quota": 5, "per_day": 5, "total": 100} | limits
        rules = make_rules(len(table.rows), **given)
        ChallengeStore.create(self.folder, LabelledCases(table.rows, "mini"), rules, START)
        self.public = self.folder / "public"
        self.challenge = load_challenge(self.public / "challenge.json")
        self.keys: dict[str, Ed25519PrivateKey] = {}

    def copied(self, root: Path) -> World:
        other = copy.copy(self)
        shutil.copytree(self.root, root)
        other.root, other.folder, other.public = root, root / "sealed", root / "sealed" / "public"
        return other

    def key(self, name: str) -> Ed25519PrivateKey:
        return self.keys.setdefault(name, Ed25519PrivateKey.generate())

    def admit(self, name: str, *, now: datetime = START, **options: bool) -> None:
        self.admit_key(keys.public_hex(self.key(name)), name, now=now, **options)

    def admit_key(self, public: str, name: str, *, now: datetime = START, **options: bool) -> None:
        with ChallengeStore.open(self.folder, now) as store:
            store.admit(public, name, **options)

    def entry(self, **changes: object) -> Path:
        described = Entry(
            **{
                "slug": "made-up",
                "benchmark": BenchmarkRef(
                    cohort=self.challenge.name, splits_sha256=self.challenge.sha256()
                ),
                "synthetic": False,
                "method": MethodInfo(
                    name="Made up", summary="Made up.", authors=("A",), licence="MIT"
                ),
                "selection": "fixed-epoch",
                "seeds": (0,),
                "inputs": InputsUsed(image=True, prior="none", demographics=False),
            }
            | changes
        )
        write_entry(self.root / "entry.yaml", described)
        return self.root / "entry.yaml"

    def predictions(self, skill: float, seed: int = 0) -> Path:
        values = probabilities(self.table, skill, seed)
        return write_predictions(self.root / f"p-{skill}-{seed}.csv", self.table, values)

    def pack(self, name: str, skill: float, seed: int = 0, **entry: object) -> Path:
        path = self.root / f"{name}-{skill}-{seed}.zip"
        packed = pack(
            self.predictions(skill, seed), self.entry(**entry), self.challenge, self.key(name)
        )
        path.write_bytes(packed.content)
        return path

    def score(self, archive: Path, *, now: datetime = START) -> Result:
        return self.answer(archive, now=now)[0]

    def answer(self, archive: Path, *, now: datetime = START) -> tuple[Result, bool]:
        with ChallengeStore.open(self.folder, now) as store:
            return store.score(archive)

    def reveal(self, out: Path, *, now: datetime = START) -> int:
        with ChallengeStore.open(self.folder, now) as store:
            return store.reveal(out)

    def log(self) -> list[bytes]:
        return (self.public / "log.jsonl").read_bytes().splitlines()

    def write_log(self, lines: list[bytes], name: str = "edited.jsonl") -> Path:
        path = self.root / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path


def made_table() -> FoldTable:
    labels = ["glioma"] * 36 + ["pcnsl"] * 20 + ["germinoma"] * 14 + ["rare"] * 10
    mixed = np.random.default_rng(0).permutation(labels)
    rows = assign_folds(
        [Candidate(f"mini-{i:04d}", f"mini-p{i:04d}", str(x)) for i, x in enumerate(mixed)], 5
    )
    return FoldTable("mini", tuple(rows), sha256_bytes(format_folds(rows).encode()))
