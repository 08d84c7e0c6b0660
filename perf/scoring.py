"""Score very many cases: counts, metrics and 10,000-draw intervals, beside scikit-learn's report alone.

Memory is traced in a process of its own for each size and number of draws.

Example: python perf/scoring.py --cases 1000,10000,100000,1000000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from ictmri.classes import CLASSES
from ictmri.folds import FoldRow, FoldTable
from ictmri_benchmark.score.intervals import bootstrap, percentile_interval
from ictmri_benchmark.score.metrics import METRICS, confusion, headline, per_class
from ictmri_benchmark.score.protocol import N_DRAWS


class Many(FoldTable):
    """A fold table of very many cases, whose labels are held as they are."""

    made: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:  # type: ignore[override]
        """Integer labels."""
        return self.made

    @property
    def labels_sha256(self) -> str:
        """Digest that stands for the labels."""
        return "perf"


def many(n: int) -> tuple[Many, NDArray[np.int64]]:
    """Return a table of n cases and predictions (1, n) that are right in 70 % of them."""
    rng = np.random.default_rng(0)
    truth = rng.choice(len(CLASSES), n, p=[0.48, 0.24, 0.16, 0.12])
    predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, len(CLASSES), n))
    row = FoldRow("", "", CLASSES[0], 0)
    table = Many("perf", (row,) * n, "perf")
    object.__setattr__(table, "made", truth)
    return table, predicted[None]


def ours(table: Many, predicted: NDArray[np.int64], n_draws: int) -> dict[str, float]:
    """Score and return the headline metrics; their intervals are computed as well."""
    matrix = confusion(table.labels, predicted[0])
    per_class(matrix)
    drawn = bootstrap(table, [predicted], n_draws)
    for name in METRICS:
        percentile_interval(drawn.headline[name][:, 0])
    return {name: float(value) for name, value in headline(matrix).items()}


def peak_mb(n: int, n_draws: int) -> float:
    """Return the most memory that scoring holds besides its input, in MB, in a fresh process."""
    code = (
        "import sys, tracemalloc; sys.path.insert(0, 'perf'); import scoring;"
        f"t, p = scoring.many({n}); tracemalloc.start(); scoring.ours(t, p, {n_draws});"
        "print(tracemalloc.get_traced_memory()[1] / 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print times, ratios and memory by number of cases, and memory by number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="1000,10000,100000,1000000")
    options = parser.parse_args()
    print(
        "cases      ictmri (10,000 draws included)   scikit-learn's report   ratio   added memory"
    )
    sizes = [int(n) for n in options.cases.split(",")]
    for n in sizes:
        table, predicted = many(n)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            values = ours(table, predicted, N_DRAWS)
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        theirs = classification_report(
            table.labels, predicted[0], labels=range(4), output_dict=True, zero_division=0
        )
        report_seconds = time.perf_counter() - started
        assert abs(values["macro_f1"] - theirs["macro avg"]["f1-score"]) < 1e-12  # noqa: S101
        mean = float(np.median(seconds))
        print(
            f"{n:9,d} {mean:25.3f} s {report_seconds:25.3f} s {report_seconds / mean:8.1f} "
            f"{peak_mb(n, N_DRAWS):10.0f} MB"
        )
    print("draws, at the largest size: added memory")
    for n_draws in (100, 1_000, 10_000, 50_000):
        print(f"{n_draws:9,d} {peak_mb(sizes[-1], n_draws):10.0f} MB")


if __name__ == "__main__":
    main()
