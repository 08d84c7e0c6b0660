"""Templates: every name must be known, lines stand as they are written, equal inputs give equal bytes."""

from __future__ import annotations

import base64
import hashlib
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


def webp_uri(source: Path | bytes) -> str:
    """Return a WebP picture as a data URI, empty where there is no such file."""
    if isinstance(source, Path):
        source = source.read_bytes() if source.is_file() else b""
    return f"data:image/webp;base64,{base64.b64encode(source).decode()}" if source else ""


def policy(style: str, *scripts: str) -> str:
    """Return the policy of a page that runs these scripts and no other, and asks no host for anything."""
    allowed = " ".join(map(_digest, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
