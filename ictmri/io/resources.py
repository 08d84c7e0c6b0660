"""Where the files that ship with the package lie: in a source checkout, or inside a wheel."""

from __future__ import annotations

import getpass
import os
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from ictmri.errors import InputError
from ictmri.io.files import check_writable

AnyPath: TypeAlias = str | PathLike[str]
"""A path as a caller gives it; what is public takes it through :func:`at_home`."""
_CACHE: Final = "set ICTMRI_CACHE to a folder that you may write to"
_PACKAGE: Final = Path(__file__).parents[1]
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


def find_cache() -> Path | None:
    """Return the folder for what can be made again: ``$ICTMRI_CACHE``, else ``~/.cache/ictmri``.

    None where it is not set and the user has no home, as in containers.
    """
    explicit, base = (os.environ.get(name) for name in ("ICTMRI_CACHE", "XDG_CACHE_HOME"))
    try:
        if explicit:
            return Path(explicit).expanduser()
        return (Path(base) if base else Path.home() / ".cache") / "ictmri"
    except RuntimeError:
        return None


def user_cache() -> Path:
    """Return the folder for what can be made again.

    Raises:
        InputError: there is none, or it cannot be written.
    """
    place = find_cache()
    if place is None:
        raise InputError("the cache", ["this user has no home folder"], _CACHE)
    try:
        check_writable(place)
    except InputError as error:
        raise InputError(f"the cache {place}", error.problems, _CACHE) from None
    return place


def at_home(given: AnyPath) -> Path:
    """Return what a user gave as a path, ``~`` expanded.

    Raises:
        InputError: there is no such home.
    """
    path = Path(given)
    try:
        return path.expanduser()
    except RuntimeError:
        whose = "this user has no home folder" if path.parts[0] == "~" else "there is no such user"
        raise InputError(str(path), [whose], "give the whole path, or set HOME") from None


def name_the_user() -> None:
    """Give a user without a name one, for libraries that ask for it when they are imported."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
