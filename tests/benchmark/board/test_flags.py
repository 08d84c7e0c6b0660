"""Flags: each is raised where it should be, and not where it should not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import fisher_exact
from support.made_predictions import probabilities, write_predictions

from ictmri.folds import FoldTable
from ictmri_benchmark.board.flags import UNLIKELY, review_flags
from ictmri_benchmark.score.predictions import Predictions, read_predictions


def given_labels(labels: np.ndarray, sha256: str = "1" * 64) -> Predictions:
    every = np.atleast_2d(labels)
    return Predictions(tuple(range(len(every))), every, None, 0, sha256)


def wrong_in(cohort: FoldTable, cases: np.ndarray | list[int]) -> np.ndarray:
    labels = np.array(cohort.labels)
    labels[cases] = (labels[cases] + 1) % 4
    return labels


def spread_errors(cohort: FoldTable, share: float, seed: int = 0) -> np.ndarray:
    """The same share of errors in every fold."""
    rng = np.random.default_rng(seed)
    folds = np.array(cohort.folds)
    chosen = [
        rng.choice(np.flatnonzero(folds == k), round(share * (folds == k).sum()), replace=False)
        for k in range(cohort.n_folds)
    ]
    return wrong_in(cohort, np.concatenate(chosen))


def test_an_ordinary_entry_has_no_flag(cohort: FoldTable, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, probabilities(cohort, 0.4))
    other = given_labels(spread_errors(cohort, 0.3, 9))
    assert review_flags(read_predictions(path, cohort), cohort, {"other": other}) == []


def test_duplicates_and_near_duplicates(cohort: FoldTable) -> None:
    labels = spread_errors(cohort, 0.3)
    near, far = labels.copy(), labels.copy()
    near[:7] = (near[:7] + 1) % 4  # 97.2 % agree
    far[:8] = (far[:8] + 1) % 4  # 96.8 % agree
    others = {
        "twin": given_labels(labels),
        "near": given_labels(near, "2" * 64),
        "far": given_labels(far, "3" * 64),
    }
    assert review_flags(given_labels(labels), cohort, others) == [
        "97.2% of the predictions are those of entry near",
        "the same predictions file as entry twin",
    ]


def test_one_seed_that_is_a_copy_is_found_among_others(cohort: FoldTable) -> None:
    labels = spread_errors(cohort, 0.3)
    several = np.array([spread_errors(cohort, 0.3, 5), labels, spread_errors(cohort, 0.3, 6)])
    found = review_flags(given_labels(several), cohort, {"a": given_labels(labels, "2" * 64)})
    assert found == ["100.0% of the predictions are those of entry a"]


@pytest.mark.parametrize(("sure", "flagged"), [(1.0, True), (0.9995, True), (0.99, False)])
def test_probabilities_that_are_labels(sure: float, flagged: bool, cohort: FoldTable) -> None:
    labels = spread_errors(cohort, 0.3)
    every = np.full((1, len(labels), 4), (1 - sure) / 3)
    every[0, np.arange(len(labels)), labels] = sure
    entry = Predictions((0,), labels[None], every, 0, "1" * 64)
    found = review_flags(entry, cohort, {})
    assert found == (
        ["every probability is 0 or 1: calibration and log-loss say nothing"] * flagged
    )


def test_labels_alone_are_not_called_sure(cohort: FoldTable) -> None:
    assert review_flags(given_labels(spread_errors(cohort, 0.3)), cohort, {}) == []


def test_a_fold_unlike_the_others_is_named_with_its_chance(cohort: FoldTable) -> None:
    folds = np.array(cohort.folds)
    labels = spread_errors(cohort, 0.3)
    labels[folds == 2] = np.array(cohort.labels)[folds == 2]
    (found,) = review_flags(given_labels(labels), cohort, {})
    size, right = int((folds == 2).sum()), int((labels == np.array(cohort.labels)).sum())
    rest = len(labels) - size
    table = [[size, 0], [right - size, rest - right + size]]
    chance = 5 * fisher_exact(table).pvalue
    assert chance < UNLIKELY
    assert found == (
        f"fold 2: {size} of {size} right, {right - size} of {rest} elsewhere; "
        f"by chance alone one in {1 / chance:,.0f} entries would show that"
    )


def test_a_fold_that_chance_explains_is_not_named(cohort: FoldTable) -> None:
    folds = np.flatnonzero(np.array(cohort.folds) == 2)
    labels = spread_errors(cohort, 0.3)
    labels[folds[:5]] = np.array(cohort.labels)[folds[:5]]
    assert review_flags(given_labels(labels), cohort, {}) == []


@pytest.mark.parametrize("n_seeds", [2, 3, 4, 6])
def test_hits_of_several_seeds_always_fit_the_folds(n_seeds: int, cohort: FoldTable) -> None:
    """Means over seeds end in halves and thirds; rounded one by one they may exceed the whole."""
    rng = np.random.default_rng(n_seeds)
    truth, folds = np.array(cohort.labels), np.array(cohort.folds)
    for _ in range(60):
        every = np.array([truth] * n_seeds)
        fold = rng.integers(5)
        wrong = (folds == fold) & (rng.random((n_seeds, len(truth))) < rng.random())
        every[wrong] = (every[wrong] + 1) % 4
        review_flags(given_labels(every), cohort, {})


@pytest.mark.parametrize(("errors", "flagged"), [(0, True), (12, True), (13, False)])
def test_accuracy_above_95_percent(errors: int, flagged: bool, cohort: FoldTable) -> None:
    cases = [np.flatnonzero(np.array(cohort.folds) == k % 5)[k // 5] for k in range(errors)]
    found = review_flags(given_labels(wrong_in(cohort, cases)), cohort, {})
    assert [flag.startswith("accuracy ") for flag in found] == [True] * flagged


def test_very_many_cases_are_flagged_in_no_time(make_cohort: Callable[..., FoldTable]) -> None:
    """Where exact numbers would take hours, the question of the folds is left out."""
    cohort = make_cohort(["glioma"] * 6000 + ["rare"] * 6000)
    assert review_flags(given_labels(np.zeros(12_000, np.int64)), cohort, {}) == []
