"""One way to run a function over many cases: local processes or a Dask cluster, one thread each, a bar."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, TypeVar

from ictmri.errors import InputError
from ictmri.io.cluster import ONE_THREAD, Cluster, run_on

T = TypeVar("T")
R = TypeVar("R")

_WATCH_SECONDS = 0.5

_LOG_SECONDS = 10.0
"""Between two lines of progress where nobody watches it move, in a log file."""
_SILENT_SECONDS = 2.0
_IDLE_SECONDS = 300.0
"""After which workers without work end."""


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(  # noqa: PLR0913
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    total: int,
    title: str,
    unit: str = "case",
    jobs: int | None = None,
    scheduler: str | Cluster | None = None,
    name: Callable[[T], str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[R]:
    """Apply ``function`` to every item in worker processes and return the results in order.

    Args:
        function: picklable; gets one item.
        items: what to do; taken from the iterable as workers become free.
        total: number of items.
        title: text of the progress bar (on stderr).
        unit: what an item is, for the progress bar.
        jobs: number of processes, all usable cores where None; with a scheduler, how many items are
            sent to it at once, as many as keep its workers busy where None.
        scheduler: address of a Dask scheduler (``tcp://host:port``) whose workers do the items, else
            None. What a lost worker had is done again, so ``function`` must be harmless to repeat.
        name: what an item is called in a message about it; its number where None.
        environment: variables that libraries read when they are loaded: the items are then done in worker
            processes that start with them, be it one. Workers of a cluster have their own.

    Raises:
        InputError: a worker process was ended by the system, or the cluster cannot be used.
    """
    if not total:
        return []
    if scheduler is not None:
        cluster = scheduler if isinstance(scheduler, Cluster) else Cluster(scheduler)

        def called(position: int, item: T) -> str:
            return name(item) if name else f"{unit} {position + 1}"

        done = run_on(cluster, function, items, title=title, name=called, at_once=jobs)
        with closing(done):
            found = dict(_bar(done, total=total, desc=title, unit=unit))
        return [found[position] for position in range(len(found))]
    bar = {"total": total, "desc": title, "unit": unit}
    at_once = min(jobs or usable_cores(), total)
    return _run_here(function, items, environment or {}, bar=bar, jobs=at_once)


def _run_here(
    function: Callable[[T], R],
    items: Iterable[T],
    environment: Mapping[str, str],
    *,
    bar: Mapping[str, Any],
    jobs: int,
) -> list[R]:
    title = str(bar["desc"])
    if jobs == 1 and not environment:
        with variables(ONE_THREAD):
            return list(_bar(map(function, items), **bar))
    supervised = _Supervised(function, os.getpid())
    given = {**os.environ, **ONE_THREAD, **environment}
    with _losses_told(title), _replacing_silently():
        results = _from_workers(supervised, iter(items), jobs, given)
        with closing(results):
            return list(_bar(results, **bar))


def _from_workers(
    function: Callable[[T], R], items: Iterator[T], jobs: int, environment: Mapping[str, str]
) -> Generator[R, None, None]:
    """Yield results in order; a few items are under way at once, since some hold a whole volume."""
    pool = _workers(jobs, tuple(sorted(environment.items())))
    under_way: deque[Any] = deque()
    try:
        with _ctrl_c_later():
            under_way.extend(pool.submit(function, item) for item in islice(items, 2 * jobs))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(function, item) for item in islice(items, 1))
    except BaseException:
        # Given up: what runs would go on beside the command that is run again.
        _workers.cache_clear()
        pool.shutdown(kill_workers=True)
        raise


@lru_cache(maxsize=1)
def _workers(jobs: int, environment: tuple[tuple[str, str], ...]) -> Any:
    """Return processes that start in an environment; the last ones where it is the same.

    What they have imported stays for the next work. The interpreter's end, or other workers, end them.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(jobs, timeout=_IDLE_SECONDS, env=dict(environment))


def watched(items: Sequence[T], title: str) -> Iterable[T]:
    """Return items under a progress bar that appears when they take longer than two seconds."""
    return _bar(items, total=len(items), desc=title, unit="case", delay=_SILENT_SECONDS)


def _bar(items: Iterable[T], **settings: Any) -> Iterable[T]:
    from tqdm import tqdm

    return tqdm(items, mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS, **settings)


@dataclass(frozen=True, slots=True)
class _Supervised(Generic[T, R]):
    """A function whose worker process ends when the process that gave it the work is gone.

    Otherwise a worker would go on with what it has, beside the command that is run again.
    """

    function: Callable[[T], R]
    parent: int

    def __call__(self, item: T) -> R:
        name = f"parent-{self.parent}"
        if all(thread.name != name for thread in threading.enumerate()):
            threading.Thread(target=_end_with, args=(self.parent,), name=name, daemon=True).start()
        return self.function(item)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back while workers start: they inherit that, and leave it to the command itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Started with the first worker it would lift the block, so it is started before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _losses_told(title: str) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        signals = ", ".join(sorted(set(re.findall(r"SIG[A-Z]+", str(error)))))
        how = f"was ended by {signals}" if signals else "ended"
        raise InputError(
            title,
            [f"a worker process {how}; mostly it is the system, because memory ran out"],
            "run the same command again, it goes on from here; --jobs 1 needs the least memory",
        ) from error


@contextmanager
def _replacing_silently() -> Iterator[None]:
    """Let loky replace a worker without a word.

    It does so when a worker holds 300 MB more than after its first item, which libraries that are loaded
    with a later case and volumes of another size do; its items are not lost. The warning calls that a leak.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
        yield


@contextmanager
def variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment in this block, and put back what was there."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
