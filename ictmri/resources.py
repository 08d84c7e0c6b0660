"""Where the files that ship with the package lie: in a source checkout, or inside a wheel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parent
_IN_CHECKOUT: Final = {
    "splits": "splits",
    "recipes": "baselines/recipes",
    "reported.yaml": "benchmark/reported.yaml",
    "context.yaml": "benchmark/context.yaml",
    "CITATION.cff": "CITATION.cff",
    "entries": "benchmark/entries",
    "card.md.j2": "dataset_card/card.md.j2",
    "datasheet.md.j2": "dataset_card/datasheet.md.j2",
    "facts": "dataset_card/facts",
    "checklists": "dataset_card/checklists",
}


def shipped(name: str) -> Path:
    """Return the path of a shipped file or folder.

    Raises:
        KeyError: ``name`` is not shipped.
    """
    packed = _PACKAGE / "_shipped" / name
    return packed if packed.exists() else _PACKAGE.parent / _IN_CHECKOUT[name]


def user_cache() -> Path:
    """Return the folder for what can be made again: ``$ICTMRI_CACHE``, else ``~/.cache/ictmri``."""
    explicit = os.environ.get("ICTMRI_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ictmri"
