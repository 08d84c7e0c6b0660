"""The application: commands, help, and errors that a person can read."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from ictmri.cli.failures import check_working_directory, system_failure
from ictmri.cli.output import echo
from ictmri.cli.places import Commands
from ictmri.errors import IctmriError, InputError, MissingDependencyError
from ictmri.extras import extra_of
from ictmri.version import __version__

_INTERRUPTED: Final = 130
_GROUP: Final = "ictmri.commands"
"""Entry points, each a table like :data:`ictmri.cli.COMMANDS`; its name is the heading in the help."""


class _Group(TyperGroup):
    """The root: a file that ends too early is no Ctrl-C, which it would be taken for."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            problem = f"a file ends too early ({error})"
            raise InputError(str(ctx.invoked_subcommand), [problem], "check its files") from error


app = Commands(
    name="ictmri",
    cls=_Group,
    help="ICT-MRI: the cohort, the benchmark and the baselines for deep intracranial tumours on T1-CE MRI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        echo(f"ictmri {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _commands(entry: EntryPoint) -> Iterator[tuple[str, Any]]:
    """Yield name, and function or group, of the commands that a package adds."""
    for name, place in entry.load().items():
        module, _, attribute = place.partition(":")
        yield name, getattr(importlib.import_module(module), attribute)


def listed() -> dict[str, dict[str, str]]:
    """Return what ``ictmri list`` shows: heading -> name -> line, of every package that adds some."""
    found: dict[str, dict[str, str]] = {}
    for entry in sorted(entry_points(group=_GROUP), key=_is_foreign):
        try:
            lists = getattr(importlib.import_module(entry.module), "LISTS", {})
            for heading, place in lists.items():
                module, _, attribute = place.partition(":")
                lines = getattr(importlib.import_module(module), attribute)()
                found.setdefault(heading, {}).update(lines)
        except Exception as error:
            if not _is_foreign(entry):
                raise
            reason = f"{type(error).__name__}: {error}"
            echo(f"warning: the lists of {entry.value} are left out ({reason})", err=True)
    return found


def _is_foreign(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name != "ictmri"


def _add_commands() -> None:
    """Add the commands of all packages, each under a heading of its own; ours first, and they stay."""
    taken: set[str] = set()
    for entry in sorted(entry_points(group=_GROUP), key=_is_foreign):
        try:
            found = dict(_commands(entry))
        except Exception as error:
            if not _is_foreign(entry):
                raise
            # Maybe an old package of somebody's: what is ours must run all the same.
            reason = f"{type(error).__name__}: {error}"
            echo(f"warning: the commands of {entry.value} are left out ({reason})", err=True)
            continue
        panel = f"Commands of the {entry.name}"
        for name, command in found.items():
            if name in taken:
                echo(f"warning: {entry.value} offers {name!r}, which there is already", err=True)
            elif isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(command)
        taken |= set(found)


_add_commands()


def main() -> None:
    """Run the command line: exit code 0 done, 1 the input is wrong, 2 usage, 130 interrupted."""
    # Else workers would import modules that lie in the working directory, which may be a received folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        check_working_directory()
        app()
    except IctmriError as error:
        echo(f"error: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        extra = extra_of(error.name)
        if extra is None:
            raise
        echo(f"error: {MissingDependencyError('This command', extra)}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (OSError, MemoryError) as error:
        echo(f"error: {system_failure(error)}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as ended:
        # Ctrl-C inside a command arrives here as the exit code that typer makes of it.
        if isinstance(ended, SystemExit) and ended.code != _INTERRUPTED:
            raise
        echo("interrupted; the same command goes on from here", err=True)
        sys.exit(_INTERRUPTED)
