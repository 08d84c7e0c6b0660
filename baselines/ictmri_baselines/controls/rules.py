"""Control methods: what a score means is read off against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.svm import SVC

from ictmri.classes import CLASSES
from ictmri_baselines.cases import Cases
from ictmri_baselines.controls.features import location, radiomics
from ictmri_baselines.methods import class_frequencies, expand_classes

_MAX_ITERATIONS: Final = 5000
"""Far above scikit-learn's 100, so that no fit ends before it has converged."""
_INNER_FOLDS: Final = 5


def majority(
    train: Cases,  # noqa: ARG001
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,  # noqa: ARG001
) -> NDArray[np.float64]:
    """Give every case the class frequencies of the training cases: (n_test, 4)."""
    return np.tile(class_frequencies(labels), (len(test), 1))


def stratified_random(
    train: Cases,  # noqa: ARG001
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Draw every case's class from the class frequencies of the training cases: (n_test, 4), 0 or 1."""
    drawn = np.random.default_rng(seed).choice(
        len(CLASSES), size=len(test), p=class_frequencies(labels)
    )
    return np.eye(len(CLASSES))[drawn]


def demographics(
    train: Cases, labels: NDArray[np.int64], test: Cases, *, seed: int, strength: float
) -> NDArray[np.float64]:
    """Predict from age and sex alone: splines of age, logistic regression of L2 weight ``strength``.

    Unknown values are set to the median of the training cases. Returns (n_test, 4).
    """

    def columns(cases: Cases) -> NDArray[np.float64]:
        return np.column_stack([cases.age, cases.sex])

    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        SplineTransformer(n_knots=5, degree=3),
        _logistic(strength, seed),
    )
    return fit_predict(model, columns(train), labels, columns(test))


def location_size(
    train: Cases, labels: NDArray[np.int64], test: Cases, *, seed: int, trees: int
) -> NDArray[np.float64]:
    """Predict (n_test, 4) from where the prior lies and how large it is: extremely randomised trees."""
    model = Pipeline([("trees", _trees(trees, seed))])
    return fit_predict(model, location(train), labels, location(test))


def radiomics_linear(
    train: Cases,
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
    strengths: Sequence[float],
) -> NDArray[np.float64]:
    """Predict (n_test, 4) from intensity, texture and shape in the prior: logistic regression.

    The L2 weight is one of ``strengths``, taken by cross-validation over the training cases.
    """
    return fit_predict(logistic(strengths, seed), radiomics(train), labels, radiomics(test))


def radiomics_ensemble(
    train: Cases, labels: NDArray[np.int64], test: Cases, *, seed: int, **settings: Any
) -> NDArray[np.float64]:
    """Predict (n_test, 4) from intensity, texture and shape in detail: the mean of three models.

    Args:
        train: training cases.
        labels: (n,) their classes.
        test: test cases.
        seed: of the trees and of all inner folds.
        settings: see :func:`three_models`.
    """
    model = three_models(labels, seed, **settings)
    found = [radiomics(cases, detail=True) for cases in (train, test)]
    return fit_predict(model, found[0], labels, found[1])


def three_models(
    labels: NDArray[np.int64],
    seed: int,
    *,
    strengths: Sequence[float],
    trees: int,
    penalty: float,
) -> Pipeline:
    """Return the mean of a linear model, trees and a support vector machine; classes weigh the same.

    Args:
        labels: (n,) classes of the training cases.
        seed: of the trees and of all inner folds.
        strengths: L2 weights of the logistic regression, of which inner cross-validation takes one.
        trees: of the extremely randomised trees.
        penalty: of the support vector machine with a Gaussian kernel, left out where a class has one case.
    """
    models: list[tuple[str, ClassifierMixin]] = [
        ("linear", _ChosenLogistic(tuple(strengths), seed)),
        ("trees", _trees(trees, seed)),
    ]
    splits = _inner_splits(labels)
    if splits > 1:
        inner = StratifiedKFold(splits, shuffle=True, random_state=seed)
        vectors = SVC(C=penalty, class_weight="balanced")
        # It gives distances; logistic curves over inner folds make probabilities of them.
        models.append(("vectors", CalibratedClassifierCV(vectors, cv=inner, ensemble=False)))
    return make_pipeline(StandardScaler(), VotingClassifier(models, voting="soft"))


def _inner_splits(labels: NDArray[np.int64]) -> int:
    """Return how many stratified inner folds the rarest class allows."""
    return min(_INNER_FOLDS, int(np.unique(labels, return_counts=True)[1].min()))


def _trees(count: int, seed: int) -> ExtraTreesClassifier:
    return ExtraTreesClassifier(
        n_estimators=count, min_samples_leaf=3, class_weight="balanced", random_state=seed
    )


def logistic(strengths: Sequence[float], seed: int) -> Pipeline:
    """Return a standardised logistic regression that takes its L2 weight by inner cross-validation.

    The weight with the lowest log-loss over five stratified inner folds, fewer where a class has fewer
    cases; classes weigh the same.
    """
    return make_pipeline(StandardScaler(), _ChosenLogistic(tuple(strengths), seed))


class _ChosenLogistic(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(self, strengths: tuple[float, ...], seed: int) -> None:
        self.strengths = strengths
        self.seed = seed

    def fit(self, features: NDArray[np.float64], labels: NDArray[np.int64]) -> _ChosenLogistic:
        splits = _inner_splits(labels)
        chosen = self.strengths[0]
        if splits > 1 and len(self.strengths) > 1:
            inner = StratifiedKFold(splits, shuffle=True, random_state=self.seed)
            losses = [
                -cross_val_score(
                    _logistic(one, self.seed), features, labels, cv=inner, scoring="neg_log_loss"
                ).mean()
                for one in self.strengths
            ]
            chosen = self.strengths[int(np.argmin(losses))]
        self.strength_ = chosen
        self.model_ = _logistic(chosen, self.seed).fit(features, labels)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.model_.predict_proba(features)
        return found


def _logistic(strength: float, seed: int) -> LogisticRegression:
    return LogisticRegression(
        C=1 / strength, class_weight="balanced", max_iter=_MAX_ITERATIONS, random_state=seed
    )


def fit_predict(
    model: Pipeline,
    train: NDArray[np.float64],
    labels: NDArray[np.int64],
    test: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit a model and return its probabilities (n_test, 4); 0 for a class without training cases.

    Args:
        model: a classifier and what stands before it.
        train: (n, k) features.
        labels: (n,) classes.
        test: (n_test, k) features.
    """
    seen = np.unique(labels)
    if len(seen) == 1:
        return np.tile(np.eye(len(CLASSES))[seen[0]], (len(test), 1))
    model.fit(train, labels)
    return expand_classes(model.predict_proba(test), seen)
