"""Tables of patients, against a plain count and against a reader who tries to undo the suppression."""

import itertools
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ictmri.build.phantom import phantom_folds
from ictmri.classes import CLASSES
from ictmri.documents.facts_from_data import acquisition_facts
from ictmri.documents.fold_balance import fold_balance, random_deals
from ictmri.documents.suppression import HIDDEN, SMALL, suppressed
from ictmri.documents.table_one import fold_detail, fold_table, subtype_table, table_one
from ictmri.io.tables import Table
from ictmri.phantom import roster


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    """The people of the phantom, without its volumes."""
    cases = roster()
    fold_of = {row.case_id: row.fold for row in phantom_folds(cases)}
    return frame([(c.case_id, c.label, c.subtype, c.sex, c.age, fold_of[c.case_id]) for c in cases])


@pytest.fixture(scope="module")
def ages() -> dict[str, list[float]]:
    """Ages by class, sorted."""
    found: dict[str, list[float]] = {}
    for case in roster():
        found.setdefault(case.label, []).append(case.age)
    return {label: sorted(values) for label, values in found.items()}


def frame(rows: list[tuple[str, str, str | None, str | None, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["case_id", "label", "subtype", "sex", "age", "fold"])


def cells(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table.rows}


def test_table_one_is_a_plain_count(people: pd.DataFrame, ages: dict[str, list[float]]) -> None:
    table = cells(table_one(people))
    every = [case.age for case in roster()]
    assert table["Patients"] == ("120", "60", "40", "29", "249")
    assert table["Sex: male"][-1] == str(sum(c.sex == "male" for c in roster())) == "135"
    for column, name in enumerate(CLASSES):
        assert table["Age known"][column] == str(len(ages[name]))
        mean = f"{statistics.fmean(ages[name]):.1f} ({statistics.stdev(ages[name]):.1f})"
        assert table["Age, mean (sd), years"][column] == mean
    low, middle, high = (f"{q:.0f}" for q in statistics.quantiles(every, method="inclusive"))
    assert table["Age, median [quartiles], years"][-1] == f"{middle} [{low}, {high}]"
    edges = {"<20": (0, 20), "20-39": (20, 40), "40-59": (40, 60), ">=60": (60, 200)}
    for band, (low_age, high_age) in edges.items():
        assert table[f"Age: {band}"][-1] == str(sum(low_age <= age < high_age for age in every))


def test_fold_tables_are_a_plain_count(people: pd.DataFrame) -> None:
    rows = list(people.itertuples())
    crossed = Counter((row.label, row.fold) for row in rows)
    counted = [str(crossed["glioma", fold]) for fold in range(5)]
    assert cells(fold_table(people))["Glioma"] == (*counted, "120")
    group = [row for row in rows if (row.label, row.fold) == ("pcnsl", 2)]
    sexes = Counter(row.sex for row in group)
    row = cells(fold_detail(people))["PCNSL, fold 2"]
    assert row[1:3] == (str(sexes["female"]), str(sexes["male"]))
    assert row[4].startswith(f"{statistics.fmean(row.age for row in group):.1f} (")


def test_small_cells_and_ages_are_not_shown(people: pd.DataFrame) -> None:
    """Among those with a small count by class and sex or band, and no age of a person anywhere."""
    tables = [table_one(people), subtype_table(people), fold_detail(people)]
    old = people[people["age"] >= 60]["label"]
    assert (old == "rare").sum() in (1, 2), "the phantom has changed; take another small cell"
    assert cells(tables[0])["Age: >=60"][3] in (SMALL, HIDDEN)
    shown = {text for table in tables for row in table.rows for text in row[1:]}
    assert not shown & {f"{age:.1f}" for age in people["age"] if age % 1}
    few = frame([(f"c{i}", "rare", "MB", "male", 30.0 + i, 0) for i in range(4)])
    table = cells(table_one(few))
    assert {table[name][3] for name in table if name.startswith("Age, ")} == {"-"}


def test_youngest_and_oldest_stand_for_three(
    people: pd.DataFrame, ages: dict[str, list[float]]
) -> None:
    low, high = cells(table_one(people))["Age, youngest three to oldest three"][1].split(" to ")
    first, last = (int(text) for text in low.split("-"))
    assert first <= ages["pcnsl"][0]
    assert sum(age < last + 1 for age in ages["pcnsl"]) >= 3
    assert sum(age >= int(high.split("-")[0]) for age in ages["pcnsl"]) >= 3


def fits(text: str, value: int) -> bool:
    return value == int(text) if text.isdigit() else text == HIDDEN or value in (1, 2)


def solutions(shown: list[list[str]], counts: np.ndarray) -> list[np.ndarray]:
    """Every table of two columns that a reader who knows the totals cannot rule out."""
    rows = [
        [
            (first, total - first)
            for first in range(total + 1)
            if fits(line[0], first) and fits(line[1], total - first)
        ]
        for line, total in zip(shown, counts.sum(axis=1).tolist(), strict=True)
    ]
    wanted = counts[:, 0].sum()
    return [
        np.array(table)
        for table in itertools.product(*rows)
        if sum(row[0] for row in table) == wanted
    ]


@settings(max_examples=150, deadline=None)
@given(arrays(int, st.tuples(st.integers(2, 4), st.just(2)), elements=st.integers(0, 6)))
def test_what_is_hidden_cannot_be_worked_out(counts: np.ndarray) -> None:
    shown = suppressed(counts)
    tables = solutions(shown, counts)
    anyway = solutions([[HIDDEN] * 2] * len(counts), counts)
    assert tables
    for row, column in np.argwhere((counts > 0) & (counts < 3)).tolist():
        possible = {table[row, column] for table in tables}
        assert len(possible) > 1 or len({table[row, column] for table in anyway}) == 1


def test_nothing_is_hidden_without_need() -> None:
    counts = np.array([[5, 0], [7, 9]])
    assert suppressed(counts) == [["5", "0"], ["7", "9"]]
    assert suppressed(np.array([[20, 1, 9]]), columns=False) == [["20", SMALL, HIDDEN]]


def test_fold_balance_is_that_of_the_formula(people: pd.DataFrame) -> None:
    by_name = {row.variable: row for row in fold_balance(people, seed=1, n_draws=20)}
    assert list(by_name) == ["class", "subtype", "sex", "age"]
    means = people.groupby("fold")["age"].mean()
    rest = [people.loc[people["fold"] != fold, "age"].mean() for fold in means.index]
    smd = max(abs(means - rest)) / people["age"].std(ddof=0)
    assert by_name["age"].difference == pytest.approx(means.max() - means.min(), abs=1e-4)
    assert by_name["age"].smd == pytest.approx(smd, abs=1e-4)
    shares = (people["sex"] == "male").groupby(people["fold"]).mean()
    assert by_name["sex"].difference == pytest.approx(100 * (shares.max() - shares.min()))
    assert by_name["class"].more_even == 0.5, "a stratified deal cannot change the classes"


def test_even_folds_are_told_from_uneven_ones(ages: dict[str, list[float]]) -> None:
    """Dealt by sorted age these folds are even; sorted into folds by age they are not."""
    glioma = list(enumerate(ages["glioma"]))
    dealt = frame([(f"c{i}", "glioma", None, None, age, i % 5) for i, age in glioma])
    split = frame([(f"c{i}", "glioma", None, None, age, i // 24) for i, age in glioma])
    (even,), (uneven,) = fold_balance(dealt, 0, 200), fold_balance(split, 0, 200)
    assert even.more_even > 0.95
    assert uneven.more_even == 0.0
    assert uneven.smd > uneven.high_smd > even.typical_smd > even.smd


def test_random_deals_keep_every_class_in_its_folds(people: pd.DataFrame) -> None:
    before = Counter(zip(people["label"], people["fold"], strict=True))
    deals = list(random_deals(people, seed=3, n_draws=5))
    assert len({tuple(deal) for deal in deals}) == 5
    for deal in deals:
        assert Counter(zip(people["label"], deal.tolist(), strict=True)) == before
    assert np.array_equal(deals, list(random_deals(people, seed=3, n_draws=5)))


def test_unknown_values_do_not_count() -> None:
    ages = enumerate((10.0, None, 20.0, 30.0))
    (found,) = fold_balance(
        frame([(f"c{i}", "glioma", None, None, a, i // 2) for i, a in ages]), 0, 2
    )
    assert found.difference == 15.0


def test_acquisition_is_summed_up(tmp_path: Path) -> None:
    (tmp_path / "acquisition.csv").write_text(
        "case_id,field_strength_t,repetition_time_ms,vendor,acquisition\n"
        + "".join(f"x-000{i},3,2000,siemens,3D\n" for i in range(6))
        + "x-0007,1.5,9.5,ge,3D\nx-0008,,,,\n"
    )
    facts = acquisition_facts(tmp_path)
    assert facts["field_strength"][0] == f"3 T: 6, 1.5 T: {SMALL}, unknown: {SMALL}"
    assert facts["scanners"][0].startswith("siemens: 6")
    assert facts["sequence"][0].endswith("TR 2000 ms (from 9.5 to 2000, known for 7 of 8)")
    assert "voxel_size" not in facts
    assert acquisition_facts(tmp_path / "nowhere") == {}
