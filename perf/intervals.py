"""Time bootstrap intervals: the weight-matrix product against a loop over scikit-learn's metrics.

Both see the same draws in the same run and must agree; the ratio of their times is the result.

Example: python perf/intervals.py --n-draws 10000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ictmri.classes import CLASSES
from ictmri.cohort import PHANTOM
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.score.intervals import bootstrap, draws
from ictmri_benchmark.score.metrics import PRINTED
from ictmri_benchmark.score.protocol import N_DRAWS


def loop(folds: FoldTable, predicted: NDArray[np.int64], n_draws: int) -> NDArray[np.float64]:
    """Return (n_draws, 4) headline metrics, one scikit-learn call a draw and metric family."""
    truth, labels = np.array(folds.labels), list(range(len(CLASSES)))
    rows = []
    for weights in draws(folds, n_draws):
        for weight in weights:
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth,
                predicted,
                labels=labels,
                average="macro",
                sample_weight=weight,
                zero_division=0,
            )
            accuracy = accuracy_score(truth, predicted, sample_weight=weight)
            rows.append([precision, recall, f1, accuracy])
    return np.array(rows)


def main() -> None:
    """Print both times, their ratio, and the largest difference of the values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-draws", type=int, default=N_DRAWS)
    options = parser.parse_args()
    folds, _ = find_folds(PHANTOM)
    rng = np.random.default_rng(0)
    truth = np.array(folds.labels)
    wrong = rng.random(len(truth)) < 0.4
    predicted = np.where(wrong, rng.integers(0, len(CLASSES), len(truth)), truth)
    ours_seconds = []
    for _ in range(3):
        started = time.perf_counter()
        ours = bootstrap(folds, [predicted[None]], options.n_draws).headline
        ours_seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    theirs = loop(folds, predicted, options.n_draws)
    loop_seconds = time.perf_counter() - started
    columns = np.column_stack([ours[metric.name][:, 0] for metric in PRINTED])
    seconds = float(np.median(ours_seconds))
    print(f"{options.n_draws} draws of {len(truth)} cases, {len(PRINTED)} metrics")
    print(f"ictmri_benchmark: {seconds:.3f} s (median of 3)")
    print(f"scikit-learn loop: {loop_seconds:.1f} s")
    print(f"ratio: {loop_seconds / seconds:.0f}")
    print(f"largest difference: {np.abs(columns - theirs).max():.1e}")


if __name__ == "__main__":
    main()
