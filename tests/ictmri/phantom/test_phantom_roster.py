"""The phantom's roster has the paper's marginals for any seed, and carries no label in its order."""

import numpy as np
import pytest

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.phantom import DEFAULT_SEED, N_CASES, roster
from ictmri.phantom.phenotypes import SUBTYPES

SEEDS = (DEFAULT_SEED, 0, 1, 7, 4242, 2**40)


@pytest.mark.parametrize("seed", SEEDS)
def test_marginals_are_the_papers(seed: int) -> None:
    cases = roster(seed)
    ages = np.array([case.age for case in cases])
    assert len(cases) == N_CASES == 249
    assert [sum(case.sex == sex for case in cases) for sex in ("male", "female")] == [135, 114]
    assert (ages.min(), ages.max()) == (4.0, 86.0)
    assert abs(ages.mean() - 43.7) < 0.1
    assert abs(ages.std(ddof=1) - 19.7) < 0.1
    counts = [sum(case.label == label for case in cases) for label in CLASSES]
    assert counts == [120, 60, 40, 29]


def test_identifiers_are_unique_and_the_order_carries_no_label() -> None:
    cases = roster()
    assert len({case.case_id for case in cases}) == len({case.patient_id for case in cases}) == 249
    assert (cases[0].case_id, cases[0].patient_id) == ("phantom-0001", "phantom-p0001")
    for label in CLASSES:
        places = [case.index for case in cases if case.label == label]
        expected_sd = 249 / np.sqrt(12 * len(places))
        assert abs(np.mean(places) - 124) < 3.5 * expected_sd


def test_same_seed_same_roster_other_seed_other_roster() -> None:
    assert roster(5) == roster(5)
    assert [case.label for case in roster(5)] != [case.label for case in roster(6)]
    assert all(SUBTYPES[case.subtype].label == case.label for case in roster(5))


def test_ages_and_sexes_follow_the_classes_with_overlap() -> None:
    pooled = [case for seed in range(5) for case in roster(seed)]
    ages = {c: np.array([case.age for case in pooled if case.label == c]) for c in CLASSES}
    assert np.median(ages["germinoma"]) < 25
    assert np.median(ages["pcnsl"]) > 50
    assert (ages["pcnsl"] < np.percentile(ages["glioma"], 90)).mean() > 0.5
    male = np.mean([case.sex == "male" for case in pooled if case.label == "germinoma"])
    assert male > 0.62


@pytest.mark.parametrize("n_cases", [1, 2, 10, 40, 60, 97, 500])
def test_other_sizes_keep_the_proportions(n_cases: int) -> None:
    cases = roster(3, n_cases)
    assert len(cases) == n_cases
    for label, full in zip(CLASSES, (120, 60, 40, 29), strict=True):
        assert abs(sum(case.label == label for case in cases) - full * n_cases / 249) < 1
    assert abs(sum(case.sex == "male" for case in cases) - 135 * n_cases / 249) <= 0.5


def test_all_wrong_arguments_are_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        roster(-1, 0)
    assert len(error.value.problems) == 2
