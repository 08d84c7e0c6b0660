"""Cases on a Dask cluster: a bounded number of items under way, one thread a task.

A worker that is lost takes nothing with it: the scheduler gives its items to another, and whoever
writes files does so under a name that they take when they are whole (:mod:`ictmri.io.files`).

joblib's own Dask backend (1.6, measured) waits forever for an item on which its workers end, counts the
threads of the cluster once, so that workers that join later stay idle, and works on this machine where
the cluster has one thread. So items are sent with Dask's client itself.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from ictmri.errors import InputError
from ictmri.extras import need

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")
_Versions: TypeAlias = Mapping[str, str | None]

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
"""What must, with Python, be the same on both sides for the messages to be understood."""
RESULT: Final = ("ictmri", "numpy", "scipy", "nibabel", "SimpleITK", "antspyx", "torch", "monai")
"""Packages whose version may change a voxel: equal inputs must give equal bytes on every worker."""
_SAME: Final = "start the scheduler and the workers from the environment of this command"


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
    need("cluster", "A Dask cluster")
    from distributed.comm import CommClosedError
    from distributed.utils import silence_logging_cmgr
    from distributed.versions import get_package_info
    from tqdm import tqdm

    numbered = enumerate(items)
    under_way: dict[Future, tuple[int, str]] = {}
    # What matters of the cluster's own chatter is raised.
    quiet = silence_logging_cmgr(logging.CRITICAL)
    with quiet, _connected(cluster) as client, _seen(cluster.folder) as token:
        needs = _Needs(get_package_info(PROTOCOL + RESULT), cluster.folder, token)
        try:
            while True:
                threads = _threads(client)
                if not threads and not under_way:
                    told = f"{title}: {cluster.address} has no worker yet; waiting"
                    tqdm.write(told, file=sys.stderr)
                limit = at_once or max(1, AHEAD * threads)
                for position, item in islice(numbered, max(0, limit - len(under_way))):
                    sent = _sent(client, function, item, needs)
                    under_way[sent] = (position, name(position, item))
                if not under_way:
                    return
                for future in _finished(list(under_way)):
                    value = _result(future, under_way, title)
                    yield under_way.pop(future)[0], value
        except (CommClosedError, CancelledError) as error:
            problem = f"the connection to the scheduler was lost while {title} was running"
            step = "run the same command again, it goes on from here"
            raise InputError(f"--scheduler {cluster.address}", [problem], step) from error
        finally:
            # What runs on a worker cannot be stopped there, and may as well end.
            with suppress(OSError, CancelledError):
                client.cancel(list(under_way), reason="given up", msg=title)


def _sent(client: Client, function: Callable[[T], Any], item: T, needs: _Needs) -> Future:
    import cloudpickle
    import dask

    # As bytes, so that Dask does not look for its own tasks among the item's values.
    content = cloudpickle.dumps((function, item))
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
        return client.submit(_run, content, needs, key=f"ictmri-{uuid.uuid4().hex}", pure=False)


def _finished(futures: list[Future]) -> list[Future]:
    """Wait a little; return the futures that are done in one way or the other."""
    from distributed import wait

    with suppress(TimeoutError, CancelledError):
        wait(futures, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
    return [future for future in futures if future.status != "pending"]


def _result(future: Future, under_way: Mapping[Future, tuple[int, str]], title: str) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        # A neighbour of the one at fault may be among them.
        lost = [called for other, (_, called) in under_way.items() if other.status == "error"]
        times = f"worker processes ended {error.allowed_failures + 1} times while they held it"
        raise InputError(
            title,
            [f"{called}: {times}; mostly memory ran out" for called in lost],
            "look into the workers' logs; give a worker more memory (--memory-limit) and one thread",
        ) from error
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("ictmri"):
            raise
        raise InputError(title, [f"a worker cannot import {error.name}"], _SAME) from error


def _threads(client: Client) -> int:
    from distributed.comm import CommClosedError

    try:
        return sum(client.nthreads().values())
    except OSError as error:  # it may also have timed out
        raise CommClosedError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a worker must have in common with the process that gave it the work."""

    versions: _Versions
    folder: Path | None
    token: str

    def check(self) -> None:
        """Raise InputError where the worker differs: it may have joined after the command began."""
        from distributed.versions import get_package_info

        problems = _differences("it", get_package_info(PROTOCOL + RESULT), self.versions)
        step = _SAME
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
        with suppress(ImportError):
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(limits=1))
        yield


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Client]:
    from distributed import Client

    where = f"--scheduler {cluster.address}"
    # Made apart, so that one that failed can be closed here: left to the garbage collector, it may be
    # collected while the next client starts, and wait for ever for a lock that is held there.
    client = Client.__new__(Client)
    try:
        Client.__init__(client, cluster.address, timeout=CONNECT_SECONDS, name="ictmri")
    except (OSError, ValueError, TypeError) as error:
        with suppress(AttributeError):  # it may not have come to having what is to be closed
            client.close()
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            where,
            [f"cannot be reached: {reason}"],
            "give the address that `dask scheduler` printed, like tcp://host:8786, and see that it runs",
        ) from error
    with client:
        found = client.get_versions(packages=RESULT)
        ours = found["client"]["packages"]
        problems = _differences("the scheduler", found["scheduler"]["packages"], ours, PROTOCOL)
        for worker, facts in found["workers"].items():
            problems += _differences(worker, facts["packages"], ours)
        if problems:
            raise InputError(where, problems, _SAME)
        yield client


def _differences(
    side: str, theirs: _Versions, ours: _Versions, packages: tuple[str, ...] = PROTOCOL + RESULT
) -> list[str]:
    names = ("python", *packages)
    known = {name: (_version(theirs, name), _version(ours, name)) for name in names}
    return [
        f"{side} has {name} {there}, this command {here}"
        for name, (there, here) in known.items()
        if there != here
    ]


def _version(versions: _Versions, package: str) -> str:
    # Of Python, 3.12 is enough.
    return ".".join(str(versions.get(package)).split(".")[: 2 if package == "python" else None])


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
