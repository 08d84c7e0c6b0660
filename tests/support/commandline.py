"""The command line as a person runs it: a process of its own, its answer, and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

COMMAND = [sys.executable, "-c", "from ictmri.cli.app import main; main()"]


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command that must end with ``code``."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def kill_after(seconds: float, *arguments: object) -> bool:
    """Start a command and end it, and all that it started, with SIGKILL; return whether it was running."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running
