"""The leaderboard: every entry rescored from its predictions, ranks as intervals, one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json, sha256_bytes, write_text
from ictmri.io.resources import AnyPath, at_home, shipped
from ictmri.io.yamlfile import own_table
from ictmri_benchmark.board.entry import Entry
from ictmri_benchmark.board.flags import Others, review_flags
from ictmri_benchmark.board.ranking import (
    PAIR_COLUMNS,
    Contender,
    compare_pairs,
    rank,
    resolution,
)
from ictmri_benchmark.board.reading import EntryFolder, Source, read_entries, require_entries
from ictmri_benchmark.board.submission import Stored, data_problems, external_of, stored_report
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.metrics import RANK_KEY, Floats
from ictmri_benchmark.score.predictions import Predictions, format_predictions
from ictmri_benchmark.score.report import External, Report, cohort_digests, score

REPORTED_CASES: Final = 249
"""Patients of the cohort that the reported rows are about."""
SHOWN_MISSED: Final = 20
"""Cases listed as the hardest."""
_AT_ONCE: Final = 64
"""Entries whose draws are in memory together: all metrics and classes of each."""


@dataclass(frozen=True, slots=True)
class _Contestant:
    """Predictions that are scored.

    Attributes:
        slug: of the entry; of what is none, a word that no entry can have.
        source: where they come from.
        about: what the board says of them besides scores.
        predictions: as they were read.
        unranked: key of :data:`UNRANKED`, empty where they are ranked.
        place: folder of the entry.
        external: what is known of a model that was trained elsewhere: it stands apart.
    """

    slug: str
    source: Source
    about: dict[str, Any]
    predictions: Predictions
    unranked: str = ""
    place: Path | None = None
    external: External | None = None

    @property
    def counts(self) -> bool:
        """Whether the board is about it: a ranked entry."""
        return not self.unranked and self.source in {"shipped", "local"}


@dataclass(frozen=True, slots=True)
class _Scored:
    of: _Contestant
    report: Report
    stored: Stored

    @property
    def ranked(self) -> bool:
        return not self.of.unranked

    @property
    def value(self) -> float:
        return float(self.report.content["pooled"][RANK_KEY]["value"])


def build_leaderboard(
    entries: AnyPath | Sequence[AnyPath],
    cohort: FoldTable,
    *,
    synthetic: bool,
    given: Mapping[str, Predictions] | None = None,
    external: External | None = None,
) -> dict[str, Any]:
    """Rescore every entry of a folder, rank them, and return the content of leaderboard.json.

    Entries for another cohort or other folds are listed with the reason and not scored, those made on other
    data of the cohort scored and not ranked. What was submitted stands in the ledger of the folder; runs of
    ``ictmri reproduce`` may lie beside it, under any name.

    Args:
        entries: folder with one folder an entry: entry.yaml, predictions.csv, report.json. Of several, each
            may be empty; a slug that stands in two is that of the first.
        cohort: the fold table that holds the labels.
        synthetic: marks the board of a phantom.
        given: predictions by name that are ranked among the entries and are none.
        external: of all that is ``given``, where it was trained elsewhere; it is then not ranked.

    Raises:
        InputError: an entry is not valid, or its report is not what its predictions give.
    """
    if isinstance(entries, str | PathLike):
        require_entries(at_home(entries))
        entries = [entries]
    places = [at_home(place) for place in entries]
    folders, events = read_entries(places, cohort)
    contestants = [_of_entry(f, f.predictions, cohort) for f in folders if f.predictions]
    contestants += [
        _given(f"with_{number}", name, read, external)
        for number, (name, read) in enumerate((given or {}).items(), start=1)
    ]
    together = _ensemble(contestants, cohort)
    scored, drawn = _scored([*contestants, *together], cohort, synthetic=synthetic)
    ranked = [s for s in scored if s.ranked]
    contenders = [Contender(s.of.slug, s.value, s.of.predictions.labels) for s in ranked]
    draws = drawn[[s.ranked for s in scored]].T
    pairs = compare_pairs(cohort, contenders, draws)
    ranks = rank(contenders, pairs, draws)
    known = {s.of.slug: s.of.predictions for s in scored if s.of.source in {"shipped", "local"}}
    others = Others.of(known)
    shown = sorted(scored, key=lambda s: (not s.ranked, s.of.unranked, -s.value, s.of.slug))
    rows = [_row(s, ranks, _flags(s, others, cohort)) for s in shown]
    return _empty_board(cohort.name, len(cohort.rows), synthetic=synthetic) | {
        "digests": cohort_digests(cohort) | {"data": cohort.data_sha256},
        "entries": [row for row in rows if _is_entry(row)] + reported_board_rows(),
        "external": [row for row in rows if row["report"].get("external")],
        "ensemble": next((row for row in rows if row["source"] == "ensemble"), None),
        "comparison": {"columns": list(PAIR_COLUMNS), "pairs": [pair.row() for pair in pairs]},
        "resolution": resolution(len(cohort.rows), draws),
        "missed": _missed(cohort, scored),
        "refused": [{"slug": f.entry.slug, "reason": f.refused} for f in folders if f.refused],
        "ledger": [asdict(event) for event in events],
    }


def reported_board(cohort: str) -> dict[str, Any]:
    """Return the board of the clinical cohort where it is not here: what papers report, and no entry."""
    return _empty_board(cohort, REPORTED_CASES, synthetic=False)


def _empty_board(cohort: str, n_cases: int, *, synthetic: bool) -> dict[str, Any]:
    return {
        "schema": protocol.LEADERBOARD_SCHEMA,
        "benchmark": {"name": protocol.BENCHMARK, "version": protocol.VERSION},
        "cohort": cohort,
        "synthetic": synthetic,
        "n_cases": n_cases,
        "rank_key": RANK_KEY,
        "digests": {},
        "entries": reported_board_rows(),
        "external": [],
        "ensemble": None,
        "comparison": {"columns": list(PAIR_COLUMNS), "pairs": []},
        "resolution": resolution(n_cases, np.empty((0, 0))),
        "missed": [],
        "refused": [],
        "ledger": [],
    }


def _of_entry(folder: EntryFolder, read: Predictions, cohort: FoldTable) -> _Contestant:
    entry = folder.entry
    # Unlike a submission, an entry that is there already must name the data.
    other = data_problems(entry, cohort) or (cohort.data_sha256 and not entry.benchmark.data_sha256)
    reasons = {
        "test-fold": entry.selection == "test-fold",
        "other-data": other,
        "external": entry.is_external,
    }
    unranked = next((reason for reason, holds in reasons.items() if holds), "")
    about, external = _about(entry), external_of(entry)
    return _Contestant(entry.slug, folder.source, about, read, unranked, folder.place, external)


def _given(slug: str, name: str, read: Predictions, external: External | None) -> _Contestant:
    about = _nothing_known(name)
    if external is None:
        return _Contestant(slug, "given", about, read)
    about |= external._asdict()
    return _Contestant(slug, "given", about, read, "external", external=external)


def _is_entry(row: dict[str, Any]) -> bool:
    """Say whether a scored row belongs among those that were cross-validated here."""
    return row["source"] != "ensemble" and not row["report"].get("external")


def _ensemble(contestants: Sequence[_Contestant], cohort: FoldTable) -> list[_Contestant]:
    """Return the mean of the ranked entries, none where there are fewer than two."""
    counted = sorted((c for c in contestants if c.counts), key=lambda c: c.slug)
    if len(counted) < 2:
        return []
    about = _nothing_known(f"Ensemble of all {len(counted)} ranked entries") | {
        "summary": "Mean of the probabilities of the ranked entries, controls among them. Each counts "
        "once, with the mean over its seeds, and a label without probabilities as 1 for its class. "
        "Made by this board, never ranked.",
        "authors": ["this board"],
    }
    mean = _mean_of([c.predictions for c in counted], cohort.case_ids)
    return [_Contestant("all_ranked", "ensemble", about, mean, "ensemble")]


def _mean_of(entries: Sequence[Predictions], case_ids: Sequence[str]) -> Predictions:
    """Return the mean of predictions, each entry counting once.

    An entry of several seeds counts with the mean over them; a label without probabilities as 1 for its
    class. Summed in the order given, one step after the other: the same bytes on every processor.

    Args:
        entries: at least one, of the same cases.
        case_ids: the cases.
    """
    mean = _average([_average(list(_probabilities(entry))) for entry in entries])
    highest = mean.max(axis=-1, keepdims=True)
    made = Predictions(
        seeds=(0,),
        labels=mean.argmax(axis=-1)[None],
        probabilities=mean[None],
        ties=int(((mean == highest).sum(axis=-1) > 1).sum()),
        sha256="",
    )
    return replace(made, sha256=sha256_bytes(format_predictions(made, case_ids).encode()))


def _probabilities(entry: Predictions) -> Floats:
    """Return (S, N, K) probabilities."""
    if entry.probabilities is not None:
        return entry.probabilities
    certain: Floats = (entry.labels[..., None] == np.arange(len(CLASSES))).astype(np.float64)
    return certain


def _average(values: Sequence[Floats]) -> Floats:
    total: Floats = np.zeros_like(values[0])
    for one in values:
        total = total + one
    mean: Floats = total / len(values)
    return mean


def _scored(
    contestants: Sequence[_Contestant], cohort: FoldTable, *, synthetic: bool
) -> tuple[list[_Scored], Floats]:
    """Return what is scored, and the bootstrap values (contestants, draws) of the rank key.

    Raises:
        InputError: the stored report of an entry is not what its predictions give.
    """
    scored: list[_Scored] = []
    values: Floats = np.empty((len(contestants), protocol.N_DRAWS))
    for start in range(0, len(contestants), _AT_ONCE):
        some = contestants[start : start + _AT_ONCE]
        drawn = bootstrap(cohort, [one.predictions.labels for one in some])
        values[start : start + len(some)] = drawn.headline[RANK_KEY].T
        for column, one in enumerate(some):
            report = score(
                one.predictions,
                cohort,
                drawn,
                synthetic=synthetic,
                entry=column,
                external=one.external,
            )
            stored = stored_report(report, one.place / "report.json") if one.place else "none"
            scored.append(_Scored(one, report, stored))
    wrong = [s.of.place for s in scored if s.stored == "other" and s.of.place]
    if wrong:
        problems = [
            f"{place.name}: report.json is not what its predictions give" for place in wrong
        ]
        step = "remove that report.json, or score the entry again"
        raise InputError(str(wrong[0].parent), problems, step)
    return scored, values


def _missed(cohort: FoldTable, scored: list[_Scored]) -> list[dict[str, Any]]:
    """Return the cases that most entries have wrong, with the share that do, the hardest first."""
    entries = [item.of for item in scored if item.of.counts]
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


def write_leaderboard(out: AnyPath, board: dict[str, Any]) -> None:
    """Write leaderboard.json and leaderboard.html; the same board gives the same bytes."""
    from ictmri_benchmark.board.page import render_page

    out = at_home(out)
    text = canonical_json(board)
    write_text(out / "leaderboard.json", text)
    write_text(out / "leaderboard.html", render_page(board, text))


def _flags(item: _Scored, others: Others, cohort: FoldTable) -> list[str]:
    """Return what to look at; the board's own ensemble is like its parts, by its nature."""
    if item.of.source == "ensemble":
        return []
    return review_flags(item.of.predictions, cohort, others, item.of.slug)


def _row(item: _Scored, ranks: dict[str, dict[str, Any]], flags: list[str]) -> dict[str, Any]:
    place = ranks.get(item.of.slug, {})
    return {
        "slug": item.of.slug,
        "source": item.of.source,
        "ranked": item.ranked,
        "unranked": item.of.unranked,
        "rank": place.get("rank"),
        "tier": place.get("tier"),
        "first_share": place.get("first_share"),
        "behind_first": place.get("behind_first"),
        "flags": flags,
        **item.of.about,
        # A report of an earlier protocol is not compared: the scores are those of this one.
        "rescored": item.stored == "older",
        "report": item.report.content,
    }


def _about(entry: Entry) -> dict[str, Any]:
    """Return what an entry says of itself."""
    return {
        "name": entry.method.name,
        "level": entry.level,
        "summary": entry.method.summary,
        "authors": list(entry.method.authors),
        "selection": entry.selection,
        "tracks": list(entry.tracks),
        "inputs": entry.inputs.model_dump(mode="json"),
        "command": entry.method.command,
        "licence": entry.method.licence,
        "paper": entry.method.paper,
        "code": entry.method.code,
        "external": list(entry.external),
        "overlap": entry.overlaps,
        "trained_on": entry.trained_on,
        "compute": entry.compute,
        "claimed": entry.claimed,
    }


def _nothing_known(name: str) -> dict[str, Any]:
    """Return the same of predictions that no entry describes."""
    return {
        "name": name,
        "level": "R1",
        "summary": "Predictions to look at, not an entry: nothing is known of how they were made.",
        "authors": [],
        "selection": "",
        "tracks": ["not an entry"],
        "inputs": None,
        "command": "",
        "licence": "",
        "paper": "",
        "code": "",
        "external": [],
        "overlap": "unknown",
        "trained_on": "",
        "compute": {},
        "claimed": {},
    }


def reported_rows() -> list[dict[str, Any]]:
    """Return ``benchmark/reported.yaml``: what others print about the clinical cohort, in percent."""
    return [dict(row) for row in own_table(shipped("reported.yaml"))]


def reported_board_rows() -> list[dict[str, Any]]:
    """Return the rows that were only reported: about the clinical cohort, never ranked."""
    return [
        {
            "slug": row.pop("slug"),
            "source": "paper",
            "name": row.pop("name"),
            "level": "R0",
            "ranked": False,
            "rank": None,
            "report": None,
            "reported": {"cohort": "ictmri", "unit": "percent", **row},
        }
        for row in reported_rows()
    ]
