"""How the site is made of the Markdown that lies in the repository, where it lies: ``make docs``.

The folder of sources is the repository itself, so that links between pages are those that a forge follows.
The order of the pages is that of docs/index.md, the commands are those of the application, and the boards
are made of the entries.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import typer
from sphinx.application import Sphinx

from ictmri.cli.app import application
from ictmri.version import __version__
from ictmri_benchmark import Leaderboard, leaderboard

REPOSITORY = Path(__file__).parents[1]
INDEX = "docs/index"

project = "ictmri"
author = project_copyright = "The ictmri developers"
release = __version__
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "benchmark/*.md", "baselines/*.md", "examples/*.ipynb"]
exclude_patterns = [".*", "out", "dist", "build", "tests", "**/.*"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nb_execution_mode = "off"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_mock_imports = ["monai", "pytorch_lightning", "torch"]
nitpicky = True
# Types of other packages are named, not linked: the site is built without a network.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
pygments_dark_style = "github-dark"
smartquotes = False
html_title = "ictmri"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = html_use_index = False


def toctrees() -> str:
    """Return the order and the names of docs/index.md as toctrees of the first page."""
    text = (REPOSITORY / INDEX).with_suffix(".md").read_text("utf-8")
    found = []
    for section in text.split("\n## ")[1:]:
        lines = [f":caption: {section.splitlines()[0]}", ":hidden:", ""]
        for title, place in re.findall(r"^- \[(.*?)\]\((.*?)\)", section, re.MULTILINE):
            page = (REPOSITORY / "docs" / place).resolve().relative_to(REPOSITORY).with_suffix("")
            name = page.as_posix()
            lines.append(f"All pages <{INDEX}>" if name == root_doc else f"{title} <{name}>")
        found.append("\n".join(["\n\n```{toctree}", *lines, "```"]))
    return "".join(found) + "\n"


def commands(command: Any, name: str, level: int) -> Iterator[str]:
    """Yield what the help says of a command and of those inside it, in Markdown."""
    yield f"{'#' * level} `{name}`\n"
    text, _, example = (command.help or "").partition("Example: ")
    yield f"{text.strip()}\n"
    if example:
        yield f"```sh\n{' '.join(example.split())}\n```\n"
    context = command.make_context(name, [], resilient_parsing=True)
    records = [option.get_help_record(context) for option in command.params]
    rows = [
        "| " + " | ".join((f"`{words}`".replace("|", "\\|"), text)) + " |"
        for words, text in filter(None, records)
        if words != "--help"
    ]
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows]) + "\n"
    for inner, found in getattr(command, "commands", {}).items():
        yield from commands(found, f"{name} {inner}", level + 1)


@cache
def boards() -> dict[str, Leaderboard]:
    """Return the boards of the published entries; nobody's own lie in this folder."""
    with chdir(REPOSITORY / "docs"):
        return {name: leaderboard(name) for name in ("ictmri", "ictmri-phantom")}


def complete(_: Sphinx, name: str, source: list[str]) -> None:
    """Add to a page what is made of the repository."""
    if name == root_doc:
        source[0] += toctrees()
    if "<!-- commands -->" in source[0]:
        root: Any = typer.main.get_command(application())
        parts = (
            line
            for name, command in root.commands.items()
            for line in commands(command, f"ictmri {name}", 2)
        )
        source[0] = source[0].replace("<!-- commands -->", "\n".join(parts))
    if "<!-- boards -->" in source[0]:
        tables = boards()["ictmri-phantom"].table(), boards()["ictmri"].reported_table()
        text = "\n\n## ".join(["", *(table.render("markdown") for table in tables)])
        source[0] = source[0].replace("<!-- boards -->", text)


def finish(app: Sphinx, failed: Exception | None) -> None:
    """Put the boards beside the pages, and the first page where a server looks for it."""
    if failed or app.builder.name != "html":
        return
    shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
    for name, board in boards().items():
        board.write(app.outdir / "board" / name)


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", complete)
    app.connect("build-finished", finish)
