"""``ictmri.cases`` against the published folds, the roster, and the loaded dataset."""

from pathlib import Path

import pandas as pd
import pytest

import ictmri
from ictmri.classes import SEXES
from ictmri.cohort import open_cohort
from ictmri.errors import AccessError, InputError
from ictmri.folds import read_folds
from ictmri.phantom.roster import roster

COLUMNS = ["case_id", "label", "fold", "age", "sex", "subtype"]


def test_the_phantom_needs_no_volumes() -> None:
    table = ictmri.cases("ictmri-phantom")
    splits = pd.read_csv(Path(__file__).parents[2] / "splits" / "ictmri-phantom.csv")
    assert list(table) == COLUMNS
    assert table.case_id.tolist() == splits.case_id.tolist()
    assert table.fold.tolist() == splits.fold.tolist()
    assert [ictmri.CLASSES[label] for label in table.label] == splits.label.tolist()
    people = {case.case_id: (case.age, case.sex, case.subtype) for case in roster()}
    found = zip(table.age, table.sex, table.subtype, strict=True)
    assert list(found) == [people[case_id] for case_id in table.case_id]


def test_a_cohort_of_ones_own_has_what_its_dataset_has(mini_table: Path, tmp_path: Path) -> None:
    from ictmri.build.folder import build_folder

    cohort = build_folder(mini_table, tmp_path / "mine", jobs=1).cohort
    table = ictmri.cases(str(cohort.root))
    for other in (cohort.root, cohort, open_cohort(str(cohort.root))):
        pd.testing.assert_frame_equal(ictmri.cases(other), table)
    rows = {row["case_id"]: row for row in cohort.rows("default", COLUMNS)}
    assert set(table.case_id) == set(rows)
    assert table.age.isna().any()
    assert table.sex.isna().any()
    for case in table.itertuples():
        row = rows[case.case_id]
        assert (case.label, case.fold) == (row["label"], row["fold"])
        assert pd.isna(case.age) if row["age"] is None else case.age == row["age"]
        assert pd.isna(case.sex) if row["sex"] is None else case.sex == SEXES[row["sex"]]
    unknown = read_folds(cohort.root / "folds.csv", "mine")
    assert ictmri.cases(unknown)[["age", "sex", "subtype"]].isna().all(axis=None)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="did you mean 'ictmri-phantom'"):
        ictmri.cases("ictmri-phantm")
    with pytest.raises(AccessError, match="synthetic phantom"):
        ictmri.cases("ictmri")
