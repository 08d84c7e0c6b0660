"""The leaderboard: every entry rescored from its predictions, ranks as intervals, one offline page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.errors import InputError
from ictmri.files import canonical_json, write_text
from ictmri.folds import FoldTable
from ictmri.resources import shipped
from ictmri_benchmark import protocol
from ictmri_benchmark.entry import Entry, load_entry
from ictmri_benchmark.intervals import bootstrap, percentile_interval
from ictmri_benchmark.predictions import Predictions, read_predictions
from ictmri_benchmark.report import Report, score
from ictmri_benchmark.submission import binding_problems

_UNRANKED: Final = "test-fold"


@dataclass(frozen=True, slots=True)
class _Scored:
    entry: Entry
    predictions: Predictions
    report: Report

    @property
    def ranked(self) -> bool:
        return self.entry.selection != _UNRANKED

    @property
    def value(self) -> float:
        return float(self.report.content["pooled"][protocol.RANK_KEY]["value"])


def build_leaderboard(entries: Path, cohort: FoldTable, *, synthetic: bool) -> dict[str, Any]:
    """Rescore every entry of a folder and rank them.

    Entries for another cohort or other folds are listed with the reason and not scored.

    Args:
        entries: folder with one folder an entry: entry.yaml, predictions.csv, report.json.
        cohort: the fold table that holds the labels.
        synthetic: marks the board of a phantom.

    Returns:
        The content of leaderboard.json.

    Raises:
        InputError: an entry is not valid, or its report is not what its predictions give.
    """
    loaded, refused = _load(entries, cohort)
    if not loaded and not refused:
        raise InputError(str(entries), ["no entry in this folder"], "ictmri reproduce --help")
    drawn = bootstrap(cohort, [p.labels for _, p in loaded]) if loaded else {}
    scored = [
        _Scored(e, p, score(p, cohort, drawn, synthetic=synthetic, entry=place))
        for place, (e, p) in enumerate(loaded)
    ]
    _compare_with_stored(entries, scored)
    ranks = _ranks(scored, drawn)
    shown = sorted(scored, key=lambda s: (not s.ranked, -s.value, s.entry.slug))
    return {
        "schema": protocol.LEADERBOARD_SCHEMA,
        "benchmark": {"name": protocol.BENCHMARK, "version": protocol.VERSION},
        "cohort": cohort.name,
        "synthetic": synthetic,
        "n_cases": len(cohort.rows),
        "rank_key": protocol.RANK_KEY,
        "digests": {"splits": cohort.sha256, "labels": cohort.labels_sha256},
        "entries": [_row(s, ranks) for s in shown] + _reported(),
        "refused": refused,
    }


def write_leaderboard(out: Path, board: dict[str, Any]) -> None:
    """Write leaderboard.json and leaderboard.html; the same board gives the same bytes."""
    from ictmri_benchmark.page import render_page

    write_text(out / "leaderboard.json", canonical_json(board))
    write_text(out / "leaderboard.html", render_page(board))


def render_table(board: dict[str, Any]) -> str:
    """Return the rescored entries as a table for the terminal."""
    title = f"{board['cohort']}: {board['n_cases']} cases"
    lines = [title + (", SYNTHETIC: says nothing about patients" if board["synthetic"] else ""), ""]
    lines.append(f"{'rank':<10}{'entry':<34}{'macro F1':<24}{'accuracy':<24}")
    for row in board["entries"]:
        if row["report"] is None:
            continue
        rank = row["rank"]
        place = f"{rank['value']} ({rank['low']}-{rank['high']})" if rank else "unranked"
        cells = [_cell(row["report"]["pooled"][name]) for name in (protocol.RANK_KEY, "accuracy")]
        lines.append(f"{place:<10}{row['name'][:32]:<34}{cells[0]:<24}{cells[1]:<24}".rstrip())
    return "\n".join([*lines, *(f"refused: {r['slug']}: {r['reason']}" for r in board["refused"])])


def _cell(metric: dict[str, float]) -> str:
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _load(
    folder: Path, cohort: FoldTable
) -> tuple[list[tuple[Entry, Predictions]], list[dict[str, str]]]:
    loaded: list[tuple[Entry, Predictions]] = []
    refused: list[dict[str, str]] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*/entry.yaml")):
        slug = path.parent.name
        try:
            entry = load_entry(path)
            if entry.slug != slug:
                problems.append(f"{slug}: entry.yaml calls itself {entry.slug!r}")
                continue
            unbound = binding_problems(entry, cohort)
            if unbound:
                refused.append({"slug": slug, "reason": "; ".join(unbound)})
                continue
            loaded.append((entry, read_predictions(path.parent / "predictions.csv", cohort)))
        except InputError as error:
            problems += [f"{slug}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(folder), problems, "correct or remove these entries")
    return loaded, refused


def _compare_with_stored(folder: Path, scored: list[_Scored]) -> None:
    problems = []
    for item in scored:
        path = folder / item.entry.slug / "report.json"
        if path.is_file() and path.read_text() != item.report.to_json():
            problems.append(f"{item.entry.slug}: report.json is not what its predictions give")
    if problems:
        raise InputError(str(folder), problems, "remove that report.json, or score the entry again")


def _ranks(
    scored: list[_Scored], drawn: dict[str, NDArray[np.float64]]
) -> dict[str, dict[str, Any]]:
    """Return by slug the rank, its interval over the draws, and the gap to the first entry.

    Ties share the best rank. The interval holds the central 95 % of the draws.
    """
    columns = [place for place, item in enumerate(scored) if item.ranked]
    if not columns:
        return {}
    values = np.array([scored[c].value for c in columns])
    draws = drawn[protocol.RANK_KEY][:, columns]
    drawn_ranks = 1 + (draws[:, None, :] > draws[:, :, None]).sum(axis=2)
    tail = (1 - protocol.CONFIDENCE) / 2
    low, high = np.quantile(drawn_ranks, [tail, 1 - tail], axis=0, method="inverted_cdf")
    first = int(values.argmax())
    ranks = {}
    for place, column in enumerate(columns):
        gap = percentile_interval(draws[:, first] - draws[:, place])
        ranks[scored[column].entry.slug] = {
            "rank": {
                "value": int(1 + (values > values[place]).sum()),
                "low": int(low[place]),
                "high": int(high[place]),
            },
            "behind_first": {
                "value": float(values[first] - values[place]),
                "low": gap[0],
                "high": gap[1],
            },
        }
    return ranks


def _row(item: _Scored, ranks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    entry = item.entry
    place = ranks.get(entry.slug, {})
    return {
        "slug": entry.slug,
        "name": entry.method.name,
        "level": entry.level,
        "ranked": item.ranked,
        "rank": place.get("rank"),
        "behind_first": place.get("behind_first"),
        "summary": entry.method.summary,
        "authors": list(entry.method.authors),
        "selection": entry.selection,
        "inputs": entry.inputs.model_dump(mode="json"),
        "command": entry.method.command,
        "report": item.report.content,
    }


def _reported() -> list[dict[str, Any]]:
    """Return the rows that were only reported: about the clinical cohort, never ranked."""
    import yaml

    return [
        {
            "slug": row.pop("slug"),
            "name": row.pop("name"),
            "level": "R0",
            "ranked": False,
            "rank": None,
            "report": None,
            "reported": {"cohort": "ictmri", "unit": "percent", **row},
        }
        for row in yaml.safe_load(shipped("reported.yaml").read_text())
    ]
