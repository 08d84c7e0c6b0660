"""The application: commands, help, and errors that a person can read."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ictmri import __version__
from ictmri.cli import (
    audit,
    data,
    entries,
    explain,
    export,
    methods,
    predict,
    release,
    scoring,
    sealed,
    volumes,
)
from ictmri.cli.failures import check_working_directory, system_failure
from ictmri.cli.output import echo
from ictmri.cli.places import Commands
from ictmri.errors import IctmriError, InputError, MissingDependencyError
from ictmri.extras import extra_of

_INTERRUPTED = 130


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


app.command("demo")(methods.demo)
app.add_typer(data.build_app, name="build")
app.command("verify")(data.verify)
app.command("info")(data.info)
app.command("export")(export.export)
app.command("facts")(release.facts)
app.command("publish")(release.publish)
app.command("withdraw")(release.withdraw)
app.command("erratum")(release.erratum)
app.command("process")(volumes.process)
app.command("localize")(volumes.localize)
app.command("reproduce")(methods.reproduce)
app.command("explain")(explain.explain)
app.command("predict")(predict.predict)
app.command("evaluate")(scoring.evaluate)
app.command("audit")(audit.audit)
app.command("submit")(scoring.submit)
app.command("leaderboard")(scoring.leaderboard)
app.add_typer(entries.entry_app, name="entry")
app.command("gate")(entries.gate)
app.command("codabench")(entries.codabench)
app.add_typer(sealed.sealed_app, name="sealed")


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
