"""One way to run a function over many cases: local processes, one thread each, a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    function: Callable[[T], R], items: Sequence[T], *, title: str, jobs: int | None = None
) -> list[R]:
    """Apply ``function`` to every item in worker processes and return the results in order.

    Args:
        function: picklable; gets one item.
        items: what to do.
        title: text of the progress bar (on stderr).
        jobs: number of processes; all usable cores where None.
    """
    if not items:
        return []
    from joblib import Parallel, delayed
    from tqdm import tqdm

    jobs = min(jobs or usable_cores(), len(items))
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        results = Parallel(n_jobs=jobs, return_as="generator", backend="loky" if jobs > 1 else None)(
            delayed(function)(item) for item in items
        )
        return list(tqdm(results, total=len(items), desc=title, unit="case", leave=True))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
