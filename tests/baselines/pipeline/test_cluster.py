"""The scheduler of ``run_all`` on a Dask cluster of real processes on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client
from distributed.versions import get_package_info

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

from support.loopback_cluster import (
    HERE,
    LoopbackCluster,
    deadly,
    items,
    loopback_cluster,
    recorded,
    refused,
    smoothed,
    threads_used,
    written,
)

from ictmri.errors import InputError
from ictmri.io import cluster as cluster_module
from ictmri.io.cluster import PROTOCOL, RESULT, Cluster
from ictmri.io.parallel import run_all

MANY = 16
_NONE = {"packages": {}}
SAME_VERSIONS = {"client": _NONE, "scheduler": _NONE, "workers": {}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    """A scheduler with two workers; the one with a nanny comes back when it is killed."""
    with loopback_cluster(tmp_path_factory.mktemp("cluster")) as started:
        started.add_worker("--nanny")
        started.add_worker("--no-nanny")
        with Client(started.address) as client:
            client.wait_for_workers(2, timeout=60)
        yield started


def kill_when(folder: Path, process: int, done: int) -> threading.Thread:
    """Kill a process with -9 as soon as some results are there."""

    def wait() -> None:
        while len(written(folder)) < done:
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_cluster_gives_what_this_machine_gives_in_order(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    work = items(MANY, seconds=0.05)
    here, there = tmp_path / "here", tmp_path / "there"
    local = run_all(partial(smoothed, here), work, total=MANY, title="cases", jobs=1)
    remote = run_all(
        partial(smoothed, there),
        work,
        total=MANY,
        title="cases",
        scheduler=Cluster(cluster.address, there),
    )
    assert remote == local
    assert written(there) == written(here)
    assert len(recorded(there)) == 2
    assert str(os.getpid()) not in recorded(there)
    assert not list(there.glob(".cluster.*"))


def test_each_task_has_one_thread(cluster: LoopbackCluster) -> None:
    found = run_all(threads_used, range(4), total=4, title="cases", scheduler=cluster.address)
    assert {tuple(sorted(used.items() - {("pid", used["pid"])})) for used in found}
    for used in found:
        assert {name: count for name, count in used.items() if name != "pid" and count != 1} == {}
        assert len(used) > 3


def test_only_so_many_items_are_under_way(cluster: LoopbackCluster, tmp_path: Path) -> None:
    """The iterable is asked for no more than two items a thread before the first is done."""
    ahead = []

    def counted() -> Iterator[dict]:
        for taken, item in enumerate(items(MANY, seconds=0.05)):
            ahead.append(taken - len(written(tmp_path)))
            yield item

    run_all(
        partial(smoothed, tmp_path), counted(), total=MANY, title="t", scheduler=cluster.address
    )
    assert max(ahead) <= 2 * 2 - 1
    assert max(ahead) >= 1


def test_an_error_of_a_case_comes_whole_and_ends_the_run(cluster: LoopbackCluster) -> None:
    with pytest.raises(InputError, match=r"(?s)case 2: 1 problem.*not a head.*leave it out"):
        run_all(refused, range(9), total=9, title="cases", scheduler=cluster.address)


@pytest.mark.filterwarnings("ignore:Mismatched versions")
def test_workers_must_share_the_folder_and_the_versions(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="working directory of their own"):
        Cluster(cluster.address, Path("out"))
    here = get_package_info(PROTOCOL + RESULT)
    for package, message in (
        ("scipy", r"(?s)2 problems.*tcp://.* has scipy [0-9.]+, this command 9\.9"),
        ("dask", r"(?s)3 problems.*the scheduler has dask [0-9.]+, this command 9\.9"),
        ("python", r"(?s)3 problems.*the scheduler has python 3\.[0-9]+, this command 9\.9"),
    ):
        other = here | {package: "9.9"}
        monkeypatch.setattr("distributed.versions.get_package_info", lambda _, other=other: other)
        with pytest.raises(InputError, match=message):
            run_all(abs, [1], total=1, title="cases", scheduler=cluster.address)
    # A worker that joins later is asked with each item.
    monkeypatch.setattr(Client, "get_versions", lambda *_, **__: SAME_VERSIONS)
    with pytest.raises(InputError, match=r"(?s)worker on .*it has python [0-9.]+, this command 9"):
        run_all(abs, [1], total=1, title="cases", scheduler=cluster.address)
    monkeypatch.undo()
    elsewhere = cluster_module._Needs(here, tmp_path, "no such file")
    with pytest.raises(InputError, match="does not see"):
        elsewhere.check()


def test_what_kills_its_workers_is_named(tmp_path: Path) -> None:
    # One death is enough here; the default is four, each with the start of a worker.
    once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with loopback_cluster(tmp_path, **once) as cluster:
        cluster.add_worker("--no-nanny")
        with pytest.raises(InputError, match=r"bad: worker processes ended 1 times"):
            run_all(
                deadly,
                ["bad"],
                total=1,
                title="cases",
                scheduler=cluster.address,
                name=lambda item: item,
            )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1", "nonsense://x"])
def test_a_scheduler_that_is_not_there_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"--scheduler .*(?s:.)*cannot be reached.*"):
        run_all(abs, [1], total=1, title="cases", scheduler=address)


@pytest.mark.slow
def test_a_client_that_failed_holds_up_no_other() -> None:
    """The garbage collector may come while the next client starts, with a lock of Dask held."""
    code = (
        "import gc; from distributed import utils; from ictmri.io import cluster, parallel\n"
        "from ictmri.errors import InputError\n"
        "gc.disable(); start = utils._CollectErrorThread.__init__; cluster.CONNECT_SECONDS = 1\n"
        "def collecting(self, *given, **named): gc.collect(); start(self, *given, **named)\n"
        "utils._CollectErrorThread.__init__ = collecting\n"
        "for address in ('nonsense://x', '127.0.0.1', 'tcp://127.0.0.1:9', 'nonsense://y'):\n"
        "    try: parallel.run_all(abs, [1], total=1, title='cases', scheduler=address)\n"
        "    except InputError as error: print('cannot be reached' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True"] * 4


def test_a_scheduler_that_ends_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with loopback_cluster(tmp_path / "cluster") as cluster:
        cluster.add_worker("--no-nanny")
        ending = kill_when(tmp_path, cluster.processes[0].pid, done=1)
        with pytest.raises(InputError, match=r"(?s)connection to the scheduler was lost.*goes on"):
            run_all(
                partial(smoothed, tmp_path),
                items(MANY, seconds=0.5),
                total=MANY,
                title="cases",
                scheduler=cluster.address,
            )
        ending.join(1)
    assert "Traceback" not in capfd.readouterr().err


def test_ctrl_c_cancels_what_is_queued(cluster: LoopbackCluster, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "loopback_cluster.py"), cluster.address, str(tmp_path)]
    started = subprocess.Popen([*command, "8", "1.0"], stderr=subprocess.PIPE)
    while not recorded(tmp_path):
        assert started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=10)
    assert b"KeyboardInterrupt" in said
    assert started.returncode != 0
    time.sleep(1.5)
    # The two that were running ended; the two that waited behind them were never begun.
    assert len(written(tmp_path)) <= 2


def test_a_killed_worker_changes_nothing(cluster: LoopbackCluster, tmp_path: Path) -> None:
    """Last in this file: the worker without a nanny does not come back."""
    here, there = tmp_path / "here", tmp_path / "there"
    work = items(MANY, seconds=0.1)
    local = run_all(partial(smoothed, here), work, total=MANY, title="cases", jobs=1)
    victim = cluster.workers[1].pid
    killing = kill_when(there, victim, done=MANY // 2)
    remote = run_all(
        partial(smoothed, there), work, total=MANY, title="cases", scheduler=cluster.address
    )
    killing.join(1)
    assert not killing.is_alive()
    assert cluster.workers[1].wait(5) == -signal.SIGKILL
    assert remote == local
    assert written(there) == written(here)
    by = [path.name for path in there.glob("*.by.*")]
    assert len(by) > MANY, "the item that the worker held was done again"
