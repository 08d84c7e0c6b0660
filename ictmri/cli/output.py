"""What the commands print: lines of their own, in which foreign text is shown with escapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import typer

from ictmri.errors import visible_lines
from ictmri.io.files import write_text

STDOUT: Final = Path("-")


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on the terminal, or on its error stream."""
    typer.echo(visible_lines(text), err=err, nl=nl)


def show(text: str, document: str, json_file: Path | None) -> None:
    """Print what a command found, and write it as JSON where ``--json`` says; on stdout it is alone."""
    if json_file == STDOUT:
        typer.echo("".join(map(_escaped, document)), nl=False)
        return
    echo(text)
    if json_file is not None:
        write_text(json_file, document)


def _escaped(character: str) -> str:
    """Return a character of a JSON document as it may stand on a terminal."""
    seen = character.isprintable() or character == "\n"
    return character if seen else json.dumps(character)[1:-1]
