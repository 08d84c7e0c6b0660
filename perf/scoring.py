"""Score very many cases, and bootstrap them, beside scikit-learn doing the same.

Counts, metrics and 10,000-draw intervals beside scikit-learn's report alone, memory traced in a process of
its own for each size and number of draws; then the intervals beside a loop over scikit-learn's metrics,
which sees the same draws and must agree.

Example: python perf/scoring.py --cases 1000,10000,100000,1000000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    precision_recall_fscore_support,
)

from ictmri.classes import CLASSES
from ictmri.cohort import PHANTOM
from ictmri.folds import FoldRow, FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.score.intervals import bootstrap, draws, percentile_interval
from ictmri_benchmark.score.metrics import METRICS, PRINTED, confusion, headline, per_class
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
    truth = np.random.default_rng(0).choice(len(CLASSES), n, p=[0.48, 0.24, 0.16, 0.12])
    row = FoldRow("", "", CLASSES[0], 0)
    table = Many("perf", (row,) * n, "perf")
    object.__setattr__(table, "made", truth)
    return table, guessed(truth)[None]


def guessed(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels that are right in 70 % of the cases."""
    rng = np.random.default_rng(1)
    return np.where(rng.random(len(truth)) < 0.6, truth, rng.integers(0, len(CLASSES), len(truth)))


def ours(table: Many, predicted: NDArray[np.int64], n_draws: int) -> dict[str, float]:
    """Score and return the headline metrics; their intervals are computed as well."""
    matrix = confusion(table.labels, predicted[0])
    per_class(matrix)
    drawn = bootstrap(table, [predicted], n_draws)
    for name in METRICS:
        percentile_interval(drawn.headline[name][:, 0])
    return {name: float(value) for name, value in headline(matrix).items()}


def loop(folds: FoldTable, predicted: NDArray[np.int64], n_draws: int) -> NDArray[np.float64]:
    """Return (n_draws, 4) headline metrics, one scikit-learn call a draw and metric family."""
    truth, rows = np.array(folds.labels), []
    kinds: dict[str, Any] = {"labels": range(len(CLASSES)), "average": "macro", "zero_division": 0}
    for weights in draws(folds, n_draws):
        for weight in weights:
            *macro, _ = precision_recall_fscore_support(
                truth, predicted, sample_weight=weight, **kinds
            )
            rows.append([*macro, accuracy_score(truth, predicted, sample_weight=weight)])
    return np.array(rows)


def timed(work: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    """Return the median of a work's seconds, and what it returned."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)), found


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
    """Print times, ratios and memory by number of cases and of draws, then the loop's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="1000,10000,100000,1000000")
    parser.add_argument("--n-draws", type=int, default=N_DRAWS, help="of the loop")
    options = parser.parse_args()
    print(
        "cases      ictmri (10,000 draws included)   scikit-learn's report   ratio   added memory"
    )
    sizes = [int(n) for n in options.cases.split(",")]
    for n in sizes:
        table, predicted = many(n)
        mean, values = timed(lambda t=table, p=predicted: ours(t, p, N_DRAWS), 3)
        known: dict[str, Any] = {"labels": range(4), "output_dict": True, "zero_division": 0}
        report_seconds, theirs = timed(
            lambda t=table, p=predicted, k=known: classification_report(t.labels, p[0], **k)
        )
        assert abs(values["macro_f1"] - theirs["macro avg"]["f1-score"]) < 1e-12  # noqa: S101
        print(
            f"{n:9,d} {mean:25.3f} s {report_seconds:25.3f} s {report_seconds / mean:8.1f} "
            f"{peak_mb(n, N_DRAWS):10.0f} MB"
        )
    print("draws, at the largest size: added memory")
    for n_draws in (100, 1_000, 10_000, 50_000):
        print(f"{n_draws:9,d} {peak_mb(sizes[-1], n_draws):10.0f} MB")
    folds, _ = find_folds(PHANTOM)
    labels = guessed(np.array(folds.labels))
    seconds, drawn = timed(lambda: bootstrap(folds, [labels[None]], options.n_draws).headline, 3)
    loop_seconds, looped = timed(lambda: loop(folds, labels, options.n_draws))
    columns = np.column_stack([drawn[metric.name][:, 0] for metric in PRINTED])
    print(
        f"{options.n_draws} draws of {len(labels)} cases: {seconds:.3f} s, a loop over scikit-learn's "
        f"metrics {loop_seconds:.1f} s, {loop_seconds / seconds:.0f} times; they differ by "
        f"{np.abs(columns - looped).max():.1e} at most"
    )


if __name__ == "__main__":
    main()
