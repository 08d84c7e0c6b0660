"""A Dask cluster of real processes on this machine, and work that says which of them did it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ictmri.io.cluster import ONE_THREAD

HERE = Path(__file__).parent


class LoopbackCluster:
    """One scheduler and some workers of one thread; every part has a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        log = self._start(*scheduler, "--no-show", **environment)
        self.address = _first(log, r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        self.workers: list[subprocess.Popen[bytes]] = []

    def add_worker(self, *options: str, **environment: str) -> None:
        """Start a worker; it is there when the scheduler has heard of it."""
        fixed = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        words = ["worker", self.address, *fixed, "--local-directory", str(self.folder)]
        self._start(*words, *options, **environment)
        self.workers.append(self.processes[-1])

    def close(self) -> None:
        """End every process of the cluster."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, *words: str, **environment: str) -> Path:
        log = self.folder / f"{len(self.processes)}.log"
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        # A worker has as many threads as its machine has cores unless the run sees to it.
        inherited = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
        with log.open("wb") as stream:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *words],
                    stdout=stream,
                    stderr=stream,
                    cwd=self.folder,
                    start_new_session=True,
                    env={**inherited, "PYTHONPATH": path, **environment},
                )
            )
        return log


@contextmanager
def loopback_cluster(folder: Path, **environment: str) -> Iterator[LoopbackCluster]:
    """Yield a scheduler without workers; the environment is for it alone."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = LoopbackCluster(folder, **environment)
    try:
        yield cluster
    finally:
        cluster.close()


def _first(log: Path, pattern: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def smoothed(folder: Path, item: dict) -> tuple[str, float]:
    """Smooth a volume, note who did it, write the result, return its sum."""
    from scipy import ndimage

    from ictmri.io.files import write_bytes

    volume = np.frombuffer(item["bytes"], np.float32).reshape(item["shape"])
    folder.mkdir(exist_ok=True)
    (folder / f"{item['case_id']}.by.{os.getpid()}").touch()
    time.sleep(item.get("seconds", 0.0))
    result = ndimage.gaussian_filter(volume, 1.0)
    write_bytes(folder / f"{item['case_id']}.bin", result.tobytes())
    return item["case_id"], float(result.sum())


def threads_used(_: int) -> dict[str, int]:
    """Return how many threads each numerical library of this process would use now."""
    import SimpleITK as sitk
    import torch
    from threadpoolctl import threadpool_info

    pools = {
        f"{pool['internal_api']} {pool['prefix']}": pool["num_threads"]
        for pool in threadpool_info()
    }
    filtering = sitk.MedianImageFilter().GetNumberOfThreads()
    return pools | {"torch": torch.get_num_threads(), "SimpleITK": filtering, "pid": os.getpid()}


def deadly(item: str) -> str:
    """End the worker that gets the item ``bad``, as the system does when memory runs out."""
    if item == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refused(item: int) -> int:
    """Refuse one item the way a step of the MRI-Processor does."""
    from ictmri.errors import InputError

    if item == 2:
        raise InputError("case 2", ["not a head"], "leave it out")
    return item


def recorded(path: Path) -> list[str]:
    """Return the worker processes that wrote into a folder."""
    return sorted({name.name.rsplit(".", 1)[1] for name in path.glob("*.by.*")})


def items(count: int, seconds: float = 0.0) -> list[dict]:
    """Return made-up volumes as rows of a cohort hold them, some with names that Dask could mistake."""
    rng = np.random.default_rng(7)
    shape = (12, 10, 8)
    return [
        {
            "case_id": f"case-{index}",
            "bytes": rng.normal(size=shape).astype(np.float32).tobytes(),
            "shape": shape,
            "seconds": seconds,
        }
        for index in range(count)
    ]


def written(folder: Path) -> dict[str, bytes]:
    """Return every result in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bin"))}


if __name__ == "__main__":
    from functools import partial

    from ictmri.io.parallel import run_all

    # A shell that runs the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    address, target, count, seconds = sys.argv[1:]
    waiting = items(int(count), float(seconds))
    work = partial(smoothed, Path(target))
    run_all(work, waiting, total=len(waiting), title="cases", scheduler=address)
