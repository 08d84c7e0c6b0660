"""Tables of patients, against pandas and against a reader who tries to undo the suppression."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ictmri.build.phantom import phantom_folds
from ictmri.documents.fold_balance import evenness, random_deals, unevenness
from ictmri.documents.suppression import HIDDEN, SMALL, suppressed
from ictmri.documents.table_one import (
    Person,
    Table,
    acquisition_facts,
    cell,
    fold_detail,
    fold_table,
    subtype_table,
    table_one,
)
from ictmri.phantom import roster


@pytest.fixture(scope="module")
def people() -> list[Person]:
    """The people of the phantom, without its volumes."""
    cases = roster()
    fold_of = {row.case_id: row.fold for row in phantom_folds(cases)}
    return [Person(c.case_id, c.label, c.subtype, c.sex, c.age, fold_of[c.case_id]) for c in cases]


@pytest.fixture(scope="module")
def frame(people: list[Person]) -> pd.DataFrame:
    return pd.DataFrame(
        [(p.label, p.subtype, p.sex, p.age, p.fold) for p in people],
        columns=["label", "subtype", "sex", "age", "fold"],
    )


def cells(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table.rows}


def test_table_one_is_what_pandas_counts(people: list[Person], frame: pd.DataFrame) -> None:
    table = cells(table_one(people))
    ages = frame.groupby("label")["age"].agg(["mean", "std", "count"])
    quartiles = frame["age"].quantile([0.25, 0.5, 0.75])
    assert table["Patients"] == ("120", "60", "40", "29", "249")
    assert table["Sex: male"][-1] == str((frame["sex"] == "male").sum()) == "135"
    for column, name in enumerate(("glioma", "pcnsl", "germinoma", "rare")):
        assert table["Age known"][column] == str(ages.loc[name, "count"])
        mean = f"{ages.loc[name, 'mean']:.1f} ({ages.loc[name, 'std']:.1f})"
        assert table["Age, mean (sd), years"][column] == mean
    middle, low, high = (f"{quartiles[q]:.0f}" for q in (0.5, 0.25, 0.75))
    assert table["Age, median [quartiles], years"][-1] == f"{middle} [{low}, {high}]"
    bands = pd.cut(frame["age"], [0, 20, 40, 60, 200], right=False).value_counts(sort=False)
    shown = [table[f"Age: {band}"][-1] for band in ("<20", "20-39", "40-59", ">=60")]
    assert shown == [str(count) for count in bands]


def test_fold_tables_are_what_pandas_counts(people: list[Person], frame: pd.DataFrame) -> None:
    crossed = pd.crosstab(frame["label"], frame["fold"])
    assert cells(fold_table(people))["Glioma"] == (*map(str, crossed.loc["glioma"]), "120")
    sexes = frame.groupby(["label", "fold", "sex"]).size()
    means = frame.groupby(["label", "fold"])["age"].mean()
    row = cells(fold_detail(people))["PCNSL, fold 2"]
    assert row[1:3] == (str(sexes["pcnsl", 2, "female"]), str(sexes["pcnsl", 2, "male"]))
    assert row[4].startswith(f"{means['pcnsl', 2]:.1f} (")


def test_small_cells_and_ages_are_not_shown(people: list[Person]) -> None:
    """Among those with a small count by class and sex or band, and no age of a person anywhere."""
    tables = [table_one(people), subtype_table(people), fold_detail(people)]
    bands = Counter((p.label, "old") for p in people if p.age >= 60)
    assert bands["rare", "old"] in (1, 2), "the phantom has changed; take another small cell"
    assert cells(tables[0])["Age: >=60"][3] in (SMALL, HIDDEN)
    shown = {text for table in tables for row in table.rows for text in row[1:]}
    assert not shown & {f"{p.age:.1f}" for p in people if p.age % 1}
    few = [Person(f"c{i}", "rare", "MB", "male", 30.0 + i, 0) for i in range(4)]
    table = cells(table_one(few))
    assert {table[name][3] for name in table if name.startswith("Age, ")} == {"-"}


def test_youngest_and_oldest_stand_for_three(people: list[Person], frame: pd.DataFrame) -> None:
    low, high = cells(table_one(people))["Age, youngest three to oldest three"][1].split(" to ")
    ages = frame.loc[frame["label"] == "pcnsl", "age"].sort_values().to_numpy()
    first, last = (int(text) for text in low.split("-"))
    assert first <= ages[0]
    assert (ages < last + 1).sum() >= 3
    assert (ages >= int(high.split("-")[0])).sum() >= 3


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


def test_unevenness_is_that_of_the_formula(people: list[Person], frame: pd.DataFrame) -> None:
    by_name = {row.variable: row for row in evenness(people, seed=1, n_draws=20)}
    assert list(by_name) == ["class", "subtype", "sex", "age"]
    means = frame.groupby("fold")["age"].mean()
    rest = [frame.loc[frame["fold"] != fold, "age"].mean() for fold in means.index]
    smd = max(abs(means - rest)) / frame["age"].std(ddof=0)
    assert by_name["age"].difference == pytest.approx(means.max() - means.min(), abs=1e-4)
    assert by_name["age"].smd == pytest.approx(smd, abs=1e-4)
    shares = (frame["sex"] == "male").groupby(frame["fold"]).mean()
    assert by_name["sex"].difference == pytest.approx(100 * (shares.max() - shares.min()))
    assert by_name["class"].more_even == 0.5, "a stratified deal cannot change the classes"


def test_even_folds_are_told_from_uneven_ones(people: list[Person]) -> None:
    """Dealt by sorted age these folds are even; sorted into folds by age they are not."""
    glioma = sorted((p for p in people if p.label == "glioma"), key=lambda p: p.age)
    dealt = [Person(p.case_id, p.label, "", "", p.age, i % 5) for i, p in enumerate(glioma)]
    split = [Person(p.case_id, p.label, "", "", p.age, i // 24) for i, p in enumerate(glioma)]
    (even,), (uneven,) = evenness(dealt, 0, 200), evenness(split, 0, 200)
    assert even.more_even > 0.95
    assert uneven.more_even == 0.0
    assert uneven.smd > uneven.high_smd > even.typical_smd > even.smd


def test_random_deals_keep_every_class_in_its_folds(people: list[Person]) -> None:
    before = Counter((p.label, p.fold) for p in people)
    deals = random_deals(people, seed=3, n_draws=5)
    assert len({tuple(deal) for deal in deals}) == 5
    for deal in deals:
        assert Counter(zip((p.label for p in people), deal.tolist(), strict=True)) == before
    assert np.array_equal(deals, random_deals(people, seed=3, n_draws=5))


def test_unknown_values_do_not_count() -> None:
    values = np.array([[10.0], [np.nan], [20.0], [30.0]])
    assert unevenness(values, np.array([0, 0, 1, 1]))[0] == 15.0


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


def test_a_cell_cannot_break_out_of_its_table() -> None:
    assert cell("a | b\n<script>x</script> <3") == "a \\| b &lt;script>x&lt;/script> <3"
