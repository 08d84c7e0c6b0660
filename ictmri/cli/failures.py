"""What the operating system refuses, as an error that says what to do next."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from ictmri.errors import InputError

_AGAIN: Final = "run the same command again: it goes on from here"
_ELSEWHERE: Final = "choose a place that you may write to, or change its permissions"
_NEXT: Final = {
    errno.ENOSPC: f"free some space and {_AGAIN}",
    errno.EDQUOT: f"free some space and {_AGAIN}",
    errno.EFBIG: f"raise the limit of file sizes (ulimit -f) and {_AGAIN}",
    errno.EMFILE: f"raise the limit of open files (ulimit -n) and {_AGAIN}",
    errno.ENOMEM: f"free some memory, or use fewer --jobs, and {_AGAIN}",
    errno.EIO: f"check the disk or the network drive, then {_AGAIN}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOENT: "check this path",
    errno.ENOTDIR: "check this path: a part of it is a file",
    errno.EEXIST: "choose another path",
    errno.EISDIR: "choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose another path: this one is a link that leads to itself",
    errno.ESTALE: f"connect the network drive anew, then {_AGAIN}",
}


def system_failure(error: OSError | MemoryError) -> InputError:
    """Return what stopped a command, where, and the next step."""
    if isinstance(error, MemoryError):
        return InputError("memory", ["there is not enough of it"], _NEXT[errno.ENOMEM])
    code = error.errno or 0
    what = os.strerror(code) if code else str(error)
    next_step = _NEXT.get(code, f"solve this and {_AGAIN}")
    return InputError(str(error.filename or "the system"), [what], next_step)


def check_working_directory() -> None:
    """Refuse to work from a folder that is not there any more.

    Raises:
        InputError: it was removed.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        next_step = "change to a folder that is there: cd"
        raise InputError("the working directory", ["was removed"], next_step) from None
