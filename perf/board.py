"""Time a board of many entries: intervals, all pairwise tests, ranks and tiers; and how that grows.

Example: python perf/board.py --entries 10,50,100
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.cohort import PHANTOM
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.ranking import Contender, compare_pairs, rank, resolution
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.metrics import RANK_KEY, confusion, headline


def made_up(folds: FoldTable, n: int) -> list[NDArray[np.int64]]:
    """Return n entries (1, N) of growing skill."""
    rng = np.random.default_rng(0)
    truth = np.array(folds.labels)
    skills = np.linspace(0.3, 0.9, n)
    return [
        np.where(rng.random(len(truth)) < skill, truth, rng.integers(0, len(CLASSES), len(truth)))[
            None
        ]
        for skill in skills
    ]


def board(folds: FoldTable, entries: list[NDArray[np.int64]]) -> dict[str, float]:
    """Return the seconds of each part."""
    truth = np.array(folds.labels)
    values = [float(headline(confusion(truth, p[0]))[RANK_KEY]) for p in entries]
    contenders = [
        Contender(f"e{i:03d}", v, p) for i, (v, p) in enumerate(zip(values, entries, strict=True))
    ]
    seconds = {}
    started = time.perf_counter()
    draws = bootstrap(folds, entries).headline[RANK_KEY]
    seconds["intervals"] = time.perf_counter() - started
    started = time.perf_counter()
    pairs = compare_pairs(folds, contenders, draws)
    seconds["pairs"] = time.perf_counter() - started
    started = time.perf_counter()
    rank(contenders, pairs, draws)
    resolution(len(truth), draws)
    seconds["ranks"] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Print the seconds of each part, by number of entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", default="10,50,100")
    options = parser.parse_args()
    folds, _ = find_folds(PHANTOM)
    print("entries   pairs   intervals   all pairwise tests   ranks   together")
    for n in map(int, options.entries.split(",")):
        runs = [board(folds, made_up(folds, n)) for _ in range(3)]
        best = min(runs, key=lambda run: sum(run.values()))
        print(
            f"{n:7d} {n * (n - 1) // 2:7d} {best['intervals']:9.2f} s {best['pairs']:18.2f} s "
            f"{best['ranks']:5.2f} s {sum(best.values()):8.2f} s"
        )


if __name__ == "__main__":
    main()
