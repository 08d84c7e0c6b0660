"""Paths on the command line: ``~`` is home in every one, and what cannot be written is refused at once."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand

from ictmri.cli.output import STDOUT
from ictmri.errors import AccessError, InputError, nearest
from ictmri.io.files import check_writable, is_free
from ictmri.io.resources import at_home

OUTPUTS: Final = {"dicom_seg", "figures", "out", "json", "json_file", "prior", "results"}
"""Parameters that name what a command writes."""
INPUTS: Final = {"predictions", "first", "second", "entry", "labels"} | {
    *("masks", "boxes", "mapping", "facts")
}
"""Parameters that name a file, or a folder of files, which must be there."""
_CLINICAL: Final = "ictmri"
_COHORT: Final = re.compile(rf"\0--cohort[=\0]{_CLINICAL}(?=\0|\Z)")
_OFFERED: Final = 2
_NAMES_OR_PLACES: Final = {"cohort", "recipe", "model", "source"}
"""Parameters that are text, because they take a name as well as a path."""


class _Command(TyperCommand):
    """A command in which ``--json`` without a file prints."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line."""
        for place in reversed(range(len(args))):
            following = "".join(args[place + 1 : place + 2])
            if args[place] == "--json" and (not following or re.match("-.", following)):
                args.insert(place + 1, str(STDOUT))
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """Commands whose paths are read alike."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Register a function as a command."""
        register = super().command(name, cls=_Command, **settings)

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
            if name in OUTPUTS and isinstance(value, Path) and value != STDOUT:
                _try_place(value)
                _check_outside(value, builds=function.__name__.startswith("build_"))
            if name in INPUTS and isinstance(value, Path) and not value.exists():
                there = [path.name for path in value.parent.glob("*")]
                problem = f"is not there{nearest(value.name, there)}"
                raise InputError(str(value), [problem], "check this path")
        try:
            return function(**found)
        except AccessError as error:
            if given.get("cohort") != _CLINICAL:
                raise
            raise AccessError(f"{error}\n{_instead(is_option)}") from error

    is_option = "cohort" in (function.__kwdefaults__ or {})
    return run


def _instead(is_option: bool) -> str:
    """Return this command line with the cohorts that are there in place of the clinical one."""
    from ictmri.cohort import PHANTOM
    from ictmri.lookup import cohorts_nearby

    others = [str(cohort.root) for cohort in cohorts_nearby() if cohort.name != PHANTOM]
    said = "\0".join(sys.argv[1:])
    lines = []
    for name in (PHANTOM, *others[:_OFFERED]):
        if is_option:
            words = [*_COHORT.sub("", said).split("\0"), "--cohort", name]
        else:
            command, *rest = said.split("\0")
            place = rest.index(_CLINICAL) if _CLINICAL in rest else 0
            words = [command, *rest[:place], name, *rest[place + (_CLINICAL in rest) :]]
        lines.append(shlex.join(["ictmri", *words]))
    return "Next: " + "\n  or: ".join(lines)


def _try_place(path: Path) -> None:
    if not path.name:
        problem = "the root of a disk or the working directory, nothing can be made beside it"
        raise InputError(str(path), [problem], "name a folder or file in it")
    if is_free(path) or path.is_file():
        check_writable(path)


def _check_outside(path: Path, *, builds: bool) -> None:
    """Refuse to write into a cohort folder, which holds what its manifest lists; a build may name one."""
    from ictmri.manifest import FILE_NAME, SCHEMA

    place = path.resolve()
    for folder in place.parents if builds else (place, *place.parents):
        manifest = folder / FILE_NAME
        if manifest.is_file() and f'"{SCHEMA}"'.encode() in manifest.read_bytes():
            problem = f"lies in the cohort folder {folder}, which would not be whole any more"
            raise InputError(str(path), [problem], "choose a place beside it")


def _expanded(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(name, one) for one in value]
    if isinstance(value, Path):
        return at_home(value)
    if name in _NAMES_OR_PLACES and isinstance(value, str) and value.startswith("~"):
        return str(at_home(Path(value)))
    return value
