"""Entries of level R4 from a challenge that was revealed and checked: whole reports, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.files import is_free, write_bytes, write_text
from ictmri_benchmark import evaluate
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, write_entry
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.sealed.log import State
from ictmri_benchmark.sealed.package import Submission


def write_entries(
    out: Path, state: State, submissions: Sequence[Submission], table: FoldTable
) -> int:
    """Write the submission that stands for each participant as an R4 entry, and the board of them.

    It is the one whose value was released last; every other one was not better by more than chance.

    Returns:
        The number of entries.

    Raises:
        InputError: ``out`` exists.
    """
    if not is_free(out):
        raise InputError(str(out), ["exists and is not empty"], "choose another path")
    standing = _standing(state, submissions)
    slugs = Counter(item.entry.slug for _, item in standing)
    for participant, item in standing:
        slug = item.entry.slug
        if slugs[slug] > 1:
            slug = f"{slug[:40]}-{state.keys[participant][:12]}"
        place = out / "entries" / slug
        write_bytes(place / "predictions.csv", item.table)
        write_entry(place / "entry.yaml", _sealed(item.entry, slug, table))
        report = evaluate(place / "predictions.csv", table, synthetic=state.challenge.synthetic)
        write_text(place / "report.json", report.to_json())
    if standing:
        board = build_leaderboard(out / "entries", table, synthetic=state.challenge.synthetic)
        write_leaderboard(out, board)
    return len(standing)


def _standing(state: State, submissions: Sequence[Submission]) -> list[tuple[str, Submission]]:
    found: dict[str, tuple[str, Submission]] = {}
    for scoring, submission in zip(state.scorings, submissions, strict=True):
        name = scoring.intent.participant
        if name not in found or scoring.value != found[name][0]:
            found[name] = (scoring.value, submission)
    return [(name, submission) for name, (_, submission) in found.items()]


def _sealed(entry: Entry, slug: str, table: FoldTable) -> Entry:
    bound = BenchmarkRef(
        version=entry.benchmark.version, cohort=table.name, splits_sha256=table.sha256
    )
    return entry.model_copy(update={"slug": slug, "benchmark": bound, "level": "R4"})
