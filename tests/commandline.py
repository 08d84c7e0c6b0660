"""The command line as a person runs it: a process of its own, its answer, and no traceback."""

from __future__ import annotations

import subprocess
import sys

COMMAND = [sys.executable, "-c", "from ictmri.cli.app import main; main()"]


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command that must end with ``code``."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
