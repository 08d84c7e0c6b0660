"""Tests and ranks against SciPy, statsmodels and printed values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from ictmri.folds import FoldTable
from ictmri_benchmark.board import comparison
from ictmri_benchmark.board.ranking import Contender, compare_pairs, rank, rank_intervals
from ictmri_benchmark.score.intervals import bca_interval, bootstrap
from ictmri_benchmark.score.metrics import confusion, headline


def guesses(cohort: FoldTable, accuracy: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = np.array(cohort.labels)
    return np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(0, 4, len(truth)))


def macro_f1(truth: np.ndarray, labels: np.ndarray) -> float:
    return float(f1_score(truth, labels, labels=range(4), average="macro", zero_division=0))


def test_mcnemar_is_statsmodels_and_the_printed_value() -> None:
    assert comparison.mcnemar(121, 59) == pytest.approx(4.4344e-06, rel=1e-4)
    rng = np.random.default_rng(0)
    for b, c in rng.integers(0, 120, (60, 2)):
        theirs = statsmodels_mcnemar([[0, b], [c, 0]], exact=True).pvalue
        assert comparison.mcnemar(int(b), int(c)) == pytest.approx(min(theirs, 1), rel=1e-9)


def test_holm_is_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 21):
        p_values = np.round(rng.random(count), int(rng.integers(1, 9))).tolist()
        theirs = multipletests(p_values, method="holm")[1]
        np.testing.assert_allclose(comparison.holm(p_values), theirs, atol=1e-12)


def test_holm_as_printed() -> None:
    assert comparison.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_permutation_test_agrees_with_scipys(cohort: FoldTable) -> None:
    truth = np.array(cohort.labels)
    one, other = guesses(cohort, 0.6, 1), guesses(cohort, 0.66, 2)

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        return macro_f1(truth, x) - macro_f1(truth, y)

    theirs = stats.permutation_test(
        (one, other),
        statistic,
        permutation_type="samples",
        n_resamples=1500,
        rng=np.random.default_rng(0),
    ).pvalue
    (ours,) = comparison.permutation_tests(cohort, [one[None], other[None]], [(0, 1)])
    assert ours == pytest.approx(theirs, abs=0.04)


def test_permuted_differences_are_scikit_learns(cohort: FoldTable) -> None:
    """The p-value from the same swaps, each scored by scikit-learn."""
    truth = np.array(cohort.labels)
    one, other = guesses(cohort, 0.6, 1), guesses(cohort, 0.66, 2)
    swapped = comparison.flips(cohort, 200) > 0
    observed = abs(macro_f1(truth, one) - macro_f1(truth, other))
    extreme = 0
    for swap in swapped:
        first, second = np.where(swap, other, one), np.where(swap, one, other)
        gap = abs(macro_f1(truth, first) - macro_f1(truth, second))
        extreme += gap >= observed - 1e-9
    (ours,) = comparison.permutation_tests(cohort, [one[None], other[None]], [(0, 1)], 200)
    assert ours == (1 + extreme) / 201


def test_equal_entries_cannot_be_told_apart(cohort: FoldTable) -> None:
    same = guesses(cohort, 0.7, 3)[None]
    assert comparison.permutation_tests(cohort, [same, same], [(0, 1)]) == [1.0]
    assert comparison.mcnemar(0, 0) == 1.0


def test_permutation_test_keeps_its_level(make_cohort: Callable[..., FoldTable]) -> None:
    """Equal methods are called different in about 5 % of pairs."""
    cohort = make_cohort(["glioma"] * 60 + ["pcnsl"] * 30 + ["germinoma"] * 20 + ["rare"] * 15)
    entries = [guesses(cohort, 0.6, seed)[None] for seed in range(400)]
    pairs = [(2 * i, 2 * i + 1) for i in range(200)]
    p_values = comparison.permutation_tests(cohort, entries, pairs, 500)
    assert 0.01 <= (p_values < 0.05).mean() <= 0.10


def tiers_of(values: list[float], p: dict[tuple[int, int], float]) -> list[int]:
    return comparison.tiers(
        values, lambda best, rest: [p[min(best, i), max(best, i)] for i in rest]
    )


def test_tiers_hold_what_cannot_be_told_apart() -> None:
    p = {(0, 1): 0.6, (0, 2): 0.001, (0, 3): 0.0005, (1, 2): 0.01, (1, 3): 0.02, (2, 3): 0.5}
    assert tiers_of([0.8, 0.79, 0.6, 0.58], p) == [1, 1, 2, 2]
    everyone = dict.fromkeys(p, 1.0)
    assert tiers_of([0.8, 0.79, 0.6, 0.58], everyone) == [1, 1, 1, 1]
    assert tiers_of([0.5], {}) == [1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_tiers_never_put_a_lower_score_first(values: list[float], rng: object) -> None:
    pairs = comparison.all_pairs(len(values))
    p = {pair: rng.random() ** 4 for pair in pairs}  # type: ignore[attr-defined]
    found = tiers_of(values, p)
    for i, j in pairs:
        if values[i] > values[j]:
            assert found[i] <= found[j]
    assert set(found) == set(range(1, max(found) + 1))


def test_ranks_of_strictly_ordered_entries_never_move() -> None:
    draws = np.tile(np.arange(5.0), (50, 1))
    low, high = rank_intervals(draws)
    assert low.tolist() == high.tolist() == [5, 4, 3, 2, 1]
    np.testing.assert_array_equal(comparison.first_shares(draws), [0, 0, 0, 0, 1])


def test_ranks_are_scipys_min_ranks(cohort: FoldTable) -> None:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 4, (1, 7)).astype(float)
    theirs = stats.rankdata(-draws[0], method="min")
    low, high = rank_intervals(draws)
    assert low.tolist() == high.tolist() == theirs.tolist()


def test_identical_entries_share_everything(cohort: FoldTable) -> None:
    labels = guesses(cohort, 0.7, 3)[None]
    value = float(headline(confusion(np.array(cohort.labels), labels[0]))["macro_f1"])
    contenders = [Contender(name, value, labels) for name in "abc"]
    draws = bootstrap(cohort, [labels] * 3, 500).headline["macro_f1"]
    pairs = compare_pairs(cohort, contenders, draws)
    places = rank(contenders, pairs, draws)
    assert {(p["rank"]["value"], p["rank"]["low"], p["rank"]["high"]) for p in places.values()} == {
        (1, 1, 1)
    }
    assert {p["tier"] for p in places.values()} == {1}
    assert [p["first_share"] for p in places.values()] == pytest.approx([1 / 3] * 3)
    assert all(pair.p == pair.mcnemar_p == 1.0 for pair in pairs)


def test_a_far_better_entry_stands_alone(cohort: FoldTable) -> None:
    entries = {"good": 0.95, "fair": 0.6, "also-fair": 0.6}
    labels = [guesses(cohort, skill, i)[None] for i, skill in enumerate(entries.values())]
    truth = np.array(cohort.labels)
    values = [float(headline(confusion(truth, p[0]))["macro_f1"]) for p in labels]
    contenders = [Contender(n, v, p) for n, v, p in zip(entries, values, labels, strict=True)]
    draws = bootstrap(cohort, labels).headline["macro_f1"]
    pairs = compare_pairs(cohort, contenders, draws)
    places = rank(contenders, pairs, draws)
    assert places["good"]["rank"] == {"value": 1, "low": 1, "high": 1}
    assert [places[name]["tier"] for name in entries] == [1, 2, 2]
    assert places["fair"]["behind_first"]["p_holm"] < 0.05
    assert places["fair"]["behind_first"]["low"] > 0


@pytest.mark.parametrize(("share", "gap"), [(0.1, 4.4), (0.2, 6.4), (0.3, 7.6)])
def test_the_smallest_gap_that_249_cases_resolve(share: float, gap: float) -> None:
    found = comparison.smallest_gap(249, share)
    assert found is not None
    assert 100 * found == pytest.approx(gap, abs=0.05)


def test_few_cases_resolve_nothing() -> None:
    assert comparison.smallest_gap(20, 0.1) is None


def test_expected_maxima_are_the_tabled_ones() -> None:
    tabled = {1: 0.0, 2: 1 / math.sqrt(math.pi), 5: 1.16296, 10: 1.53875, 100: 2.50759}
    for k, value in tabled.items():
        assert comparison.expected_maximum(k) == pytest.approx(value, abs=1e-4)


def test_optimism_is_what_simulated_equals_show() -> None:
    """Twenty equally good methods with independent errors: the best looks that much too good."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0.7, 0.03, (4000, 20))
    told = comparison.optimism(draws)["expected"]
    assert told == pytest.approx(float((draws.max(axis=1) - 0.7).mean()), rel=0.05)


def test_bca_is_scipys(cohort: FoldTable) -> None:
    truth, predicted = np.array(cohort.labels), guesses(cohort, 0.6, 5)
    drawn = bootstrap(cohort, [predicted[None]]).headline["macro_recall"][:, 0]
    value = float(headline(confusion(truth, predicted))["macro_recall"])
    ours = bca_interval(drawn, value, truth, predicted[None], "macro_recall")
    right = [(predicted[truth == k] == k).astype(float) for k in range(4)]

    def statistic(*groups: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([group.mean(axis=axis) for group in groups], axis=0)

    theirs = stats.bootstrap(
        right,
        statistic,
        n_resamples=10_000,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours == pytest.approx(theirs, abs=0.004)
