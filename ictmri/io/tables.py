"""One table in every form that is asked for: on the terminal, for papers, for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias

from ictmri.io.csvfile import csv_text
from ictmri.io.files import canonical_json

Format = Literal["text", "json", "csv", "latex", "markdown"]
Cell: TypeAlias = str | int | float | Mapping[str, float] | None
"""A name, a number, nothing, or a value with its interval: ``{"value": ..., "low": ..., "high": ...}``."""

SYNTHETIC: Final = "SYNTHETIC: a generated cohort, says nothing about patients"
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_LATEX: Final = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}
    | {"±": r"$\pm$", "−": "$-$", "≥": r"$\ge$", "≤": r"$\le$", "×": r"$\times$", "→": r"$\to$"}
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first columns hold names, the others numbers.

    Attributes:
        head: titles of the columns.
        rows: the cells, as many in each row as there are titles.
        names: how many columns hold names.
        title: what the table shows.
        notes: lines that belong under it.
        synthetic: whether a synthetic cohort was scored, which every form says; None where none was.
        digits: decimals of a number for a reader; programs get every digit.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    title: str = ""
    notes: tuple[str, ...] = ()
    synthetic: bool | None = None
    digits: int = 3

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], **about: Any) -> Self:
        """Return the table of rows by column; the columns stand in the order in which they first appear."""
        given = list(rows)
        head = tuple(dict.fromkeys(name for row in given for name in row))
        return cls(head, tuple(tuple(row.get(name) for name in head) for row in given), **about)

    def render(self, form: Format) -> str:
        """Return the table as text without a line end.

        ``text``, ``markdown`` and ``latex`` (of ``booktabs``) show a value as ``0.712 [0.650, 0.781]``. In
        ``csv`` its ends are columns of their own, and text that a spreadsheet would take for a formula
        begins with an apostrophe. ``json`` has a row an object.
        """
        forms = {
            "text": self.text,
            "json": self.json,
            "csv": self.csv,
            "latex": self.latex,
            "markdown": self.markdown,
        }
        return forms[form]().rstrip("\n")

    def text(self) -> str:
        """Return the table in columns for a terminal."""
        lines = [self.head, *map(self._shown, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            "  ".join(
                cell.ljust(width) if place < self.names else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        return "\n".join([*([self.title, ""] if self.title else []), *aligned, *self._notes()])

    def markdown(self) -> str:
        """Return the table in Markdown, an empty string where it has no row."""
        if not self.rows:
            return ""
        numbers = len(self.head) - self.names
        marks = ("---",) * self.names + ("---:",) * numbers
        lines = [self.head, marks, *map(self._shown, self.rows)]
        table = "\n".join("| " + " | ".join(map(markdown_cell, line)) + " |" for line in lines)
        about = [markdown_cell(self.title)] if self.title else []
        return "\n\n".join([*about, table, *map(markdown_cell, self._notes())])

    def latex(self) -> str:
        r"""Return the table in LaTeX, for ``\usepackage{booktabs}``."""
        head, *rows = (
            " & ".join(map(latex_text, line)) + r" \\"
            for line in (self.head, *map(self._shown, self.rows))
        )
        columns = "l" * self.names + "r" * (len(self.head) - self.names)
        told = " ".join(
            latex_text(part).rstrip(".") + "." for part in (self.title, *self._notes()) if part
        )
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                *([rf"\caption{{{told}}}"] if told else []),
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )

    def csv(self) -> str:
        """Return the table as CSV with every digit; ends of intervals are columns of their own."""
        ranged = {
            place
            for row in self.rows
            for place, cell in enumerate(row)
            if isinstance(cell, Mapping)
        }
        marked = {} if self.synthetic is None else {"synthetic": str(self.synthetic).lower()}
        header = [
            name
            for place, title in enumerate(self.head)
            for name in ([title, f"{title} low", f"{title} high"] if place in ranged else [title])
        ]
        rows = (
            [
                part
                for place, cell in enumerate(row)
                for part in (_ends(cell) if place in ranged else [_inert(cell)])
            ]
            for row in self.rows
        )
        return csv_text([*header, *marked], ([*row, *marked.values()] for row in rows))

    def json(self) -> str:
        """Return the table as canonical JSON."""
        about: dict[str, Any] = {"title": self.title} if self.title else {}
        if self.synthetic is not None:
            about["synthetic"] = self.synthetic
        if self.notes:
            about["notes"] = list(self.notes)
        rows = [dict(zip(self.head, row, strict=True)) for row in self.rows]
        return canonical_json({**about, "rows": rows})

    def _notes(self) -> tuple[str, ...]:
        return (SYNTHETIC, *self.notes) if self.synthetic else self.notes

    def _shown(self, row: tuple[Cell, ...]) -> tuple[str, ...]:
        return tuple(self._cell(cell) for cell in row)

    def _cell(self, cell: Cell) -> str:
        if isinstance(cell, Mapping):
            value, low, high = map(self._cell, _ends(cell))
            return f"{value} [{low}, {high}]"
        if isinstance(cell, float):
            return f"{cell:.{self.digits}f}"
        return "" if cell is None else " ".join(str(cell).split())


def markdown_cell(text: str) -> str:
    """Return a text on one line, fit for a cell of a Markdown table: no markup, no column end."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return _TAG.sub("&lt;", plain)


def latex_text(text: str) -> str:
    """Return a text on one line in which no character is a command of LaTeX."""
    return " ".join(text.split()).translate(_LATEX)


def _ends(cell: Cell) -> tuple[Any, Any, Any]:
    """Return value and ends of an interval; nothing thrice where there is none."""
    if isinstance(cell, Mapping):
        return cell["value"], cell["low"], cell["high"]
    return _inert(cell), None, None


def _inert(cell: Cell) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
