"""Run the code blocks of a Markdown page in the working directory, in order, as a reader does.

``python run_page.py PAGE [long]``. Every block of ``python`` and ``sh`` runs; what a block prints must be
the ``text`` block that follows it, where one does (``...`` stands for anything). A comment in front of a
block, or in the page's first line for all of its blocks, changes that: ``<!-- test: long -->`` leaves it to
``make test-long``, where there are a small phantom and a table of scans, ``<!-- test: no, REASON -->`` out.
``<!-- file: NAME -->`` makes a block of any language a file.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

_MARK = re.compile(r"<!-- (test|file): (.*?) -->", re.DOTALL)
_LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Block:
    """A block of code, the line before its first, when it is run, its file, and what it prints."""

    language: str
    code: str
    line: int
    when: str
    file: str = ""
    output: str | None = None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line of a block of ``sh``."""
        if self.language != "sh" or self.file:
            return []
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that can be run."""
    found: list[Block] = []
    of_all = of_next = file = ""
    previous = None
    for token in MarkdownIt().enable("table").parse(page):
        kind, said = "", ""
        if token.type == "html_block" and (mark := _MARK.search(token.content)):
            kind, said = mark.groups()
        if kind == "file":
            file = said
        elif kind and token.map == [0, 1]:
            of_all = said
        elif kind:
            of_next = said
        elif token.type == "fence" and (file or token.info in ("python", "sh")):
            assert token.map
            when = "always" if file else of_next or of_all or "quick"
            assert when in ("always", "quick", "long") or when.startswith("no, "), when
            found.append(Block(token.info, token.content, token.map[0] + 1, when, file))
            of_next = file = ""
        elif token.type == "fence" and token.info == "text" and previous == "fence":
            found[-1].output = token.content
        previous = token.type
    return found


def run_command(words: list[str]) -> None:
    """Run a command line of ours in this process."""
    from ictmri.cli.app import main

    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
        sys.path += [value] if name == "PYTHONPATH" else []
    assert words[0] == "ictmri", f"{words[0]}: run it otherwise, or say why not"
    sys.argv, place = (words[:-2], words[-1]) if words[-2] == ">" else (words, "")
    with contextlib.ExitStack() as opened:
        if place:
            said = opened.enter_context(Path(place).open("w"))
            opened.enter_context(contextlib.redirect_stdout(said))
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise


def run(page: Path, when: str = "quick") -> None:
    """Run the blocks of a page that are to be run now."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page.read_text("utf-8")):
        if block.file:
            Path(block.file).write_text(block.code, "utf-8")
        if block.when != when:
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            for words in block.commands:
                run_command(words)
            if block.language == "python":
                code = "\n" * block.line + block.code
                exec(compile(code, str(page), "exec"), names)
        if block.output is not None:
            example = doctest.OutputChecker()
            assert example.check_output(block.output, said.getvalue(), _LIKE), (
                f"{page}:{block.line} printed\n{said.getvalue()}"
            )


if __name__ == "__main__":
    run(Path(sys.argv[1]), *sys.argv[2:])
