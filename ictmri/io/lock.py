"""One process at a time: a lock where the file system has them, a marker file where it has none."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError, visible_lines

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS: Final = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.ESTALE}
"""What file systems of networks and containers answer that know no locks."""


@contextmanager
def locked(path: Path, work: str, *, seconds: float = -1) -> Iterator[None]:
    """Hold a lock.

    Where the file system knows no locks, a file beside it marks that someone is at work. Nobody removes
    that one for a process that was killed, so whoever waits for it is told where it is.

    Args:
        path: the lock's file; its folder is made.
        work: what others do who hold it, e.g. ``works on out/mine``.
        seconds: to wait for others at most; as long as it takes where negative.

    Raises:
        OSError: the file cannot be made; ``filename`` says which.
        TimeoutError: others held it for all that time.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = FileLock(path)
    hint = ""
    if not _has_locks(path):
        marker = path.with_name(f"{path.name}ed")
        _say(f"warning: no locks on the disk of {path.parent}: {marker} stands in")
        lock, hint = SoftFileLock(marker), f"; if there is none, remove {marker}"
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _say(f"waiting for another process that {work}{hint}")
            lock.acquire(timeout=seconds)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def folder_lock(out: Path) -> Iterator[None]:
    """Let one process at a time work on a folder; others wait."""
    with locked(work_folder(out, "lock"), f"works on {out}"):
        yield


def beside(out: Path, ending: str) -> Path:
    """Return the path of what lies beside a folder and belongs to it, whatever link or name leads there."""
    place = out.resolve()
    return place.with_name(f"{place.name}.{ending}")


def work_folder(out: Path, stage: str) -> Path:
    """Return the folder beside a cohort that holds finished cases until a stage is complete.

    Raises:
        InputError: a link lies there; what is written, moved and removed would be somewhere else.
    """
    place = out.resolve()
    folder = place.with_name(f".{place.name}.{stage}")
    if folder.is_symlink():
        raise InputError(str(folder), ["is a link, and no work of this program"], "remove the link")
    return folder


def _has_locks(path: Path) -> bool:
    """Make the lock's file and try whether it can be locked.

    Where it cannot be made, the library would take that for somebody else's lock, and wait.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # Anything else is somebody who holds it, or is met again below.
        return error.errno not in _NO_LOCKS
    finally:
        os.close(handle)
    return True


def _say(line: str) -> None:
    sys.stderr.write(f"{visible_lines(line)}\n")
