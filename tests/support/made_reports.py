"""Digests of reports and of a board, printed by whatever Python runs this file.

The predictions are made of whole numbers alone: every Python, NumPy and processor is given the same.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json
from ictmri.lookup import find_folds
from ictmri_benchmark import evaluate
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.board.submission import submit, write_entry

SEEDS = {"one": (0,), "three": (0, 1, 2), "nine": tuple(range(9))}


def _rows(cohort: FoldTable, seed: int, stream: int) -> list[str]:
    rng = np.random.Generator(np.random.PCG64([stream, seed]))
    drawn = rng.integers(1, 10**6, (len(cohort.rows), len(CLASSES)))
    drawn[np.arange(len(drawn)), cohort.labels] += 200_000 + 50_000 * stream
    millionths = drawn * 10**6 // drawn.sum(axis=1, keepdims=True)
    millionths[np.arange(len(drawn)), drawn.argmax(axis=1)] += 10**6 - millionths.sum(axis=1)
    cells = [",".join(f"0.{number:06d}" for number in row.tolist()) for row in millionths]
    return [f"{row.case_id},{seed},{cell}" for row, cell in zip(cohort.rows, cells, strict=True)]


def hand_in(folder: Path, cohort: FoldTable, slug: str) -> tuple[Path, Path]:
    """Write predictions.csv and entry.yaml of a made-up submission."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(("case_id", "seed", *(f"p_{name}" for name in CLASSES)))]
    for seed in SEEDS[slug]:
        lines += _rows(cohort, seed, list(SEEDS).index(slug))
    entry = Entry(
        slug=slug,
        benchmark=BenchmarkRef(cohort=cohort.name, splits_sha256=cohort.sha256),
        synthetic=True,
        method=MethodInfo(name=slug, summary="Made up.", authors=("A",), licence="MIT"),
        selection="fixed-epoch",
        seeds=SEEDS[slug],
        inputs=InputsUsed(image=True, prior="none", demographics=False),
    )
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    write_entry(folder / "entry.yaml", entry)
    return folder / "predictions.csv", folder / "entry.yaml"


def digests(out: Path) -> dict[str, str]:
    """Submit three entries, render the board, and return the digest of every file by its name."""
    cohort, synthetic = find_folds("ictmri-phantom")
    for slug in SEEDS:
        given = hand_in(out / "given" / slug, cohort, slug)
        submit(*given, cohort, out / "entries", synthetic=synthetic)
        bca = evaluate(given[0], cohort, synthetic=synthetic, interval="bca")
        (out / f"bca-{slug}.json").write_text(bca.to_json())
    board = build_leaderboard(out / "entries", cohort, synthetic=synthetic)
    # The day of a submission is in the ledger, and is no score.
    board["ledger"] = []
    write_leaderboard(out, board)
    files = [*out.glob("entries/*/*.*"), *out.glob("*.json"), *out.glob("*.html")]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


if __name__ == "__main__":
    sys.stdout.write(canonical_json(digests(Path(sys.argv[1]))))
