"""Files below a folder, links to folders followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order of their paths; hidden ones are passed over.

    A link leads where its owner made it lead, out of the folder too. A place that two ways lead to,
    as in a circle of links, is visited once.

    Raises:
        OSError: a folder cannot be looked into.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen: set[str] = set()
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root) / name for name in names if not name.startswith(".")]
    yield from (path for path in sorted(found) if path.is_file())
