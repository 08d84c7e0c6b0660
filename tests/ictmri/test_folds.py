import csv
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commandline import run

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.folds import (
    Candidate,
    FoldRow,
    assign_folds,
    describe_folds,
    format_folds,
    read_folds,
    write_folds,
)
from ictmri.lookup import find_folds


def candidates(labels: list[str]) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [
        Candidate(
            f"c-{i:03d}",
            f"p-{i:03d}",
            label,
            sex=str(rng.choice(["female", "male"])),
            age=float(rng.uniform(4, 86)),
        )
        for i, label in enumerate(labels)
    ]


@given(st.lists(st.sampled_from(CLASSES), min_size=5, max_size=80), st.integers(2, 5))
def test_each_class_and_the_whole_are_even(labels: list[str], n_folds: int) -> None:
    rows = assign_folds(candidates(labels), n_folds)
    for group in (rows, *[[r for r in rows if r.label == name] for name in CLASSES]):
        sizes = Counter(dict.fromkeys(range(n_folds), 0))
        sizes.update(r.fold for r in group)
        assert max(sizes.values()) - min(sizes.values()) <= 1


def test_249_cases_give_folds_of_49_and_50() -> None:
    labels = ["glioma"] * 120 + ["pcnsl"] * 60 + ["germinoma"] * 40 + ["rare"] * 29
    rows = assign_folds(candidates(labels), 5)
    assert sorted(Counter(r.fold for r in rows).values()) == [49, 50, 50, 50, 50]


def test_folds_balance_age_within_a_class() -> None:
    cases = candidates(["glioma"] * 100)
    ages = {c.case_id: c.age for c in cases}
    rows = assign_folds(cases, 5)
    means = [np.mean([ages[r.case_id] for r in rows if r.fold == k]) for k in range(5)]
    rng = np.random.default_rng(1)
    by_case = np.array([ages[r.case_id] for r in rows])
    spreads = []
    for _ in range(100):
        shuffled = rng.permutation([r.fold for r in rows])
        spreads.append(np.ptp([by_case[shuffled == k].mean() for k in range(5)]))
    assert np.ptp(means) < np.percentile(spreads, 5)


@given(st.lists(st.sampled_from(CLASSES), min_size=12, max_size=60), st.integers(2, 10))
def test_added_cases_leave_the_others_where_they_are(labels: list[str], n_new: int) -> None:
    cases = candidates(labels)
    first = assign_folds(cases[:-n_new], 2)
    earlier = {row.case_id: row.fold for row in first}
    second = assign_folds(cases, 2, earlier=earlier)
    assert {row.case_id: row.fold for row in second} | earlier == {
        row.case_id: row.fold for row in second
    }
    for name in CLASSES:
        sizes = [sum(r.fold == k and r.label == name for r in second) for k in range(2)]
        assert abs(sizes[0] - sizes[1]) <= 1


def test_a_class_of_one_is_told() -> None:
    rows = assign_folds(candidates(["glioma"] * 5 + ["rare"]), 2)
    told = "\n".join(describe_folds(rows))
    assert "class rare: 1 case for 2 folds" in told
    assert "class pcnsl: no case" in told


@pytest.mark.parametrize("n_folds", [0, 1, 7])
def test_impossible_numbers_of_folds_are_refused(n_folds: int) -> None:
    with pytest.raises(InputError, match="choose 2 to 6 folds"):
        assign_folds(candidates(["glioma"] * 6), n_folds)


def test_a_table_survives_the_round_trip(tmp_path: Path) -> None:
    rows = assign_folds(candidates(["glioma", "rare", "pcnsl", "germinoma"]), 2)
    digest = write_folds(tmp_path / "folds.csv", rows)
    table = read_folds(tmp_path / "folds.csv", "mini", expected_sha256=digest)
    assert list(table.rows) == rows
    assert table.labels == [0, 3, 1, 2]


def test_a_reordered_table_is_refused_by_name(tmp_path: Path) -> None:
    rows = assign_folds(candidates(["glioma", "rare", "pcnsl", "germinoma"]), 2)
    digest = write_folds(tmp_path / "folds.csv", rows)
    write_folds(tmp_path / "folds.csv", rows[::-1])
    with pytest.raises(InputError, match="fold table of 'mini' was edited or reordered"):
        read_folds(tmp_path / "folds.csv", "mini", expected_sha256=digest)


def test_every_problem_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("case_id,patient_id,label,fold\na,p,gliona,0\nb,q,rare,x\nc,r,rare\n")
    with pytest.raises(InputError) as caught:
        read_folds(path, "mini")
    assert len(caught.value.problems) == 3
    assert "did you mean 'glioma'" in caught.value.problems[0]


def test_a_patient_in_two_folds_is_refused(tmp_path: Path) -> None:
    rows = [FoldRow("a", "p", "glioma", 0), FoldRow("b", "p", "glioma", 1)]
    (tmp_path / "folds.csv").write_text(format_folds(rows))
    with pytest.raises(InputError, match=r"patient 'p' is in folds \[0, 1\]"):
        read_folds(tmp_path / "folds.csv", "mini")


@pytest.mark.parametrize(
    "case_id", ["../x", "/x", "a/b", "", ".x", "a*", "a\\b", "a" * 65, "\u00e9"]
)
def test_ids_that_would_lead_to_other_folders(case_id: str, tmp_path: Path) -> None:
    write_folds(tmp_path / "folds.csv", [FoldRow(case_id, "p", "rare", 0)])
    with pytest.raises(InputError, match="row 2: case_id"):
        read_folds(tmp_path / "folds.csv", "x")


def test_rows_whose_ids_would_lead_to_other_folders(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"case_id": ["a-1", "../../x"]}), path)
    with mock.patch.object(Cohort, "parquet_files", return_value={"fold0": [path]}):
        rows = Cohort(tmp_path, mock.Mock()).rows("default")
        assert next(rows) == {"case_id": "a-1"}
        with pytest.raises(InputError, match=r"'\.\./\.\./x' is no id"):
            next(rows)
        path.write_text("no parquet")
        with pytest.raises(InputError, match="is damaged"):
            next(Cohort(tmp_path, mock.Mock()).rows("default"))


def test_folds_can_be_published_without_a_label(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "SYNTHETIC" in run("export", "ictmri-phantom", "--to", "folds", "--out", out).stdout
    (path,) = out.iterdir()
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    table, _ = find_folds("ictmri-phantom")
    assert rows[0] == ["case_id", "fold"]
    assert {case_id: int(fold) for case_id, fold in rows[1:]} == dict(
        zip(table.case_ids, table.folds, strict=True)
    )
    assert rows[1:] == sorted(rows[1:])
    assert not any(name in path.read_text() for name in CLASSES)
    run("export", "ictmri-phantom", "--to", "folds", "--out", out)
    path.write_text("mine")
    refused = run("export", "ictmri-phantom", "--to", "folds", "--out", out, code=1)
    assert "other folds lie there" in refused.stderr
    assert path.read_text() == "mine"
