"""The command line in processes that start at once: forks of one that has imported everything.

Killing a command at fifty moments takes a hundred starts, and an import of all libraries each time
would be most of the time. Every command runs in a process group of its own, workers included.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: negative codes are signals; ``steps`` are its changes of the disk."""

    code: int
    stderr: str
    steps: list[list[str]]


class Forks:
    """Runs commands one after the other; use it as a context."""

    def __init__(self, folder: Path, warm_up: list[str], **environment: str) -> None:
        self.log = folder / "stderr.txt"
        self.steps = folder / "steps.json"
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **environment},
        )
        self._order(warm_up, fork=False)
        self._answer()

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def start(self, arguments: list[str], **disturbances: Any) -> int:
        """Start a command and return its process group.

        Args:
            arguments: the command's words.
            **disturbances: ``kill_at``: the group kills itself just before this change of the disk;
                ``fill_at``: the disk is filled just before the first change of a file of this name, with
                the file ``ballast``; ``file_limit``: largest file that it may write, in bytes.
        """
        self.steps.unlink(missing_ok=True)
        self._order(arguments, log=str(self.log), steps=str(self.steps), **disturbances)
        return int(self._answer())

    def wait(self) -> Ended:
        """Wait for the command."""
        code = os.waitstatus_to_exitcode(int(self._answer()))
        steps = json.loads(self.steps.read_text()) if self.steps.is_file() else []
        return Ended(code, self.log.read_text(), steps)

    def running(self) -> bool:
        """Return True while the command's end was not reported."""
        assert self.server.stdout is not None
        return not select.select([self.server.stdout], [], [], 0)[0]

    def run(self, arguments: list[str], **disturbances: Any) -> Ended:
        """Run a command to its end; see :meth:`start`."""
        self.start(arguments, **disturbances)
        return self.wait()

    def _order(self, arguments: list[str], *, fork: bool = True, **order: Any) -> None:
        assert self.server.stdin is not None
        line = json.dumps({"arguments": arguments, "fork": fork} | order)
        self.server.stdin.write(f"{line}\n".encode())

    def _answer(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().decode()


def serve() -> None:
    """Fork for every order on stdin; a child leaves the loop and runs its command."""
    from ictmri.cli.app import main

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while line := sys.stdin.readline():
        order = json.loads(line)
        sys.argv = ["ictmri", *order["arguments"]]
        if not order["fork"]:
            # What a command imports on its way is imported here, once.
            with suppress(SystemExit):
                main()
            gc.freeze()
            answers.write("warm\n")
        elif child := os.fork():
            answers.write(f"{child}\n")
            answers.write(f"{os.waitpid(child, 0)[1]}\n")
        else:
            _become(order)
            return main()
    return None


def _become(order: dict[str, Any]) -> None:
    os.setsid()
    sys.stdin.close()
    os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    steps: list[list[str]] = []

    def at_end() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        Path(order["steps"]).write_text(json.dumps(steps[:]))

    atexit.register(at_end)
    if "file_limit" in order:
        limits = (order["file_limit"], resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def seen(event: str, details: tuple[Any, ...]) -> None:
        if event in STEPS or (event == "open" and details[2] and details[2] & WRITES):
            steps.append([event, str(details[0])])
            if len(steps) - 1 == order.get("kill_at"):
                os.killpg(0, signal.SIGKILL)
            if order.get("fill_at", "\0") in steps[-1][1]:
                del order["fill_at"]
                _fill(order["ballast"])

    sys.addaudithook(seen)


def _fill(path: str) -> None:
    with suppress(OSError), Path(path).open("wb", buffering=0) as ballast:
        for block in (2**16, 2**12):
            with suppress(OSError):
                while ballast.write(bytes(block)) == block:
                    pass


if __name__ == "__main__":
    serve()
