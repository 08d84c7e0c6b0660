"""The leaderboard: every entry rescored from its predictions, ranks as intervals, one offline page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json, sha256_file, write_text
from ictmri.io.resources import shipped
from ictmri.io.yamlfile import own_table
from ictmri_benchmark.board.entry import Entry, load_entry
from ictmri_benchmark.board.flags import review_flags
from ictmri_benchmark.board.ledger import Event, ledger_path, ledger_problems, read_ledger
from ictmri_benchmark.board.ranking import (
    PAIR_COLUMNS,
    Contender,
    compare_pairs,
    rank,
    resolution,
)
from ictmri_benchmark.board.submission import binding_problems, is_run, is_stored
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.metrics import COLUMNS, RANK_KEY, Floats
from ictmri_benchmark.score.predictions import Predictions, read_predictions
from ictmri_benchmark.score.report import Report, cohort_digests, score

_UNRANKED: Final = "test-fold"
SHOWN_MISSED: Final = 20
"""Cases listed as the hardest."""


@dataclass(frozen=True, slots=True)
class _EntryFolder:
    """What was read of an entry's folder; ``refused`` says why it is for another board than this one."""

    place: Path
    entry: Entry
    predictions: Predictions | None
    refused: str = ""

    @property
    def digest(self) -> str | None:
        """SHA-256 of its predictions, None where there are none."""
        if self.predictions is not None:
            return self.predictions.sha256
        path = self.place / "predictions.csv"
        return sha256_file(path) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class _Scored:
    place: Path
    entry: Entry
    predictions: Predictions
    report: Report

    @property
    def ranked(self) -> bool:
        return self.entry.selection != _UNRANKED

    @property
    def value(self) -> float:
        return float(self.report.content["pooled"][RANK_KEY]["value"])


def build_leaderboard(entries: Path, cohort: FoldTable, *, synthetic: bool) -> dict[str, Any]:
    """Rescore every entry of a folder, rank them, and return the content of leaderboard.json.

    Entries for another cohort or other folds are listed with the reason and not scored. What was submitted
    stands in the ledger beside the folder; runs of ``ictmri reproduce`` may lie beside it, under any name.

    Args:
        entries: folder with one folder an entry: entry.yaml, predictions.csv, report.json.
        cohort: the fold table that holds the labels.
        synthetic: marks the board of a phantom.

    Raises:
        InputError: an entry is not valid, or its report is not what its predictions give.
    """
    events = read_ledger(ledger_path(entries))
    folders = _read_folders(entries, cohort, strict=bool(events))
    if events:
        _compare_with_ledger(entries, folders, events)
    scored, drawn = _scored(entries, cohort, folders, synthetic=synthetic)
    ranked = [s for s in scored if s.ranked]
    contenders = [Contender(s.entry.slug, s.value, s.predictions.labels) for s in ranked]
    draws = drawn[:, [s.ranked for s in scored]]
    pairs = compare_pairs(cohort, contenders, draws)
    places = rank(contenders, pairs, draws)
    shown = sorted(scored, key=lambda s: (not s.ranked, -s.value, s.entry.slug))
    return {
        "schema": protocol.LEADERBOARD_SCHEMA,
        "benchmark": {"name": protocol.BENCHMARK, "version": protocol.VERSION},
        "cohort": cohort.name,
        "synthetic": synthetic,
        "n_cases": len(cohort.rows),
        "rank_key": RANK_KEY,
        "digests": cohort_digests(cohort),
        "entries": [_row(s, places, _flags(s, scored, cohort)) for s in shown] + _reported(),
        "comparison": {"columns": list(PAIR_COLUMNS), "pairs": [pair.row() for pair in pairs]},
        "resolution": resolution(len(cohort.rows), draws),
        "missed": _missed(cohort, scored),
        "refused": [{"slug": f.entry.slug, "reason": f.refused} for f in folders if f.refused],
        "ledger": [asdict(event) for event in events],
    }


def _scored(
    entries: Path, cohort: FoldTable, folders: list[_EntryFolder], *, synthetic: bool
) -> tuple[list[_Scored], Floats]:
    """Return the entries scored, and the bootstrap values (draws, entries) of their rank key."""
    given = [(f.place, f.entry, f.predictions) for f in folders if f.predictions is not None]
    if not given:
        return [], np.empty((0, 0))
    drawn = bootstrap(cohort, [predictions.labels for _, _, predictions in given])
    scored = [
        _Scored(*one, score(one[2], cohort, drawn, synthetic=synthetic, entry=column))
        for column, one in enumerate(given)
    ]
    _compare_with_stored(entries, scored)
    return scored, drawn.headline[RANK_KEY]


def _missed(cohort: FoldTable, scored: list[_Scored]) -> list[dict[str, Any]]:
    """Return the cases that most entries have wrong, with the share that do, the hardest first."""
    entries = [item for item in scored if item.ranked]
    if not entries:
        return []
    truth = np.array(cohort.labels)
    wrong = np.array([(item.predictions.labels != truth).mean(axis=0) for item in entries])
    shares = [fmean(case) for case in wrong.T]
    hardest = sorted(range(len(truth)), key=lambda i: (-shares[i], cohort.case_ids[i]))
    return [
        {"case_id": cohort.case_ids[i], "label": cohort.rows[i].label, "wrong": shares[i]}
        for i in hardest[:SHOWN_MISSED]
        if shares[i] > 0
    ]


def write_leaderboard(out: Path, board: dict[str, Any]) -> None:
    """Write leaderboard.json and leaderboard.html; the same board gives the same bytes."""
    from ictmri_benchmark.board.page import render_page

    write_text(out / "leaderboard.json", canonical_json(board))
    write_text(out / "leaderboard.html", render_page(board))


def render_table(board: dict[str, Any]) -> str:
    """Return the rescored entries as a table for the terminal."""
    title = f"{board['cohort']}: {board['n_cases']} cases"
    lines = [title + (", SYNTHETIC: says nothing about patients" if board["synthetic"] else ""), ""]
    columns = COLUMNS[:2]
    lines.append(f"{'rank':<10}{'entry':<34}" + "".join(f"{m.short:<24}" for m in columns))
    for row in board["entries"]:
        if row["report"] is None:
            continue
        rank = row["rank"]
        place = f"{rank['value']} ({rank['low']}-{rank['high']})" if rank else "unranked"
        cells = (m.with_interval(row["report"]["pooled"][m.name]) for m in columns)
        line = f"{place:<10}{row['name'][:32]:<34}" + "".join(f"{cell:<24}" for cell in cells)
        lines.append(line.rstrip())
    return "\n".join([*lines, *(f"refused: {r['slug']}: {r['reason']}" for r in board["refused"])])


def _read_folders(folder: Path, cohort: FoldTable, *, strict: bool) -> list[_EntryFolder]:
    """Read the entries of a folder; ``strict`` where it has a ledger: submissions lie under their slug."""
    found: list[_EntryFolder] = []
    problems: list[str] = []
    places: dict[str, str] = {}
    for path in sorted(folder.glob("*/entry.yaml")):
        place, name = path.parent, path.parent.name
        if name.startswith("."):
            continue
        if any(part.is_symlink() for part in (place, *place.iterdir())):
            problems.append(f"{name}: holds a link, which could lead anywhere")
            continue
        with collected(problems, name):
            entry = load_entry(path)
            if entry.slug != name and strict and not is_run(place):
                problems.append(f"{name}: entry.yaml calls itself {entry.slug!r}")
                continue
            if entry.slug in places:
                problems.append(f"{name}: its slug {entry.slug!r} is that of {places[entry.slug]}")
                continue
            places[entry.slug] = name
            unbound = "; ".join(binding_problems(entry, cohort))
            read = None if unbound else read_predictions(place / "predictions.csv", cohort)
            found.append(_EntryFolder(place, entry, read, unbound))
    if problems:
        raise InputError(str(folder), problems, "correct or remove these entries")
    if not found:
        deeper = sorted({path.parent.parent for path in folder.glob("*/*/entry.yaml")})
        step = f"give {deeper[0]}" if deeper else "ictmri reproduce --help"
        raise InputError(str(folder), ["no entry in this folder"], step)
    return found


def _compare_with_stored(folder: Path, scored: list[_Scored]) -> None:
    problems = [
        f"{item.place.name}: report.json is not what its predictions give"
        for item in scored
        if not is_stored(item.report, item.place / "report.json")
    ]
    if problems:
        raise InputError(str(folder), problems, "remove that report.json, or score the entry again")


def _compare_with_ledger(folder: Path, folders: list[_EntryFolder], events: list[Event]) -> None:
    recorded = {event.slug for event in events}
    submitted = {
        f.entry.slug: digest
        for f in folders
        if (digest := f.digest) and (f.entry.slug in recorded or not is_run(f.place))
    }
    problems = ledger_problems(events, submitted)
    if problems:
        step = (
            "run the ictmri submit or ictmri entry withdraw that was interrupted again; what nobody "
            "submitted goes elsewhere"
        )
        raise InputError(str(folder), problems, step)


def _flags(item: _Scored, scored: list[_Scored], cohort: FoldTable) -> list[str]:
    others = {o.entry.slug: o.predictions for o in scored if o is not item}
    return review_flags(item.predictions, cohort, others)


def _row(item: _Scored, ranks: dict[str, dict[str, Any]], flags: list[str]) -> dict[str, Any]:
    entry = item.entry
    place = ranks.get(entry.slug, {})
    return {
        "slug": entry.slug,
        "name": entry.method.name,
        "level": entry.level,
        "ranked": item.ranked,
        "rank": place.get("rank"),
        "tier": place.get("tier"),
        "first_share": place.get("first_share"),
        "behind_first": place.get("behind_first"),
        "summary": entry.method.summary,
        "authors": list(entry.method.authors),
        "selection": entry.selection,
        "tracks": list(entry.tracks),
        "flags": flags,
        "inputs": entry.inputs.model_dump(mode="json"),
        "command": entry.method.command,
        "licence": entry.method.licence,
        "paper": entry.method.paper,
        "code": entry.method.code,
        "external": list(entry.external),
        "overlap": entry.overlaps,
        "compute": entry.compute,
        "claimed": entry.claimed,
        "report": item.report.content,
    }


def reported_rows() -> list[dict[str, Any]]:
    """Return ``benchmark/reported.yaml``: what others print about the clinical cohort, in percent."""
    return [dict(row) for row in own_table(shipped("reported.yaml"))]


def _reported() -> list[dict[str, Any]]:
    """Return the rows that were only reported: about the clinical cohort, never ranked."""
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
        for row in reported_rows()
    ]
