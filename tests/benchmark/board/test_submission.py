"""Entries that come, are corrected and go: whole or not at all, and never outside their folder."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.forks import Forks
from support.made_cohort import build_phantom
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import load_entry
from ictmri_benchmark.board.leaderboard import build_leaderboard
from ictmri_benchmark.board.ledger import last_event, read_ledger
from ictmri_benchmark.board.submission import submit, withdraw_entry
from ictmri_benchmark.score.predictions import read_predictions

FILES = ["entry.yaml", "predictions.csv", "report.json"]


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


@pytest.fixture
def take(small: FoldTable, tmp_path: Path) -> Callable[..., Path]:
    """Submits made-up predictions under a slug."""

    def taken(slug: str, seed: int = 0, correcting: str = "", **changes: object) -> Path:
        values = probabilities(small, 0.4, seed)
        files = hand_in(tmp_path / "in" / slug, small, made_entry(small, slug, **changes), values)
        entries = tmp_path / "place" / "entries"
        done = submit(*files, small, entries, synthetic=True, correcting=correcting)
        assert done.folder == entries / slug
        return done.folder

    return taken


def rows(place: Path) -> list[tuple[str, str, str]]:
    return [(e.action, e.slug, e.reason) for e in read_ledger(place / "entries" / "ledger.csv")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_life_of_an_entry(take: Callable[..., Path], small: FoldTable, tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder = take("mine")
    assert sorted(contents(folder)) == FILES
    first = contents(folder)
    with pytest.raises(InputError, match="an entry of this slug exists") as caught:
        take("mine", 1)
    assert "--correct" in caught.value.next_step
    assert contents(folder) == first

    take("mine", 1, correcting="seed 1\n is meant")
    assert contents(folder)["predictions.csv"] != first["predictions.csv"]
    take("mine", 1, correcting="a clearer summary", external=("weights",))
    assert load_entry(folder / "entry.yaml").external == ("weights",)

    withdraw_entry(place / "entries", "mine", "trained on test cases")
    assert not folder.exists()
    history = [
        ("added", "mine", "submitted"),
        ("corrected", "mine", "seed 1 is meant"),
        ("corrected", "mine", "a clearer summary"),
        ("withdrawn", "mine", "trained on test cases"),
    ]
    assert rows(place) == history
    for correcting in ("", "again"):
        with pytest.raises(InputError, match=r"was withdrawn|no such entry"):
            take("mine", 2, correcting=correcting)
    with pytest.raises(InputError, match="no entry 'mine'"):
        withdraw_entry(place / "entries", "mine", "again")
    assert rows(place) == history
    assert list((place / "entries").glob("[!.]*/")) == []

    take("other")
    board = build_leaderboard(place / "entries", small, synthetic=True)
    assert [event["action"] for event in board["ledger"]][-2:] == ["withdrawn", "added"]


def test_corrections_and_withdrawals_of_what_is_not_there(
    take: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such entry to correct"):
        take("mine", correcting="typo")
    assert not (tmp_path / "place" / "entries" / "ledger.csv").exists()
    take("mine")
    for slug in ("", ".", "..", "../in", "../place/entries/mine", "mine/", ".mine.part", "MINE"):
        with pytest.raises(InputError, match="no entry"):
            withdraw_entry(tmp_path / "place" / "entries", slug, "x")
    with pytest.raises(InputError, match="is empty"):
        withdraw_entry(tmp_path / "place" / "entries", "mine", " ")
    with pytest.raises(InputError, match="begins like a formula"):
        withdraw_entry(tmp_path / "place" / "entries", "mine", "=1+1")
    assert rows(tmp_path / "place") == [("added", "mine", "submitted")]


@pytest.mark.parametrize("name", ["mine", ".mine.part", ".mine.gone"])
def test_nothing_is_written_through_a_link(
    name: str, take: Callable[..., Path], tmp_path: Path
) -> None:
    outside, entries = tmp_path / "outside", tmp_path / "place" / "entries"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    entries.mkdir(parents=True)
    (entries / name).symlink_to(outside)
    for correcting in ("", "typo"):
        with pytest.raises(InputError, match="is a link, which could lead anywhere"):
            take("mine", correcting=correcting)
    assert contents(outside) == {"kept.txt": b"kept"}
    assert not (tmp_path / "place" / "entries" / "ledger.csv").exists()


def test_nothing_is_read_through_a_link(
    take: Callable[..., Path], small: FoldTable, tmp_path: Path
) -> None:
    """What lies outside is neither scored nor quoted in a message."""
    mine = take("mine")
    outside = tmp_path / "outside"
    shutil.copytree(mine, outside)
    (outside / "predictions.csv").write_text("case_id,secret\n")
    (mine.parent / "folder").symlink_to(outside)
    (mine.parent / "file").mkdir()
    for name in FILES:
        (mine.parent / "file" / name).symlink_to(outside / name)
    with pytest.raises(InputError) as caught:
        build_leaderboard(mine.parent, small, synthetic=True)
    assert caught.value.problems == [
        f"{name}: holds a link, which could lead anywhere" for name in ("file", "folder")
    ]
    for slug in ("folder", "file"):
        with pytest.raises(InputError, match="no entry"):
            withdraw_entry(mine.parent, slug, "x")
    assert take("other", 5) == mine.parent / "other"
    assert sorted(contents(outside)) == FILES


def test_a_ledger_that_is_damaged_stops_everything(
    take: Callable[..., Path], tmp_path: Path
) -> None:
    take("mine")
    ledger = tmp_path / "place" / "entries" / "ledger.csv"
    ledger.write_text(ledger.read_text().replace("added", "removed"))
    for step in (
        lambda: take("other"),
        lambda: withdraw_entry(ledger.parent, "mine", "x"),
    ):
        with pytest.raises(InputError, match="row 2: action 'removed'"):
            step()
    assert [path.name for path in ledger.parent.glob("*/")] == ["mine"]


def test_seeds_may_stand_in_any_order(take: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"seeds are \[1\], the file has \[0\]"):
        take("mine", seeds=(1,))
    with pytest.raises(InputError, match=r"seeds are \[0, 0\]"):
        take("mine", seeds=(0, 0))


# ---- killed, and at once ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of eight cases, as a folder that the command line takes."""
    home = tmp_path_factory.mktemp("cohort")
    with Forks(home, build_phantom(home / "mini"), HF_HOME=str(home / "hf")):
        return home / "mini"


def words(folder: Path, cohort: Path, slug: str, *more: str) -> list[str]:
    files = [str(folder / slug / "predictions.csv"), "--entry", str(folder / slug / "entry.yaml")]
    place = ["--cohort", str(cohort), "--entries", str(folder / "place" / "entries")]
    return ["submit", *files, *place, *more]


def handed_in(folder: Path, cohort: Path, slug: str, name: str = "", seed: int = 0) -> None:
    table, _ = find_folds(cohort)
    hand_in(folder / slug, table, made_entry(table, name or slug), probabilities(table, 0.4, seed))


@pytest.mark.slow
def test_killed_at_any_step_the_same_command_finishes(phantom: Path, tmp_path: Path) -> None:
    handed_in(tmp_path, phantom, "first", "mine", 0)
    handed_in(tmp_path, phantom, "second", "mine", 1)
    withdraw = ["entry", "withdraw", "mine", "--reason", "gone", "--entries"]
    commands = [
        words(tmp_path, phantom, "first"),
        words(tmp_path, phantom, "second", "--correct", "seed 1"),
        [*withdraw, str(tmp_path / "place" / "entries")],
    ]
    ends = [
        [("added", "mine", "submitted")],
        [("added", "mine", "submitted"), ("corrected", "mine", "seed 1")],
        [
            ("added", "mine", "submitted"),
            ("corrected", "mine", "seed 1"),
            ("withdrawn", "mine", "gone"),
        ],
    ]
    place, saved = tmp_path / "place", tmp_path / "saved"
    place.mkdir()
    with Forks(tmp_path, words(tmp_path, phantom, "first"), ICTMRI_CACHE=str(tmp_path)) as forks:
        shutil.rmtree(place)
        place.mkdir()
        for command, expected in zip(commands, ends, strict=True):
            shutil.rmtree(saved, ignore_errors=True)
            shutil.copytree(place, saved)
            whole = forks.run(command)
            assert whole.code == 0, whole.stderr
            mine = place / "entries" / "mine"
            finished = contents(mine) if mine.is_dir() else {}
            steps = [i for i, (_, path) in enumerate(whole.steps) if str(place) in path]
            assert len(steps) >= 5
            for step in steps:
                shutil.rmtree(place)
                shutil.copytree(saved, place)
                assert forks.run(command, kill_at=step).code == -signal.SIGKILL
                before = rows(place)
                assert before in (expected, expected[:-1])
                again = forks.run(command)
                if again.code:
                    assert (
                        "an entry of this slug exists" in again.stderr or "no entry" in again.stderr
                    )
                    assert before == expected
                assert rows(place) == expected, whole.steps[step]
                assert (contents(mine) if mine.is_dir() else {}) == finished, whole.steps[step]
                left = {path.name for path in place.rglob("*")} - {*finished, "mine"}
                assert left == {"entries", "ledger.csv", ".entries.lock"}, whole.steps[step]


@pytest.mark.slow
def test_submissions_at_once_do_not_mix(phantom: Path, tmp_path: Path) -> None:
    for place, name in enumerate(("a", "a", "b", "c")):
        handed_in(tmp_path, phantom, f"from-{place}", name, place)
    run = "import sys; from ictmri.cli.app import main; sys.argv[0] = 'ictmri'; main()"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", run, *words(tmp_path, phantom, f"from-{place}")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in range(4)
    ]
    said = [process.communicate()[1] for process in running]
    codes = [process.returncode for process in running]
    assert codes[2:] == [0, 0], said
    assert sorted(codes[:2]) == [0, 1], said
    assert "an entry of this slug exists" in said[codes.index(1)]
    assert sorted(rows(tmp_path / "place")) == [("added", name, "submitted") for name in "abc"]
    table, _ = find_folds(phantom)
    board = build_leaderboard(tmp_path / "place" / "entries", table, synthetic=True)
    assert sorted(row["slug"] for row in board["entries"] if row["report"]) == ["a", "b", "c"]


def test_normalized_predictions_are_written_as_such_and_the_ledger_says_so(
    small: FoldTable, tmp_path: Path
) -> None:
    values = np.round(probabilities(small, 0.4), 2)
    entry = made_entry(small, "new", name="My method")
    files = hand_in(tmp_path, small, entry, values)
    entries = tmp_path / "entries"
    with pytest.raises(InputError, match="--normalize"):
        submit(*files, small, entries, synthetic=True)
    done = submit(*files, small, entries, synthetic=True, normalize=True)
    # What lies there is valid by itself, and what was handed in divided by its sums.
    read = read_predictions(done.folder / "predictions.csv", small)
    assert read.probabilities is not None
    expected = values / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(read.probabilities[0], expected, rtol=1e-14)
    assert done.report.content["digests"]["predictions"] == read.sha256
    event = last_event(entries, "new")
    assert event is not None
    assert event.reason == "submitted; probabilities divided by their sum"
    assert event.predictions_sha256 == read.sha256
    assert "entry.yaml: method.name is still the example's" in done.flags
