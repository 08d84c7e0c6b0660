"""What the commands print: lines of their own, in which foreign text is shown with escapes."""

from __future__ import annotations

import typer

from ictmri.errors import visible_lines


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on the terminal, or on its error stream."""
    typer.echo(visible_lines(text), err=err, nl=nl)
