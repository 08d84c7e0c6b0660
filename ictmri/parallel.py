"""One way to run a function over many cases: local processes, one thread each, a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LOG_SECONDS = 10.0
"""Between two lines of progress where nobody watches it move, in a log file."""
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
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    total: int,
    title: str,
    unit: str = "case",
    jobs: int | None = None,
) -> list[R]:
    """Apply ``function`` to every item in worker processes and return the results in order.

    Args:
        function: picklable; gets one item.
        items: what to do; taken from the iterable as workers become free.
        total: number of items.
        title: text of the progress bar (on stderr).
        unit: what an item is, for the progress bar.
        jobs: number of processes; all usable cores where None.
    """
    if not total:
        return []
    from joblib import Parallel, delayed
    from tqdm import tqdm

    jobs = min(jobs or usable_cores(), total)
    with _one_thread_each():
        results = Parallel(
            n_jobs=jobs,
            return_as="generator",
            backend="loky" if jobs > 1 else "sequential",
            pre_dispatch=2 * jobs,
        )(delayed(function)(item) for item in items)
        seconds = 0.1 if sys.stderr.isatty() else _LOG_SECONDS
        return list(tqdm(results, total=total, desc=title, unit=unit, mininterval=seconds))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
