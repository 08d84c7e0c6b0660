"""Probability scores against scikit-learn, and selective prediction against its definition."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from support.made_predictions import probabilities

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri_benchmark.score import probabilistic
from ictmri_benchmark.score.metrics import COST_MATRICES, confusion, cost_report


@pytest.fixture
def case(cohort: FoldTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(cohort.labels), probabilities(cohort, 0.4), np.array(cohort.folds)


@pytest.mark.parametrize("digits", [1, 2, 6])
def test_ranking_scores_are_scikit_learns_with_ties(digits: int) -> None:
    rng = np.random.default_rng(digits)
    for _ in range(50):
        positive = rng.random(40) < 0.3
        positive[:2] = True, False
        score = np.round(rng.random(40) + 0.3 * positive, digits)
        assert probabilistic.auroc(positive, score) == pytest.approx(
            roc_auc_score(positive, score), abs=1e-12
        )
        assert probabilistic.average_precision(positive, score) == pytest.approx(
            average_precision_score(positive, score), abs=1e-12
        )


def test_within_folds_is_the_mean_of_scikit_learns_by_fold(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, every, folds = case
    found = probabilistic.within_folds(truth, every, folds)
    for label, name in enumerate(CLASSES):
        by_fold = [
            roc_auc_score(truth[folds == k] == label, every[folds == k, label]) for k in range(5)
        ]
        assert found["auroc"][name] == pytest.approx(np.mean(by_fold))
    assert found["auroc"]["macro"] == pytest.approx(
        np.mean([found["auroc"][name] for name in CLASSES])
    )


def test_log_loss_is_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, every, _ = case
    assert probabilistic.log_loss(truth, every) == pytest.approx(
        log_loss(truth, every, labels=range(4))
    )


def test_uniform_probabilities_have_the_known_scores() -> None:
    truth, uniform = np.arange(4).repeat(5), np.full((20, 4), 0.25)
    assert probabilistic.log_loss(truth, uniform) == pytest.approx(math.log(4))
    assert probabilistic.brier(truth, uniform) == pytest.approx(0.75)


def test_a_class_that_a_fold_lacks_does_not_count_there() -> None:
    truth, folds = np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1])
    every = np.array([[0.6, 0.4, 0, 0], [0.3, 0.7, 0, 0], [0.5, 0.5, 0, 0], [0.9, 0.1, 0, 0]])
    found = probabilistic.within_folds(truth, every, folds)["auroc"]
    assert found == {"glioma": 1.0, "pcnsl": 1.0, "macro": 1.0}


def test_reliability_bins_are_scikit_learns_quantile_bins(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, every, _ = case
    cut = 240
    for label, bins in enumerate(probabilistic.reliability(truth[:cut], every[:cut])):
        observed, predicted = calibration_curve(
            truth[:cut] == label, every[:cut, label], n_bins=10, strategy="quantile"
        )
        assert [cell["n"] for cell in bins] == [24] * 10
        np.testing.assert_allclose([cell["observed"] for cell in bins], observed, atol=1 / 24)
        np.testing.assert_allclose([cell["predicted"] for cell in bins], predicted, atol=0.02)


def test_calibration_error_tells_the_calibrated_from_the_sure() -> None:
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([1] * 4, 5000)
    truth = np.array([rng.choice(4, p=p) for p in honest])
    boastful = honest**3 / (honest**3).sum(axis=1, keepdims=True)

    def error(every: np.ndarray) -> float:
        bins = probabilistic.reliability(truth, every)
        return float(np.mean([probabilistic.calibration_error(cells) for cells in bins]))

    assert error(honest) < 0.02
    assert error(boastful) > 0.08


def test_risk_coverage_by_hand() -> None:
    truth = np.array([0, 0, 0, 0])
    every = np.array([[0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], [0.7, 0.3, 0, 0], [0.4, 0.6, 0, 0]])
    np.testing.assert_allclose(probabilistic.risk_coverage(truth, every), [0, 1 / 2, 1 / 3, 1 / 2])
    report = probabilistic.selective_report(truth, every[None])
    assert report["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert report["augrc"] == pytest.approx((0 + 1 / 4 + 1 / 4 + 1 / 2) / 4)
    assert report["accuracy_at"]["80"] == pytest.approx(0.5)


def test_ties_of_certainty_do_not_depend_on_the_order_of_the_file() -> None:
    truth = np.array([0, 0, 1, 1, 2, 3])
    every = np.eye(4)[[0, 1, 1, 0, 2, 3]]
    shuffled = np.array([3, 5, 1, 0, 4, 2])
    np.testing.assert_allclose(
        probabilistic.risk_coverage(truth, every),
        probabilistic.risk_coverage(truth[shuffled], every[shuffled]),
    )
    np.testing.assert_allclose(probabilistic.risk_coverage(truth, every), 2 / 6)


def test_a_method_that_knows_what_it_knows_gains_by_leaving_cases_out(cohort: FoldTable) -> None:
    report = probabilistic.selective_report(
        np.array(cohort.labels), probabilities(cohort, 0.4)[None]
    )
    assert report["accuracy_at"]["80"] > 1 - report["risk_at"][-1]


def test_costs_by_hand() -> None:
    matrix = np.array([[8, 2, 0, 0], [1, 4, 0, 0], [0, 1, 3, 0], [0, 0, 0, 1]])
    report = cost_report(matrix[None])
    assert report["every_error_1"]["expected"] == pytest.approx(4 / 20)
    assert report["every_error_1"]["normalized"] == pytest.approx((4 / 20) / (10 / 20))
    assert report["missed_pcnsl_5"]["expected"] == pytest.approx((2 + 5 + 1) / 20)
    # Always "glioma" costs 5 x 5 + 4 + 1 = 30, always "pcnsl" 10 + 4 + 1 = 15.
    assert report["missed_pcnsl_5"]["normalized"] == pytest.approx((8 / 20) / (15 / 20))
    assert all(np.diag(matrix).sum() == 0 for matrix in COST_MATRICES.values())


def test_perfect_predictions_cost_nothing(cohort: FoldTable) -> None:
    truth = np.array(cohort.labels)
    report = cost_report(confusion(truth, truth)[None])
    assert {cell["expected"] for cell in report.values()} == {0.0}
