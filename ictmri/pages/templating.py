"""Templates: every name must be known, lines stand as they are written, equal inputs give equal bytes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def pages(folder: Path) -> jinja2.Environment:
    """Return the environment of a folder of HTML templates; every value is shown as text."""
    return _environment(folder, autoescape=True)


def document(path: Path) -> jinja2.Template:
    """Return a Markdown template; values are put in as they are."""
    return _environment(path.parent, autoescape=False).get_template(path.name)


def webp_uri(path: Path) -> str:
    """Return a WebP file as a data URI, empty where there is no such file."""
    if not path.is_file():
        return ""
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


def _environment(folder: Path, *, autoescape: bool) -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
