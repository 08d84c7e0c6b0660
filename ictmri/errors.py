"""Errors that a person reads: what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 20


class IctmriError(Exception):
    """A problem that the user can solve; the command line prints it without a traceback."""


class InputError(IctmriError):
    """Something that the user gave is wrong; holds every problem found, not only the first.

    Args:
        subject: what was read, for example ``"predictions.csv"``.
        problems: one line each: what is wrong and where.
        next_step: what the user can do about it.
    """

    def __init__(self, subject: str, problems: Sequence[str], next_step: str = "") -> None:
        self.subject = subject
        self.problems = list(problems)
        self.next_step = next_step
        super().__init__(self._text())

    def __reduce__(self) -> tuple[type[InputError], tuple[str, list[str], str]]:
        # Worker processes hand their errors over pickled; the default would call __init__(text).
        return type(self), (self.subject, self.problems, self.next_step)

    def _text(self) -> str:
        count = len(self.problems)
        head = f"{self.subject}: {count} problem{'' if count == 1 else 's'}"
        lines = [f"  - {problem}" for problem in self.problems[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  - ... and {count - _SHOWN} more")
        tail = [f"Next: {self.next_step}"] if self.next_step else []
        return "\n".join([head, *lines, *tail])


class ScanError(Exception):
    """A scan that cannot be used.

    Args:
        reason: why; free of names, paths and words of the source, so that it may be published.
        code: name of the finding, a key of :data:`ictmri.builders.codes.CODES`.
        detail: what the reading library said; for the owner's eyes only.
    """

    def __init__(self, reason: str, *, code: str = "unreadable", detail: str = "") -> None:
        self.reason = reason
        self.code = code
        self.detail = detail
        super().__init__(f"{reason} [{detail}]" if detail else reason)


class AccessError(IctmriError):
    """Data exist but cannot be reached from here."""


class MissingDependencyError(IctmriError):
    """An optional part of the package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        super().__init__(
            f'{what} needs packages that are not installed.\nNext: pip install "ictmri[{extra}]"'
        )

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str]]:
        return type(self), (self.what, self.extra)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice closest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
