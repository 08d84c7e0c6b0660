"""The leaderboard's page: one HTML file that asks no host for anything.

Everything that can be read stands in the HTML; the scripts only sort, filter and compare. Text of an entry
is always shown as text: the template escapes it, and the page's policy lets no script run but its own.

The scripts are written out rather than taken from a table library: DataTables 3 alone is ten times their
size and brings neither tiers, nor cards for phones, nor the state in the address.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.io.files import canonical_json, sha256_bytes
from ictmri.io.resources import shipped
from ictmri.io.yamlfile import own_table
from ictmri.pages.templating import pages
from ictmri_benchmark.board.page import numbers, sections
from ictmri_benchmark.board.page.tables import board_table
from ictmri_benchmark.board.ranking import EXTERNAL, MOST_COMPARED, UNRANKED
from ictmri_benchmark.score import metrics, protocol
from ictmri_benchmark.score.proportions import wilson

if TYPE_CHECKING:
    import jinja2

_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_SCRIPTS: Final = ("address", "board", "compare", "reading", "start")


def render_page(board: dict[str, Any], stored: str = "") -> str:
    """Return the page of a leaderboard; the same board gives the same text.

    Args:
        board: content of leaderboard.json, see :func:`.leaderboard.build_leaderboard`.
        stored: its text, where that is made already.
    """
    context = _context(board, stored or canonical_json(board))
    return environment().get_template("board.html.j2").render(context)


def environment() -> jinja2.Environment:
    """Return the page's templates with the filters and functions that they use."""
    found = pages(_TEMPLATES)
    found.filters |= {
        "decimal": numbers.decimal,
        "points": numbers.points,
        "share": numbers.share,
        "count": numbers.count,
        "tenth": numbers.tenth,
        "across": numbers.across,
    }
    found.globals |= {
        "average": numbers.average,
        "wilson": wilson,
        "safe_link": sections.safe_link,
        "shades": sections.shades,
        "badge": sections.badge,
    }
    return found


def _context(board: dict[str, Any], stored: str) -> dict[str, Any]:
    # Without its indentation, which a page has no use for.
    lines = (line.strip() for line in _text("page.css").splitlines())
    style = "\n".join(line for line in lines if line) + "\n"
    script = "".join(_text(f"scripts/{name}.js") for name in _SCRIPTS)
    words = own_table(sections.WORDS)
    entries, together = sections.shown_entries(board), sections.shown_ensemble(board)
    external = sections.shown_external(board)
    return {
        "board": board,
        "entries": entries,
        "external": external,
        "cards": [*entries, *together, *external],
        "mixed": any(entry.row["source"] == "shipped" for entry in entries),
        "reported": [row for row in board["entries"] if row["report"] is None],
        "tiers": [*sections.tiers(entries), *sections.tiers(together)],
        "lead": sections.lead(entries),
        "matrix": sections.matrix(board, entries),
        "gaps": sections.gaps(board),
        "figures": sections.paper_figures(board, entries),
        "literature": own_table(shipped("context.yaml")),
        "citation": sections.citation(own_table(shipped("CITATION.cff"))),
        "columns": metrics.COLUMNS,
        "ranked_by": metrics.RANKED,
        "printed": metrics.PRINTED,
        "classes": CLASSES,
        "titles": CLASS_TITLES,
        **words,
        "levels": protocol.LEVELS,
        "most_whole": MOST_COMPARED,
        "unranked": UNRANKED,
        "external_title": EXTERNAL,
        "protocol": protocol,
        "board_sha256": sha256_bytes(stored.encode()),
        "csv": base64.b64encode(board_table(board).csv().encode()).decode(),
        "data": sections.payload(board, entries),
        "style": style,
        "script": script,
        "policy": content_policy(style, script),
    }


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str) -> str:
    """Return the policy under which only exactly this style sheet and this script have an effect.

    The browser refuses inline handlers, other scripts, style attributes, frames, forms and every request;
    strings never become HTML (trusted types).
    """
    digests = (base64.b64encode(hashlib.sha256(t.encode()).digest()) for t in (style, script))
    of_style, of_script = (f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {of_style}; script-src {of_script}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
