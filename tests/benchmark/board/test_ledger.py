"""The ledger: rows are added, never changed, and every damage is named."""

import csv
from pathlib import Path

import pytest

from ictmri.errors import InputError
from ictmri_benchmark.board import ledger
from ictmri_benchmark.board.ledger import Event

ONE, TWO = "1" * 64, "2" * 64
ROWS = [
    Event("2026-11-01", "added", "alpha", ONE, "submitted"),
    Event("2026-11-02", "added", "beta", TWO, 'said "so", twice'),
    Event("2026-11-03", "corrected", "alpha", TWO, "wrong seed"),
    Event("2026-11-04", "withdrawn", "beta", "", "trained on test cases"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "ledger.csv"
    file.write_text(ledger.ledger_text(ROWS))
    return file


def test_what_is_written_is_read_back(path: Path) -> None:
    assert ledger.read_ledger(path) == ROWS
    assert ledger.read_ledger(path.with_name("none.csv")) == []
    with path.open(newline="") as stream:
        assert tuple(next(csv.reader(stream))) == ledger.COLUMNS


DAMAGES = {
    "header": (0, "date,action", "date,act", "row 1: the header must be"),
    "date": (1, "2026-11-01", "1 Nov 2026", "row 2: date '1 Nov 2026' is no day"),
    "no such day": (1, "2026-11-01", "2026-13-45", "row 2: date '2026-13-45' is no day"),
    "fullwidth date": (1, "2026-11-01", "２026-11-01", "row 2: date .* DIGIT TWO"),
    "action": (2, "added", "removed", "row 3: action 'removed' is not one of added, corrected"),
    "slug": (1, "alpha", "../alpha", "row 2: slug '../alpha' is not one"),
    "long slug": (1, "alpha", "a" * 61, "row 2: slug .* is not one"),
    "digest": (1, ONE, ONE[:-1], "row 2: predictions_sha256 is no digest"),
    "no digest": (1, ONE, "", "row 2: predictions_sha256 is no digest, or missing"),
    "withdrawn with a digest": (4, "beta,", f"beta,{ONE}", "row 5: predictions_sha256"),
    "no reason": (3, "wrong seed", " ", "row 4: reason is empty"),
    "long reason": (3, "wrong seed", "x" * 401, "row 4: reason has 401 characters"),
    "formula": (3, "wrong seed", "=cmd|' /C calc'!A0", "row 4: reason .* begins like a formula"),
    "unseen": (
        3,
        "wrong seed",
        "wrong\u202eseed",
        "row 4: reason .* is not one line of plain text",
    ),
    "cells": (3, ",wrong seed", "", "row 4: 4 cells instead of 5"),
    "added twice": (3, "corrected", "added", "row 4: alpha was added before"),
    "corrected first": (1, "added", "corrected", "row 2: alpha was never added"),
    "quote": (3, "wrong seed", '"wrong seed', "row 4: a quotation mark opens here"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_is_named_with_its_row(kind: str, path: Path) -> None:
    place, old, new, told = DAMAGES[kind]
    lines = path.read_text().splitlines()
    assert old in lines[place]
    lines[place] = lines[place].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=told) as caught:
        ledger.read_ledger(path)
    assert caught.value.next_step


def test_a_withdrawn_slug_never_returns(path: Path) -> None:
    for action in ("added", "corrected", "withdrawn"):
        event = Event("2026-11-05", action, "beta", "" if action == "withdrawn" else ONE, "x")
        path.write_text(ledger.ledger_text([*ROWS, event]))
        with pytest.raises(InputError, match="row 6: beta was withdrawn: choose a new slug"):
            ledger.read_ledger(path)


def test_rows_are_lines_even_behind_a_cell_of_several(path: Path) -> None:
    text = path.read_text().replace("wrong seed", '"wrong\nseed"').replace(",beta,,", ",beta,zz,")
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        ledger.read_ledger(path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["row 4", "row 6"]


def test_a_ledger_that_is_a_link_is_refused(path: Path) -> None:
    (path.parent / "link.csv").symlink_to(path)
    with pytest.raises(InputError, match="is a link"):
        ledger.read_ledger(path.parent / "link.csv")


def test_recording_adds_one_row_and_leaves_the_others(path: Path) -> None:
    before = path.read_bytes()
    ledger.record(path.parent, "added", "gamma", ONE, " several\n words ")
    after = path.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].decode().endswith(f",added,gamma,{ONE},several words\n")
    for action, slug, reason, told in (
        ("added", "alpha", "x", "alpha was added before"),
        ("corrected", "delta", "x", "delta was never added"),
        ("withdrawn", "beta", "x", "beta was withdrawn"),
        ("added", "delta", "=1+1", "begins like a formula"),
        ("added", "delta", " ", "reason is empty"),
    ):
        digest = "" if action == "withdrawn" else ONE
        with pytest.raises(InputError, match=told):
            ledger.record(path.parent, action, slug, digest, reason)  # type: ignore[arg-type]
    assert path.read_bytes() == after


def test_only_added_rows_are_taken() -> None:
    more = Event("2026-11-05", "added", "gamma", ONE, "submitted")
    assert ledger.appended(ROWS, [*ROWS, more]) == [more]
    assert ledger.appended([], ROWS) == ROWS
    for changed in (
        ROWS[:-1],
        [*ROWS[1:], more],
        [ROWS[1], ROWS[0], *ROWS[2:]],
        [more, *ROWS],
        [*ROWS[:3], Event("2026-11-04", "withdrawn", "beta", "", "another reason")],
    ):
        with pytest.raises(InputError, match="changed or gone"):
            ledger.appended(ROWS, changed)


def test_entries_and_ledger_are_compared_both_ways() -> None:
    assert ledger.ledger_problems(ROWS, {"alpha": TWO}) == []
    assert ledger.ledger_problems(ROWS, {"alpha": ONE, "beta": TWO, "new": ONE}) == [
        "alpha: its predictions are not the ones in ledger.csv",
        "beta: withdrawn in ledger.csv, but its folder is there",
        "new: not in ledger.csv",
    ]
    assert ledger.ledger_problems(ROWS, {}) == ["alpha: in ledger.csv, but its folder is gone"]
