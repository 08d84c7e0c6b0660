"""Time a whole board of many entries: read, scored, tested, written; and how time and memory grow.

Entries of growing skill are made up on the phantom's folds, each with probabilities, its report and
entry.yaml. Each number of entries is measured in a process of its own; a board of more than 100 entries
compares the best of each tier with those behind it.

Example: python perf/board.py --entries 10,100,1000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from ictmri.classes import CLASSES
from ictmri.cohort import PHANTOM
from ictmri.folds import FoldTable
from ictmri.io.files import write_text
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo, write_entry
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.predictions import read_predictions
from ictmri_benchmark.score.report import score

SKILLS: Final = (0.05, 0.4)


def made_up(folder: Path, folds: FoldTable, n: int, n_seeds: int) -> None:
    """Write n entries of some seeds each."""
    rng = np.random.default_rng(0)
    bound = BenchmarkRef(
        cohort=folds.name, splits_sha256=folds.sha256, data_sha256=folds.data_sha256
    )
    inputs = InputsUsed(image=True, prior="none", demographics=False)
    cases = np.arange(len(folds.rows))
    for number, skill in enumerate(np.linspace(*SKILLS, n)):
        name = f"Entry {number:04d}"
        place = folder / name.lower().replace(" ", "-")
        lines = [f"case_id,seed,{','.join(f'p_{label}' for label in CLASSES)}"]
        for seed in range(n_seeds):
            drawn = rng.dirichlet([1] * len(CLASSES), len(cases))
            drawn[cases, folds.labels] += skill
            drawn /= drawn.sum(axis=1, keepdims=True)
            lines += [
                ",".join([case, str(seed), *(f"{p:.6f}" for p in cells)])
                for case, cells in zip(folds.case_ids, drawn, strict=True)
            ]
        write_text(place / "predictions.csv", "\n".join(lines) + "\n")
        method = MethodInfo(name=name, summary="Made up.", authors=("A",), licence="MIT")
        entry = Entry(
            slug=place.name,
            benchmark=bound,
            synthetic=True,
            method=method,
            selection="fixed-epoch",
            seeds=tuple(range(n_seeds)),
            inputs=inputs,
        )
        write_entry(place / "entry.yaml", entry)
        read = read_predictions(place / "predictions.csv", folds)
        report = score(read, folds, bootstrap(folds, [read.labels]), synthetic=True)
        write_text(place / "report.json", report.to_json())


def board(folder: Path) -> dict[str, float]:
    """Return seconds, and megabytes of memory and of the files, of the board of a folder."""
    folds, _ = find_folds(PHANTOM)
    started, spent = time.perf_counter(), time.process_time()
    made = build_leaderboard(folder, folds, synthetic=True)
    built = time.perf_counter()
    write_leaderboard(folder / "board", made)
    return {
        "built": built - started,
        "written": time.perf_counter() - built,
        "processor": time.process_time() - spent,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "html": (folder / "board/leaderboard.html").stat().st_size / 1e6,
    }


def main() -> None:
    """Print a table by number of entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", default="10,100,1000")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="of entries: print the figures of its board")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(board(options.folder)))
        return
    folds, _ = find_folds(PHANTOM)
    print("| entries | built, s | written, s | processor, s | memory, MB | page, MB |")
    print("|---|---|---|---|---|---|")
    for n in map(int, options.entries.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            made_up(Path(folder), folds, n, options.seeds)
            command = [sys.executable, __file__, "--folder", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        cells = (f"{found[name]:.1f}" for name in ("built", "written", "processor"))
        print(f"| {n} | {' | '.join(cells)} | {found['memory']:.0f} | {found['html']:.1f} |")


if __name__ == "__main__":
    main()
