"""Cases on a Dask cluster: a bounded number of items under way, results in order, one thread a task.

A worker that is lost takes nothing with it: the scheduler gives its items to another, and whoever
writes files does so under a name that they take when they are whole (:mod:`ictmri.io.files`).
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import pickle
import platform
import socket
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ictmri.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
"""What libraries read when they are loaded; those loaded already are told in other ways."""
CONNECT_SECONDS: Final = 15
"""How long a scheduler may take to answer; across a busy network it is below a second."""
AHEAD: Final = 2
"""Items sent for each thread of the cluster: one that runs and one that waits beside it. Their volumes
are held by the scheduler, 20 MB each, so they are never all sent."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at how many workers there are: a batch system adds them one by one."""
PROTOCOL: Final = ("dask", "distributed", "cloudpickle", "msgpack", "tornado")
"""Packages that must be the same on both sides for the messages to be understood."""
RESULT: Final = ("ictmri", "numpy", "scipy", "nibabel", "SimpleITK", "antspyx", "torch", "monai")
"""Packages whose version may change a voxel: equal inputs must give equal bytes on every worker."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Dask cluster.

    Attributes:
        address: of its scheduler, ``tcp://host:port``.
        folder: absolute path of a folder that all workers must share with this machine, because results
            are written there; None where they are not.
    """

    address: str
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_absolute():
            raise ValueError(f"workers have a working directory of their own: {self.folder}")


@dataclass(frozen=True, slots=True)
class _Work(Generic[T]):
    """All items of a run, and what the workers must have in common with this process."""

    cluster: Cluster
    function: Callable[[T], Any]
    items: Iterator[T]
    title: str
    name: Callable[[int, T], str]
    versions: dict[str, str]
    token: str


def run_on(
    cluster: Cluster,
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    title: str,
    name: Callable[[int, T], str],
    at_once: int | None = None,
) -> Generator[tuple[int, R], None, None]:
    """Yield (position, result) of every item, in the order in which they are done.

    Args:
        cluster: where.
        function: picklable, and harmless to run twice for one item.
        items: taken from the iterable as workers become free.
        title: of the work, for messages.
        name: the name of an item, given its position and itself.
        at_once: items under way at most; :data:`AHEAD` for each thread of the cluster where None.

    Raises:
        MissingDependencyError: ``distributed`` is not installed.
        InputError: the scheduler cannot be reached, or is lost; a worker has other versions of what the
            results depend on, or does not see the folder; workers end again and again on some items.
    """
    try:
        from distributed.comm import CommClosedError
    except ImportError:
        raise MissingDependencyError("A Dask cluster", "cluster") from None
    with _quiet(), _connected(cluster) as client, _seen(cluster.folder) as token:
        work = _Work(cluster, function, iter(items), title, name, _versions(RESULT), token)
        try:
            yield from _done(client, work, at_once)
        except (CommClosedError, CancelledError) as error:
            problem = f"the connection to the scheduler was lost while {title} was running"
            step = "run the same command again, it goes on from here"
            raise InputError(f"--scheduler {cluster.address}", [problem], step) from error


def _done(client: Client, work: _Work[T], at_once: int | None) -> Iterator[tuple[int, Any]]:
    under_way: dict[Future, tuple[int, str]] = {}
    position, more = 0, True
    try:
        while more or under_way:
            limit = at_once or max(1, AHEAD * _threads(client, work, bool(under_way)))
            while more and len(under_way) < limit:
                try:
                    item = next(work.items)
                except StopIteration:
                    more = False
                    break
                called = work.name(position, item)
                under_way[_sent(client, work, item)] = (position, called)
                position += 1
            for future in _finished(list(under_way)):
                value = _result(future, under_way, work)
                yield under_way.pop(future)[0], value
    finally:
        # What runs on a worker cannot be stopped there, and may as well end.
        with suppress(OSError, CancelledError):
            client.cancel(list(under_way), reason="given up", msg=work.title)


def _sent(client: Client, work: _Work[T], item: T) -> Future:
    import cloudpickle
    import dask

    # As bytes, so that Dask does not look for its own tasks among the item's values.
    content = cloudpickle.dumps((work.function, item))
    needs = _Needs(work.versions, work.cluster.folder, work.token)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
        key = f"ictmri-{uuid.uuid4().hex}"
        return client.submit(_run, content, needs, key=key, pure=False)


def _finished(futures: list[Future]) -> list[Future]:
    """Wait a little; return the futures that are done in one way or the other."""
    from distributed import wait

    if not futures:
        return []
    try:
        done = wait(futures, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return []
    except CancelledError:
        # Which one it was is found below.
        done = {future for future in futures if future.status != "pending"}
    return [future for future in futures if future in done]


def _result(future: Future, under_way: dict[Future, tuple[int, str]], work: _Work[Any]) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise _killer(error, under_way, work) from error
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("ictmri"):
            raise
        problem = f"a worker cannot import {error.name}"
        raise InputError(work.title, [problem], _SAME_ENVIRONMENT) from error


_SAME_ENVIRONMENT: Final = (
    "start the scheduler and the workers from the environment of this command"
)


def _killer(error: Any, under_way: dict[Future, tuple[int, str]], work: _Work[Any]) -> InputError:
    """Say which items workers did not survive; a neighbour of the one at fault may be among them."""
    lost = [called for future, (_, called) in under_way.items() if future.status == "error"]
    times = error.allowed_failures + 1
    problem = "worker processes ended {} times while they held it; mostly memory ran out"
    return InputError(
        work.title,
        [f"{called}: {problem.format(times)}" for called in lost],
        "look into the workers' logs; give a worker more memory (--memory-limit) and one thread",
    )


def _threads(client: Client, work: _Work[Any], waiting: bool) -> int:
    """Return how many threads the cluster has; say so once where it has none."""
    from distributed.comm import CommClosedError

    try:
        count: int = sum(client.nthreads().values())
    except OSError as error:  # it may also have timed out
        raise CommClosedError(str(error)) from error
    if not count and not waiting:
        from tqdm import tqdm

        text = f"{work.title}: {work.cluster.address} has no worker yet; waiting"
        tqdm.write(text, file=sys.stderr)
    return count


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a worker must have in common with the process that gave it the work."""

    versions: dict[str, str]
    folder: Path | None
    token: str

    def check(self) -> None:
        """Raise InputError where the worker differs."""
        here = _versions(RESULT)
        problems = [
            f"{package} {here[package]} there, {wanted} here"
            for package, wanted in self.versions.items()
            if here[package] != wanted
        ]
        step = _SAME_ENVIRONMENT
        if self.folder is not None and not (self.folder / self.token).is_file():
            problems.append(f"it does not see {self.folder}, where results are written")
            step = "put the cohort on a file system that all workers mount at the same path"
        if problems:
            raise InputError(f"worker on {socket.gethostname()}", problems, step)


def _run(content: bytes, needs: _Needs) -> Any:
    """Do one item; runs on a worker."""
    needs.check()
    function, item = pickle.loads(content)
    with one_thread():
        return function(item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the numerical libraries of this process to one thread, loaded or to be loaded.

    The environment, torch and ITK stay so afterwards: another task of the worker may be running.
    """
    os.environ.update(ONE_THREAD)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with ExitStack() as stack:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            pass
        else:
            stack.enter_context(threadpool_limits(limits=1))
        yield


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Client]:
    from distributed import Client

    where = f"--scheduler {cluster.address}"
    try:
        client = Client(cluster.address, timeout=CONNECT_SECONDS, name="ictmri")
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            where,
            [f"cannot be reached: {reason}"],
            "give the address that `dask scheduler` printed, like tcp://host:8786, and see that it runs",
        ) from error
    with client:
        _check_protocol(client, where)
        yield client


def _check_protocol(client: Client, where: str) -> None:
    found = client.get_versions()
    sides = {"the scheduler": found["scheduler"], **found["workers"]}
    ours, python = found["client"]["packages"], platform.python_version_tuple()[:2]
    problems = []
    for side, facts in sides.items():
        theirs = facts["packages"]
        problems += [
            f"{side} has {package} {theirs.get(package)}, this command {ours[package]}"
            for package in PROTOCOL
            if theirs.get(package) != ours[package]
        ]
        other = tuple(facts["host"]["python"].split(".")[:2])
        if other != python:
            shown = ".".join(other), ".".join(python)
            problems.append("{} runs Python {}, this command {}".format(side, *shown))
    if problems:
        raise InputError(where, problems, _SAME_ENVIRONMENT)


def _versions(packages: Iterable[str]) -> dict[str, str]:
    return {package: _version(package) for package in packages}


@cache
def _version(package: str) -> str:
    """Return the version of a package, ``"none"`` where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@contextmanager
def _seen(folder: Path | None) -> Iterator[str]:
    """Yield the name of a file that lies in the folder for as long as the work lasts."""
    if folder is None:
        yield ""
        return
    token = f".cluster.{uuid.uuid4().hex}.part"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / token).touch()
    try:
        yield token
    finally:
        (folder / token).unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the cluster's own chatter off the progress bar; what matters is raised."""
    known = {"distributed", *logging.root.manager.loggerDict}
    loggers = [logging.getLogger(name) for name in known if name.startswith("distributed")]
    before = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def item_name(name: Callable[[T], str] | None, unit: str) -> Callable[[int, T], str]:
    """Return what names an item: the caller's function, else its number."""
    if name is None:
        return lambda position, _: f"{unit} {position + 1}"
    return lambda _, item: name(item)
