"""The board as a table: the page's download, and what papers print."""

from __future__ import annotations

from typing import Any, Final

from ictmri.io.tables import Table
from ictmri_benchmark.board.page.sections import shown_ensemble, shown_entries, shown_external
from ictmri_benchmark.score.metrics import COLUMNS, RANKED

IN_PRINT: Final = ("entry", "rank", *(metric.short for metric in COLUMNS), "first in", "evidence")
"""Columns for which a page of paper is wide enough."""


def board_table(board: dict[str, Any], *, in_print: bool = False) -> Table:
    """Return the scored entries, a row each; those that were only reported are never among them.

    The ensemble of the ranked entries follows, with ``ensemble`` as its source, and those that were trained
    elsewhere, with where; neither ``in_print``.

    Args:
        board: content of leaderboard.json.
        in_print: only the columns :data:`IN_PRINT`.
    """
    rows = []
    others = [] if in_print else [*shown_ensemble(board), *shown_external(board)]
    for entry in [*shown_entries(board), *others]:
        row = entry.row
        pooled = row["report"]["pooled"]
        cells = {
            "entry": row["name"],
            "rank": row["rank"],
            **{metric.short: pooled[metric.name] for metric in COLUMNS},
            "first in": row["first_share"],
            "tier": row["tier"],
            "evidence": row["level"],
            "source": row["source"],
            "tracks": "; ".join(row["tracks"]),
            "looks at": entry.looks_at,
            "selection": row["selection"],
            "external": "; ".join(row["external"]),
            "overlap": row["overlap"],
            "trained on": row["trained_on"],
            "date": entry.date,
            "parameters": entry.parameters,
            "compute": entry.hardware,
            "paper": row["paper"],
            "code": row["code"],
            "authors": "; ".join(row["authors"]),
            "licence": row["licence"],
            "slug": row["slug"],
            "predictions sha256": row["report"]["digests"]["predictions"],
        }
        rows.append({key: cells[key] for key in (IN_PRINT if in_print else cells)})
    return Table.of(
        rows,
        title=f"{board['cohort']}: {board['n_cases']} cases, pooled out-of-fold, ranked by {RANKED.short}",
        synthetic=board["synthetic"],
    )
