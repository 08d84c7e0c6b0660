"""Paths on the command line: ``~`` is home in every one, and what cannot be written is refused at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import typer

from ictmri.errors import InputError
from ictmri.io.files import check_writable, is_free
from ictmri.io.resources import at_home

OUTPUTS: Final = {"out", "json", "json_file", "prior", "results"}
"""Parameters that name what a command writes."""
_NAMES_OR_PLACES: Final = {"cohort", "recipe", "model"}
"""Parameters that are text, because they take a name as well as a path."""


class Commands(typer.Typer):
    """Commands whose paths are read alike."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Register a function as a command."""
        register = super().command(name, **settings)

        def registered(function: Callable[..., Any]) -> Callable[..., Any]:
            register(placed(function))
            return function

        return registered


def placed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command whose paths are expanded, and whose outputs were tried."""

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        found = {name: _expanded(name, value) for name, value in given.items()}
        for name, value in found.items():
            if name in OUTPUTS and isinstance(value, Path):
                _try_place(value)
        return function(**found)

    return run


def _try_place(path: Path) -> None:
    if not path.name:
        problem = "the root of a disk or the working directory, nothing can be made beside it"
        raise InputError(str(path), [problem], "name a folder or file in it")
    if is_free(path) or path.is_file():
        check_writable(path)


def _expanded(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(name, one) for one in value]
    if isinstance(value, Path):
        return at_home(value)
    if name in _NAMES_OR_PLACES and isinstance(value, str) and value.startswith("~"):
        return str(at_home(Path(value)))
    return value
