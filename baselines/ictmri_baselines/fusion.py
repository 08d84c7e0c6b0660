"""Several kinds of models of the same cases, combined by what they are worth on inner folds.

The probabilities of model k are raised to a power a_k and multiplied (a logarithmic opinion pool: Genest
and Zidek 1986, doi:10.1214/ss/1177013825). The powers are those with the lowest log-loss on training cases
that the models did not see, each class weighing the same: a model that is of no use there gets 0, one that
is too sure of itself less than 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold

from ictmri.classes import CLASSES
from ictmri_baselines.cases import Cases
from ictmri_baselines.controls.features import radiomics
from ictmri_baselines.controls.rules import demographics, fit_predict, three_models
from ictmri_baselines.diagnoser.fit import adaptive_diagnoser
from ictmri_baselines.diagnoser.fit import parameter_count as network_parameters
from ictmri_baselines.diagnoser.settings import device_of as network_device
from ictmri_baselines.methods import Workspace

Floats = NDArray[np.float64]

_SMALLEST: Final = 1e-4
"""A probability below this counts as this: few hundred cases say nothing about rarer events."""
_LARGEST_POWER: Final = 4.0


def fusion(
    train: Cases,
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
    features: Mapping[str, Any],
    inner_folds: int,
    age_sex: Mapping[str, Any] | None = None,
    workspace: Workspace | None = None,
    **network: Any,
) -> Floats:
    """Predict (n_test, 4) by a network and models of features, weighed on inner folds.

    Each is fitted once an inner fold, and predicts what that fold held back and the test cases; the mean of
    the latter over the folds is its prediction.

    Args:
        train: training cases.
        labels: (n,) their classes.
        test: test cases.
        seed: of the inner folds and of the models.
        features: settings of :func:`~ictmri_baselines.controls.rules.three_models`.
        inner_folds: their number, fewer where a class has fewer cases.
        age_sex: settings of :func:`~ictmri_baselines.controls.rules.demographics`; without it where None.
        workspace: where the networks' states and logs are kept.
        network: settings of the Adaptive-Diagnoser.

    Raises:
        InputError: settings that are wrong.
    """
    measured, measured_test = (radiomics(cases, detail=True) for cases in (train, test))
    splits = _splits(labels, inner_folds, seed)
    members = 2 + (age_sex is not None)
    inner = np.zeros((members, len(labels), len(CLASSES)))
    outer = np.zeros((members, len(test), len(CLASSES)))
    for number, held in enumerate(splits):
        learned, known, own = train.subset(~held), labels[~held], seed + number
        asked = _both(train.subset(held), test)
        model = three_models(known, own, **features)
        rows = np.concatenate([measured[held], measured_test])
        found = [
            adaptive_diagnoser(
                *(learned, known, asked), seed=own, workspace=_inner(workspace, number), **network
            ),
            fit_predict(model, measured[~held], known, rows),
        ]
        if age_sex is not None:
            found.append(demographics(learned, known, asked, seed=own, **age_sex))
        inner[:, held] = [one[: held.sum()] for one in found]
        outer += np.array([one[held.sum() :] for one in found]) / len(splits)
    return pooled(outer, pool_powers(inner, labels))


def _inner(workspace: Workspace | None, number: int) -> Workspace | None:
    if workspace is None:
        return None
    origin = {**workspace.origin, "member": number}
    return Workspace(workspace.folder / f"inner-{number}", origin)


def device_of(given: Mapping[str, Any]) -> str:
    """Return where settings let the method run: ``cpu``, or the GPU's name.

    Raises:
        InputError: with everything that is wrong about the network's.
    """
    return network_device(_of_network(given))


def parameter_count(given: Mapping[str, Any]) -> int:
    """Return how many parameters one of its networks has.

    Raises:
        InputError: with everything that is wrong about the network's settings.
    """
    return network_parameters(_of_network(given))


def _of_network(given: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k not in ("features", "inner_folds", "age_sex")}


def pool_powers(members: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the powers (k,) with the lowest class-balanced log-loss.

    Args:
        members: (k, n, 4) probabilities of cases that the models did not see.
        labels: (n,) the cases' classes.
    """
    weights = 1 / np.bincount(labels, minlength=len(CLASSES))[labels]

    def loss(powers: Floats) -> float:
        right = pooled(members, powers)[np.arange(len(labels)), labels]
        return float(-(weights * np.log(np.maximum(right, _SMALLEST))).sum())

    start = np.full(len(members), 1 / len(members))
    bounds = [(0, _LARGEST_POWER)] * len(members)
    best: Floats = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return best


def pooled(members: Floats, powers: Floats) -> Floats:
    """Return the product (n, 4) of probabilities (k, n, 4), each to its power (k,), summing to 1."""
    logits = np.tensordot(powers, np.log(np.maximum(members, _SMALLEST)), axes=1)
    scaled: Floats = softmax(logits, axis=1)
    return scaled


def _splits(labels: NDArray[np.int64], inner_folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Return which cases each inner fold holds back, (n,) each."""
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    folds = StratifiedKFold(max(2, min(inner_folds, fewest)), shuffle=True, random_state=seed)
    numbers = np.arange(len(labels))
    return [np.isin(numbers, held) for _, held in folds.split(numbers, labels)]


def _both(first: Cases, second: Cases) -> Cases:
    """Return the cases of two parts of one cohort."""
    sex, age, rows = (
        np.concatenate([getattr(part, name) for part in (first, second)])
        for name in ("sex", "age", "rows")
    )
    return Cases([*first.case_ids, *second.case_ids], sex, age, rows, first.volumes)
