"""What the commands print: lines of their own, in which foreign text is shown with escapes.

The owner's own words, which patient and file a case is, stand on his terminal alone, never in a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import typer

from ictmri.errors import InputError, visible_lines
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


@contextmanager
def owner_told(root: Path) -> Iterator[Callable[[str], str]]:
    """Yield a function that names patient and file beside each case id of a line, for the terminal.

    They come from the link file beside the cohort; without it lines stay as they are.

    Raises:
        InputError: what was raised inside, its lines told so.
    """
    from ictmri.build.pseudonyms import owner_names

    told = partial(_told, owner_names(root))
    try:
        yield told
    except InputError as error:
        problems = [told(line) for line in error.problems]
        raise InputError(error.subject, problems, error.next_step) from None


def _told(names: dict[str, str], line: str) -> str:
    def named(found: re.Match[str]) -> str:
        known = "".join(c if c.isprintable() else "?" for c in names.get(found[0], ""))
        return f"{found[0]} ({known})" if known else found[0]

    return re.sub(r"[A-Za-z0-9_.-]+-\d{4,}(?!\d)", named, line)
