"""The baselines' entries, their tables and the board: the same numbers from the same files."""

import json
import shutil
from pathlib import Path

import pytest
from support.made_entries import add_entry, made_entry
from support.made_predictions import probabilities

from ictmri.folds import FoldTable
from ictmri.io.states import write_record
from ictmri.lookup import find_folds
from ictmri_baselines.registry import recipe_ids
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_baselines.reproduction.results import collect, hand_in, render
from ictmri_benchmark.board.entry import Entry, load_entry, write_entry
from ictmri_benchmark.board.folders import shipped_entries
from ictmri_benchmark.board.ledger import read_ledger

BASELINES = Path(__file__).parents[3] / "baselines"
MEASURED = ("cpu_minutes",)


def test_tables_and_entries_are_of_the_same_runs() -> None:
    """Of recipes whose entry is not published yet, the tables alone tell."""
    results = json.loads((BASELINES / "results.json").read_text())
    cohort, synthetic = find_folds("ictmri-phantom")
    again = collect(shipped_entries("ictmri-phantom"), cohort, synthetic=synthetic)
    printed = {row["recipe"]: row for row in results["runs"]}
    for row in again["runs"]:
        assert {k: v for k, v in row.items() if k not in MEASURED} == {
            k: v for k, v in printed[row["recipe"]].items() if k not in MEASURED
        }
    assert again["digests"]["data"] == results["digests"]["data"] == cohort.data_sha256
    compared = {(row["recipe"], row["against"]): row for row in results["planned"]}
    numbers = ("difference", "low", "high", "p", "mcnemar_p")
    for row in again["planned"]:
        there = compared[row["recipe"], row["against"]]
        assert [row[name] for name in numbers] == [there[name] for name in numbers]
    if len(again["runs"]) == len(recipe_ids()):
        assert again == results
        assert render(again) == (BASELINES / "README.md").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a recipe as it would be left, its predictions made up."""
    cohort = phantom()
    recipe = load_recipe("controls/radiomics")
    compute = {"profile": "cpu", "recipe_sha256": recipe.digest("cpu"), "data_sha256": "c" * 64}
    described = made_entry(cohort, recipe.slug, compute=compute)
    place = add_entry(tmp_path / "runs", cohort, described, probabilities(cohort, 0.4))
    (place / "run.json").write_text("{}")
    (place / "folds").mkdir()
    for fold in range(5):
        write_record(place / "folds" / f"seed0-fold{fold}.json", {"cpu_seconds": 30.0}, [])
    return place


def phantom() -> FoldTable:
    return find_folds("ictmri-phantom")[0]


def rows(entries: Path) -> list[tuple[str, str]]:
    return [(event.action, event.reason) for event in read_ledger(entries / "ledger.csv")]


def changed(entry: Entry, **changes: object) -> Entry:
    return entry.model_copy(update=changes)


def test_a_run_becomes_an_entry_from_which_its_row_follows(run: Path, tmp_path: Path) -> None:
    cohort, entries = phantom(), tmp_path / "entries"
    # The slug is that of a published entry, of which this would be another.
    shutil.move(run, run.parent / "mine")
    run = run.parent / "mine"
    write_entry(run / "entry.yaml", changed(load_entry(run / "entry.yaml"), slug="controls-mine"))
    place = hand_in(run, cohort, entries, synthetic=True)
    entry = load_entry(place / "entry.yaml")
    assert entry.level == "R2"
    assert entry.compute["minutes of one core"] == 2.5
    assert "date" in entry.compute
    assert not (place / "run.json").exists()
    assert rows(entries) == [("added", "submitted")]

    before = (place / "entry.yaml").read_bytes()
    write_record(run / "folds" / "seed0-fold0.json", {"cpu_seconds": 90.0}, [])
    hand_in(run, cohort, entries, synthetic=True)
    assert (place / "entry.yaml").read_bytes() == before, "another machine made the same"
    assert rows(entries) == [("added", "submitted")]

    text = (run / "predictions.csv").read_text().splitlines()
    first = text[1].split(",")
    text[1] = ",".join([first[0], "1", "0", "0", "0"])
    (run / "predictions.csv").write_text("\n".join(text) + "\n")
    hand_in(run, cohort, entries, synthetic=True)
    assert rows(entries) == [("added", "submitted"), ("corrected", "made anew")]
    assert (place / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_a_run_and_its_entry_give_the_same_row(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ictmri_benchmark.board.submission._refuse_published", lambda *_: None)
    cohort, entries = phantom(), tmp_path / "entries"
    hand_in(run, cohort, entries, synthetic=True)
    of_runs, of_entries = (
        collect(folder, cohort, synthetic=True) for folder in (run.parent, entries)
    )
    assert of_runs == of_entries
    (row,) = of_entries["runs"]
    assert (row["recipe"], row["cpu_minutes"]) == ("controls/radiomics", 2.5)
