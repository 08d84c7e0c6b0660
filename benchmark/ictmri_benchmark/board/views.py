"""A leaderboard to look at: on the terminal, as a frame, as tables for papers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.cohort import CLINICAL
from ictmri.io.files import canonical_json
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.tables import Table
from ictmri_benchmark.board.leaderboard import write_leaderboard
from ictmri_benchmark.board.ranking import EXTERNAL, UNRANKED
from ictmri_benchmark.score.metrics import COLUMNS, PRINTED

if TYPE_CHECKING:
    import pandas as pd

_SOURCES: Final = {"local": " (local)", "given": " (yours, not an entry)"}
_WORDS: Final = {
    "ensemble": "ensemble",
    "test-fold": "unranked",
    "other-data": "other data",
    "external": "external",
}
_FIRST: Final = (
    "No entry yet. To be the first: predict every case by a model that never saw it, then",
    "  ictmri evaluate predictions.csv --cohort {0}",
    "  ictmri submit predictions.csv --entry entry.yaml --cohort {0}",
    "and a pull request (benchmark/RULES.md). ictmri info {0} says how to get the gated volumes.",
)


@dataclass(frozen=True, slots=True, repr=False)
class Leaderboard:
    """A leaderboard; ``content`` follows the schema ``ictmri/leaderboard/1``."""

    content: dict[str, Any]

    def __repr__(self) -> str:
        return self.render()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The scored rows in the order of the board; the ensemble of the ranked ones follows them."""
        rows = [row for row in self.content["entries"] if row["report"] is not None]
        ranked = sum(row["ranked"] for row in rows)
        together = [self.content["ensemble"]] if self.content["ensemble"] else []
        return [*rows[:ranked], *together, *rows[ranked:]]

    @property
    def external(self) -> list[dict[str, Any]]:
        """The rows of models that were trained elsewhere: scored on all cases at once, ranked with none."""
        rows: list[dict[str, Any]] = self.content["external"]
        return rows

    @property
    def reported(self) -> list[dict[str, Any]]:
        """The rows that papers report about this cohort; nobody rescored them."""
        rows = (row for row in self.content["entries"] if row["report"] is None)
        return [row for row in rows if row["reported"]["cohort"] == self.content["cohort"]]

    def to_json(self) -> str:
        """Return canonical JSON text: equal entries give equal bytes."""
        return canonical_json(self.content)

    def to_frame(self) -> pd.DataFrame:
        """Return the scored rows, indexed by slug: rank with its interval, tier, metrics with theirs.

        ``source`` says what a row is: a ``shipped`` or ``local`` entry, ``given`` predictions, or the
        ``ensemble`` of the ranked entries. Models that were trained elsewhere come last;
        ``trained_on`` says where. Reported numbers are not among them.
        """
        import pandas as pd

        ends = {"": "value", "_low": "low", "_high": "high"}
        rows = {
            row["slug"]: {
                "name": row["name"],
                "source": row["source"],
                "level": row["level"],
                "ranked": row["ranked"],
                "trained_on": row["trained_on"],
                "overlap": row["overlap"],
                **{f"rank{end}": (row["rank"] or {}).get(key) for end, key in ends.items()},
                "tier": row["tier"],
                **{
                    f"{metric.name}{end}": row["report"]["pooled"][metric.name][key]
                    for metric in COLUMNS
                    for end, key in ends.items()
                },
                "synthetic": self.content["synthetic"],
            }
            for row in [*self.rows, *self.external]
        }
        whole = dict.fromkeys(("rank", "rank_low", "rank_high", "tier"), "Int64")
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("slug")
        return frame.astype(whole) if rows else frame

    def table(self) -> Table:
        """Return the scored rows: place, name, evidence, metrics with their intervals.

        Models that were trained elsewhere come last, with ``external`` as their place.
        """
        return self._table([*self.rows, *self.external])

    def _table(self, shown: list[dict[str, Any]], **about: Any) -> Table:
        sources = {row["source"] for row in shown}
        given = "given" in sources
        told = _SOURCES if "shipped" in sources else {"given": _SOURCES["given"]}
        rows = (
            ({"yours": ">" if row["source"] == "given" else ""} if given else {})
            | {"rank": _place(row), "entry": row["name"] + told.get(row["source"], "")}
            | {"evidence": "" if row["source"] in {"given", "ensemble"} else row["level"]}
            | {metric.short: row["report"]["pooled"][metric.name] for metric in COLUMNS[:2]}
            | ({"trained on": row["trained_on"], "overlap": row["overlap"]} if _apart(row) else {})
            for row in shown
        )
        about = {"title": self._title(), "notes": tuple(self._notes(shown)), **about}
        names = 4 if given else 3
        return Table.of(rows, names=names, synthetic=self.content["synthetic"], **about)

    def reported_table(self) -> Table:
        """Return the rows that papers report about this cohort, in percent."""
        rows = (
            {"reported": row["name"], "source": row["reported"]["source"]}
            | {metric.plain: row["reported"][metric.plain] for metric in PRINTED}
            for row in self.reported
        )
        title = "Reported in papers, in percent, never rescored, never ranked"
        return Table.of(rows, names=2, title=title, digits=2)

    def render(self) -> str:
        """Return the board for the terminal."""
        parts = []
        if self.rows:
            parts.append(self._table(self.rows).render("text"))
        else:
            notes = self._notes([]) or ["No entry yet."]
            parts += [self._title(), "\n".join(notes)]
        if self.external:
            parts.append(self._table(self.external, title=EXTERNAL, notes=()).render("text"))
        if self.reported:
            parts.append(self.reported_table().render("text"))
        return "\n\n".join(parts)

    def write(self, out: AnyPath) -> Path:
        """Write ``leaderboard.json`` and ``leaderboard.html`` into a folder; return the page's path."""
        out = at_home(out)
        write_leaderboard(out, self.content)
        return out / "leaderboard.html"

    def _title(self) -> str:
        kind = "SYNTHETIC" if self.content["synthetic"] else "patients"
        title = f"{self.content['cohort']}: {self.content['n_cases']} cases ({kind})"
        count = sum(row["ranked"] and row["source"] != "given" for row in self.rows)
        return f"{title}, {count} ranked entries" if self.rows else title

    def _notes(self, shown: list[dict[str, Any]]) -> list[str]:
        notes: list[str] = []
        if not self.rows and self.content["cohort"] == CLINICAL:
            notes += [line.format(CLINICAL) for line in _FIRST]
        reasons = {row["unranked"] for row in shown}
        notes += [f"{_WORDS[key]}: {why}" for key, why in UNRANKED.items() if key in reasons]
        notes += [
            f"scored anew, its report is of an earlier protocol: {row['name']}"
            for row in shown
            if row["rescored"]
        ]
        notes += [f"refused: {row['slug']}: {row['reason']}" for row in self.content["refused"]]
        return notes


def _apart(row: dict[str, Any]) -> bool:
    """Say whether a row stands among those that were trained elsewhere."""
    return bool(row["report"].get("external"))


def _place(row: dict[str, Any]) -> str:
    rank = row["rank"]
    if rank is None:
        return _WORDS[row["unranked"]]
    low, high = rank["low"], rank["high"]
    return f"{rank['value']} ({low}-{high})"


def render_table(board: dict[str, Any]) -> str:
    """Return a board for the terminal."""
    return Leaderboard(board).render()
