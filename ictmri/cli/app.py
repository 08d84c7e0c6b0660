"""The application: commands, help, and errors that a person can read."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from typer.core import TyperGroup

from ictmri.cli.first_lines import first_line
from ictmri.cli.output import echo
from ictmri.cli.places import Commands
from ictmri.errors import IctmriError, InputError, MissingDependencyError
from ictmri.extras import extra_of
from ictmri.version import __version__

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
T = TypeVar("T")
_INTERRUPTED: Final = 130
_HELP = "ICT-MRI: the cohort, the benchmark and the baselines for deep intracranial tumours on T1-CE MRI."
_START: Final = """\
**Start here:** `ictmri info ictmri-phantom` says what the synthetic cohort holds,
`ictmri evaluate predictions.csv --cohort ictmri-phantom` scores your predictions on it, and `ictmri demo`
runs the whole benchmark. `-h` after any command shows an example; `--install-completion` lets the shell
complete commands, cohorts and recipes.
"""
_GROUP: Final = "ictmri.commands"
"""Entry points, each a table like :data:`ictmri.cli.COMMANDS`; its name is the heading in the help."""
_ORDER: Final = ("cohort", "benchmark", "baselines")
"""Our own headings as they are shown: installers write the entry points in an order of their own."""


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


class _Group(TyperGroup):
    """The root: a file that ends too early is no Ctrl-C, which it would be taken for."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            problem = f"a file ends too early ({error})"
            raise InputError(str(ctx.invoked_subcommand), [problem], "check its files") from error


def _version(asked: bool) -> None:
    if asked:
        echo(f"ictmri {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def application(asked: str | None = None) -> typer.Typer:
    """Return the application with the commands of all packages, ours first: they stay.

    Args:
        asked: first word of the command line, None to import every command. Where it is one of ours, the
            application has no other; where it is not, ours have but a name and a line of help.
    """
    app = Commands(
        name="ictmri",
        cls=_Group,
        help=_HELP,
        epilog=_START,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_main)
    entries = _packages()
    for entry in entries:
        if asked is not None and not _is_foreign(entry) and asked in (table := entry.load()):
            _add(app, entry, {asked: _at(table[asked])})
            return app
    taken: set[str] = set()
    for entry, found in _of_packages(
        "commands", entries, partial(_commands, lazy=asked is not None)
    ):
        for name in taken & found.keys():
            echo(f"warning: {entry.value} offers {name!r}, which there is already", err=True)
            del found[name]
        _add(app, entry, found)
        taken |= found.keys()
    return app


def listed() -> dict[str, dict[str, str]]:
    """Return what ``ictmri list`` shows: heading -> name -> line, of every package that adds some."""
    shown: dict[str, dict[str, str]] = {}
    for _, lists in _of_packages("lists", _packages(), _lists):
        for heading, lines in lists.items():
            shown.setdefault(heading, {}).update(lines)
    return shown


def _add(app: typer.Typer, entry: EntryPoint, found: dict[str, Any]) -> None:
    """Add functions and groups under the heading of their package."""
    panel = f"Commands of the {entry.name}"
    for name, command in found.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def _commands(entry: EntryPoint, *, lazy: bool) -> dict[str, Any]:
    read = _named if lazy and not _is_foreign(entry) else _at
    return {name: read(place) for name, place in entry.load().items()}


def _named(place: str) -> Callable[[], None]:
    """Return a command for the help, with the line of the one that lies there."""

    def command() -> None:
        pass

    command.__doc__ = first_line(place)
    return command


def _lists(entry: EntryPoint) -> dict[str, dict[str, str]]:
    lists = getattr(importlib.import_module(entry.module), "LISTS", {})
    return {heading: _at(place)() for heading, place in lists.items()}


def _at(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _is_foreign(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name != "ictmri"


def _place(entry: EntryPoint) -> int:
    """Return the entry's place in the help: ours in their order, then what others add."""
    ours = not _is_foreign(entry) and entry.name in _ORDER
    return _ORDER.index(entry.name) if ours else len(_ORDER)


def _packages() -> list[EntryPoint]:
    return sorted(entry_points(group=_GROUP), key=_place)


def _of_packages(
    what: str, entries: list[EntryPoint], read: Callable[[EntryPoint], T]
) -> Iterator[tuple[EntryPoint, T]]:
    """Yield what is read of each package; one of somebody else's that fails is left out with a warning."""
    for entry in entries:
        try:
            found = read(entry)
        except Exception as error:
            if not _is_foreign(entry):
                raise
            # Maybe an old package: what is ours must run all the same.
            reason = f"{type(error).__name__}: {error}"
            echo(f"warning: the {what} of {entry.value} are left out ({reason})", err=True)
        else:
            yield entry, found


def _first_word() -> str:
    """Return the first word of the command line, or of the one that a shell completes, if it is whole."""
    # Scripts of typer: bash tells the words in COMP_WORDS, the other shells in a variable of typer.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    if "_ICTMRI_COMPLETE" not in os.environ:
        return "".join(sys.argv[1:2])
    words = line.split()[1:]
    return words[0] if len(words) > 1 or (words and line[-1].isspace()) else ""


def main() -> None:
    """Run the command line: exit code 0 done, 1 the input is wrong, 2 usage, 130 interrupted."""
    # Else workers would import modules that lie in the working directory, which may be a received folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        check_working_directory()
        application(_first_word())()
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
