"""The entries of the repository: whole, bound to the data of today, and the same bytes on every Python."""

import re
from pathlib import Path

import pytest

from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import load_entry
from ictmri_benchmark.board.folders import entry_folders, shipped_entries
from ictmri_benchmark.board.leaderboard import build_leaderboard
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.predictions import read_predictions
from ictmri_benchmark.score.report import score

COHORT = "ictmri-phantom"
ENTRIES = shipped_entries(COHORT)
LARGEST = 100_000
"""Bytes of a file of an entry, 249 cases and three seeds of them: all are in every wheel."""


def test_every_stored_report_is_what_its_predictions_give_to_the_byte() -> None:
    cohort, synthetic = find_folds(COHORT)
    places = entry_folders(ENTRIES)
    read = [read_predictions(place / "predictions.csv", cohort) for place in places]
    drawn = bootstrap(cohort, [predictions.labels for predictions in read])
    for column, (place, predictions) in enumerate(zip(places, read, strict=True)):
        report = score(predictions, cohort, drawn, synthetic=synthetic, entry=column)
        assert (place / "report.json").read_bytes() == report.to_json().encode(), place.name


def test_the_board_ranks_them_and_has_no_doubt_about_one() -> None:
    cohort, synthetic = find_folds(COHORT)
    board = build_leaderboard(ENTRIES, cohort, synthetic=synthetic)
    rows = [row for row in board["entries"] if row["report"]]
    assert [row["slug"] for row in rows if not row["ranked"] or row["rescored"]] == []
    assert board["refused"] == []
    assert {row["source"] for row in rows} == {"shipped"}
    assert {event["slug"] for event in board["ledger"]} == {row["slug"] for row in rows}
    assert board["ensemble"]["name"] == f"Ensemble of all {len(rows)} ranked entries"


@pytest.mark.parametrize("place", entry_folders(ENTRIES), ids=lambda place: place.name)
def test_an_entry_says_how_it_was_made(place: Path) -> None:
    entry = load_entry(place / "entry.yaml")
    assert entry.benchmark.data_sha256 == find_folds(COHORT)[0].data_sha256
    assert re.fullmatch(rf"ictmri reproduce \S+ --cohort {COHORT} .*", entry.method.command)
    assert {"profile", "machine", "date", "minutes of one core"} <= set(entry.compute)
    assert all(path.stat().st_size < LARGEST for path in place.iterdir())
