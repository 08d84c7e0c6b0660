"""The owner's own words on his terminal: which patient and file a case is. Never in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ictmri.errors import InputError


@contextmanager
def owner_told(root: Path) -> Iterator[Callable[[str], str]]:
    """Yield a function that names patient and file beside each case id of a line, for the terminal.

    They come from the link file beside the cohort; without it lines stay as they are.

    Raises:
        InputError: what was raised inside, its lines told so.
    """
    from ictmri.build.pseudonyms import owner_names

    told = partial(_told, owner_names(root))
    try:
        yield told
    except InputError as error:
        problems = [told(line) for line in error.problems]
        raise InputError(error.subject, problems, error.next_step) from None


def _told(names: dict[str, str], line: str) -> str:
    def named(found: re.Match[str]) -> str:
        known = "".join(c if c.isprintable() else "?" for c in names.get(found[0], ""))
        return f"{found[0]} ({known})" if known else found[0]

    return re.sub(r"[A-Za-z0-9_.-]+-\d{4,}(?!\d)", named, line)
