"""The leaderboard's page: one HTML file that asks no host for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri_benchmark import protocol

_TEMPLATES: Final = Path(__file__).parent / "templates"
COLUMNS: Final = (
    ("macro_f1", "Macro F1"),
    ("accuracy", "Accuracy"),
    ("macro_recall", "Macro recall"),
    ("macro_precision", "Macro precision"),
)


def render_page(board: dict[str, Any]) -> str:
    """Return the page of a leaderboard; every text of an entry is shown as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    rows = board["entries"]
    return environment.get_template("board.html.j2").render(
        board=board,
        scored=[row for row in rows if row["report"] is not None],
        reported=[row for row in rows if row["report"] is None],
        columns=COLUMNS,
        classes=CLASSES,
        titles=CLASS_TITLES,
        levels=protocol.LEVELS,
        n_draws=protocol.N_DRAWS,
        ticks=(0, 25, 50, 75, 100),
        shares=_row_shares,
        uses=_uses,
    )


def _row_shares(matrix: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Return each count of a confusion matrix with its share of the row in percent."""
    return [[(n, round(100 * n / sum(row)) if sum(row) else 0) for n in row] for row in matrix]


def _uses(inputs: dict[str, Any]) -> str:
    """Say in words what an entry looks at."""
    words = ["image"] if inputs["image"] else []
    words += [f"prior ({inputs['prior']})"] if inputs["prior"] != "none" else []
    words += ["age, sex"] if inputs["demographics"] else []
    return " + ".join(words) or "labels only"
