"""What the commands print: lines of their own, in which foreign text is shown with escapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import typer

from ictmri.errors import visible_lines
from ictmri.io.files import write_text
from ictmri.io.tables import Format, Table

STDOUT: Final = Path("-")


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on the terminal, or on its error stream."""
    typer.echo(visible_lines(text), err=err, nl=nl)


def show(
    text: str,
    document: str,
    json_file: Path | None,
    form: Format = "text",
    table: Callable[[], Table] | None = None,
) -> None:
    """Print what a command found, and write it as JSON where ``--json`` says; on stdout it is alone.

    Args:
        text: what a person reads.
        document: the JSON.
        json_file: where it is written; :data:`STDOUT` prints it.
        form: what is printed in place of the text.
        table: makes what ``csv``, ``latex`` and ``markdown`` show.
    """
    if json_file == STDOUT or form == "json":
        typer.echo("".join(map(_escaped, document)), nl=False)
    elif form == "text" or table is None:
        echo(text)
    else:
        echo(table().render(form))
    if json_file not in (None, STDOUT):
        write_text(json_file, document)


def _escaped(character: str) -> str:
    """Return a character of a JSON document as it may stand on a terminal."""
    seen = character.isprintable() or character == "\n"
    return character if seen else json.dumps(character)[1:-1]
