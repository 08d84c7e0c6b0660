"""The command line as a person runs it: its answer, and no traceback."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import pytest

from ictmri.cli.app import main

COMMAND = [sys.executable, "-c", "from ictmri.cli.app import main; main()"]


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command, in this process, that must end with ``code``; a traceback is an error of the test."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status: object = 0
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "argv", ["ictmri", *map(str, arguments)])
        patched.setenv("PYTHONSAFEPATH", "1")
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    told = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    assert status == code, "".join(told)
    return subprocess.CompletedProcess(list(arguments), code, *told)


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
