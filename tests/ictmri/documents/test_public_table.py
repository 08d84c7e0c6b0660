"""The public table against a plain count, whatever the cohort looks like."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictmri.classes import CLASSES
from ictmri.documents.public_table import PublicRow, age_band, public_table
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.phantom import roster

PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(CLASSES[:2]),
        st.sampled_from(["female", "male", ""]),
        st.one_of(st.none(), st.floats(0, 100)),
    ),
    min_size=1,
    max_size=60,
)


def rows_of(people: list[tuple[str, str, float | None]]) -> list[PublicRow]:
    return [
        PublicRow(f"c-{i:04d}", label, sex, age_band(age), 0)
        for i, (label, sex, age) in enumerate(people)
    ]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        *((None, ""), (float("nan"), ""), (0, "<10"), (9.9, "<10"), (10, "10-14"), (14.9, "10-14")),
        *((15, "15-19"), (79.9, "75-79"), (80, ">=80"), (101, ">=80")),
    ],
)
def test_bands_are_five_years_wide_and_merged_at_the_ends(age: float | None, band: str) -> None:
    assert age_band(age) == band


@given(PEOPLE)
def test_every_group_has_k_cases_or_the_cohort_is_refused(
    people: list[tuple[str, str, float | None]],
) -> None:
    rows = rows_of(people)
    if min(Counter(row.label for row in rows).values()) < K:
        with pytest.raises(InputError, match="fewer than 3 share"):
            public_table(rows)
        return
    table = public_table(rows)
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    groups = Counter((row["class"], row["sex"], row["age_band"]) for row in read)
    assert min(groups.values()) >= K
    assert table.k == min(groups.values())
    assert [row["case_id"] for row in read] == [row.case_id for row in rows]


@given(PEOPLE)
def test_what_is_shown_is_true(people: list[tuple[str, str, float | None]]) -> None:
    rows = rows_of(people)
    try:
        table = public_table(rows)
    except InputError:
        return
    for (label, sex, age), row in zip(people, table.rows, strict=True):
        assert row.label == label
        assert row.sex in ("", sex)
        if row.age_band:
            assert age is not None
            assert _holds(row.age_band, age)


def _holds(band: str, age: float) -> bool:
    if band == "any":
        return True
    if band.startswith("<"):
        return age < float(band[1:])
    if band.startswith(">="):
        return age >= float(band[2:])
    low, high = map(int, band.split("-"))
    return low <= age < high + 1


def test_nothing_is_withheld_where_nothing_need_be() -> None:
    rows = rows_of([("glioma", "female", 42.0)] * 3 + [("glioma", "male", 5.0)] * 4)
    table = public_table(rows)
    assert [row.shared for row in table.rows] == [row.shared for row in rows]
    assert table.widened == 0
    assert table.withheld == {"sex": 0, "age_band": 0}


def test_249_cases_keep_their_sex_and_a_band() -> None:
    rows = [PublicRow(c.case_id, c.label, c.sex, age_band(c.age), 0) for c in roster()]
    assert sum(count < K for count in Counter(row.shared for row in rows).values()) > 20
    table = public_table(rows)
    assert table.k >= K
    assert table.withheld == {"sex": 0, "age_band": 0}
    report = table.report()
    assert report["k"] >= report["required_k"] == K
    assert sum(group["cases"] for group in report["groups"]) == 249
