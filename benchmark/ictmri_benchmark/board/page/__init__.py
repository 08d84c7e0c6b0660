"""The leaderboard's page: one HTML file that asks no host for anything.

Everything that can be read stands in the HTML; the scripts only sort, filter and compare. Text of an entry
is always shown as text: the template escapes it, and the page's policy lets no script run but its own.

The scripts are written out rather than taken from a table library: DataTables 3 alone is ten times their
size and brings neither tiers, nor cards for phones, nor the state in the address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.io.files import canonical_json, sha256_bytes
from ictmri.pages.templating import pages
from ictmri_benchmark.board.page import figures, plots, verdicts
from ictmri_benchmark.board.page.literature import citation, literature
from ictmri_benchmark.board.page.payload import payload
from ictmri_benchmark.board.page.policy import content_policy
from ictmri_benchmark.board.page.rows import (
    COST_TITLES,
    GROUP_TITLES,
    TRACKS,
    USES,
    badge,
    safe_link,
    shades,
    shown_entries,
)
from ictmri_benchmark.score import metrics, protocol

_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_SCRIPTS: Final = ("address", "board", "compare", "reading", "start")


def render_page(board: dict[str, Any]) -> str:
    """Return the page of a leaderboard; the same board gives the same text.

    Args:
        board: content of leaderboard.json, see :func:`.leaderboard.build_leaderboard`.
    """
    environment = pages(_TEMPLATES)
    environment.filters |= {"decimal": plots.decimal, "points": plots.points, "share": plots.share}
    environment.globals |= {
        "plots": plots,
        "safe_link": safe_link,
        "shades": shades,
        "badge": badge,
    }
    return environment.get_template("board.html.j2").render(_context(board))


def _context(board: dict[str, Any]) -> dict[str, Any]:
    style = _style()
    script = "".join(_text(f"scripts/{name}.js") for name in _SCRIPTS)
    entries = shown_entries(board)
    return {
        "board": board,
        "entries": entries,
        "reported": [row for row in board["entries"] if row["report"] is None],
        "tiers": verdicts.tiers(entries),
        "lead": verdicts.lead(entries),
        "matrix": verdicts.matrix(board, entries),
        "gaps": verdicts.gaps(board),
        "figures": figures.of_the_paper(board, entries),
        "literature": literature(),
        "citation": citation(),
        "columns": metrics.COLUMNS,
        "ranked_by": metrics.RANKED,
        "printed": metrics.PRINTED,
        "classes": CLASSES,
        "titles": CLASS_TITLES,
        "cost_titles": COST_TITLES,
        "group_titles": GROUP_TITLES,
        "tracks": TRACKS,
        "uses": USES,
        "levels": protocol.LEVELS,
        "protocol": protocol,
        "board_sha256": sha256_bytes(canonical_json(board).encode()),
        "data": payload(board, entries),
        "style": style,
        "script": script,
        "policy": content_policy(style, script),
    }


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _style() -> str:
    """Return the style sheet without its indentation, which a page has no use for."""
    lines = (line.strip() for line in _text("page.css").splitlines())
    return "\n".join(line for line in lines if line) + "\n"
