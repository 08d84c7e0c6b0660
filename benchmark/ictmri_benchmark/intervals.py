"""Bootstrap intervals: patients drawn within their class, the same draws for every entry.

A draw is a vector of integer weights, one a case. All entries on the same folds share the draws, so that
differences and ranks are paired. Only sums of small integers are formed, in float32 exactly, hence the
result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.files import sha256_bytes
from ictmri.folds import FoldTable
from ictmri_benchmark.metrics import headline
from ictmri_benchmark.protocol import CONFIDENCE, HEADLINE, N_DRAWS, VERSION

_CHUNK = 500


def draws(cohort: FoldTable, n_draws: int = N_DRAWS) -> Iterator[NDArray[np.float32]]:
    """Yield weight matrices (chunk, n) of the class-stratified patient bootstrap.

    The seed follows from the folds, the labels and the protocol's version, never from predictions.
    """
    seed = sha256_bytes(f"{cohort.sha256} {cohort.labels_sha256} {VERSION}".encode())
    rng = np.random.Generator(np.random.PCG64(int(seed[:32], 16)))
    labels = np.array(cohort.labels)
    members = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    for start in range(0, n_draws, _CHUNK):
        count = min(_CHUNK, n_draws - start)
        weights = np.zeros((count, len(labels)), dtype=np.float32)
        for cases in members:
            if len(cases):
                weights[:, cases] = _counts(rng, count, len(cases))
        yield weights


def _counts(rng: np.random.Generator, rows: int, n: int) -> NDArray[np.int64]:
    """Return (rows, n): how often each of n cases is drawn in n draws with replacement."""
    picks = rng.integers(0, n, size=(rows, n), dtype=np.uint32)
    cells = picks + np.arange(rows)[:, None] * n
    return np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n)


def bootstrap(
    cohort: FoldTable, entries: Sequence[NDArray[np.int64]], n_draws: int = N_DRAWS
) -> dict[str, NDArray[np.float64]]:
    """Return the headline metrics of every draw.

    Args:
        cohort: gives the labels and the seed.
        entries: for each of E entries (S, N) predicted labels, S being its number of seeds.
        n_draws: number of draws.

    Returns:
        By metric, (n_draws, E): the mean over an entry's seeds.
    """
    k = len(CLASSES)
    sizes = np.array([len(seeds) for seeds in entries])
    starts = np.cumsum(sizes) - sizes
    cells = np.array(cohort.labels) * k + np.concatenate(entries)
    one_hot = (cells.T[..., None] == np.arange(k * k)).astype(np.float32)
    chunks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in HEADLINE}
    for weights in draws(cohort, n_draws):
        matrices = (weights @ one_hot.reshape(len(one_hot), -1)).reshape(len(weights), -1, k, k)
        for name, values in headline(matrices).items():
            chunks[name].append(np.add.reduceat(values, starts, axis=1) / sizes)
    return {name: np.concatenate(values) for name, values in chunks.items()}


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the central interval of bootstrap values (draws,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
