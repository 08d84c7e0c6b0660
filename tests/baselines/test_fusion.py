"""Several models as one: the powers against scikit-learn and by hand, and what inner folds may see."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.made_cases import made_cases

from ictmri.errors import InputError
from ictmri_baselines import fusion as module
from ictmri_baselines.fusion import device_of, fusion, pool_powers, pooled

TINY: dict[str, Any] = {
    "features": {"strengths": [10.0], "trees": 5, "penalty": 1.0},
    "inner_folds": 2,
    "network": {"settings": {"width": 4, "depth": (1, 1)}},
    "view": {"of": "region", "edge": 12},
    "optimisation": {"epochs": 1},
    "compute": {"device": "cpu"},
}


def drawn(n: int, certainty: float, labels: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (n, 4))
    logits = noise + certainty * np.eye(4)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_pool_is_the_product_of_powers() -> None:
    members = np.array([[[0.5, 0.2, 0.2, 0.1]], [[0.4, 0.4, 0.1, 0.1]]])
    product = np.array([0.5**2 * 0.4**0.5, 0.2**2 * 0.4**0.5, 0.2**2 * 0.1**0.5, 0.1**2 * 0.1**0.5])
    np.testing.assert_allclose(pooled(members, np.array([2, 0.5]))[0], product / product.sum())
    np.testing.assert_allclose(pooled(members, np.array([1, 0])), members[0])


def test_powers_are_those_of_a_logistic_regression_on_the_logarithms() -> None:
    """Of two classes the pool is a logistic regression on the members' log-odds, without an intercept."""
    labels = np.arange(400) % 2
    members = np.stack([drawn(400, c, labels, seed) for seed, c in enumerate((2.0, 1.0))])
    members[..., 2:] = 0
    members /= members.sum(axis=2, keepdims=True)
    odds = np.log(np.maximum(members[..., 1], 1e-4) / np.maximum(members[..., 0], 1e-4)).T
    known = LogisticRegression(C=1e9, fit_intercept=False).fit(odds, labels).coef_[0]
    np.testing.assert_allclose(pool_powers(members, labels), known, rtol=0.01)


def test_what_is_of_no_use_gets_nothing() -> None:
    labels = np.arange(400) % 4
    guesses = drawn(400, 0, labels, 1)
    useful = drawn(400, 2, labels, 0)
    powers = pool_powers(np.stack([useful, guesses]), labels)
    assert powers[0] > 0.5
    assert powers[1] < 0.15


@pytest.mark.parametrize("age_sex", [None, {"strength": 1.0}])
def test_each_case_is_weighed_by_models_that_did_not_see_it(
    age_sex: dict[str, float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, labels = made_cases(14)
    learned = np.arange(14) < 11
    asked: list[tuple[set[str], list[str]]] = []
    weighed: list[tuple[int, ...]] = []
    whole, powers = module.adaptive_diagnoser, module.pool_powers

    def watched(train: Any, y: Any, test: Any, **settings: Any) -> Any:
        asked.append((set(train.case_ids), test.case_ids))
        return whole(train, y, test, **settings)

    def told(members: np.ndarray, y: np.ndarray) -> np.ndarray:
        weighed.append(members.shape)
        assert (members.sum(axis=2) > 0.99).all(), "a training case was never held back"
        return powers(members, y)

    monkeypatch.setattr(module, "adaptive_diagnoser", watched)
    monkeypatch.setattr(module, "pool_powers", told)
    test = cases.subset(~learned)
    found = fusion(cases.subset(learned), labels[learned], test, seed=0, age_sex=age_sex, **TINY)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert weighed == [(2 if age_sex is None else 3, 11, 4)]
    assert len(asked) == 2
    for seen, predicted in asked:
        assert not seen & set(predicted)
        assert predicted[-3:] == test.case_ids


def test_wrong_settings_of_the_network_are_refused_by_name() -> None:
    assert device_of(TINY) == "cpu"
    with pytest.raises(InputError, match=r"optimisation\.epochs"):
        device_of(TINY | {"optimisation": {"epochs": 0}})
