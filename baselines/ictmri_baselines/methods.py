"""The one protocol that a recipe's method follows."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri_baselines.cases import Cases


class Method(Protocol):
    """Fits on the training cases of a fold and predicts its test cases."""

    def __call__(
        self, train: Cases, labels: NDArray[np.int64], test: Cases, *, seed: int, **settings: Any
    ) -> NDArray[np.float64]:
        """Return (n_test, 4) probabilities in the order of :data:`ictmri.CLASSES`.

        Args:
            train: the training cases.
            labels: (n_train,) their labels.
            test: the test cases, without labels.
            seed: everything random follows from it.
            settings: the recipe's settings.
        """


def find_method(path: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Import ``module:function``.

    Args:
        path: its place.
        settings: those of the recipe; where given, they must be what the function takes.

    Raises:
        InputError: it cannot be imported, is no such function, or takes other settings.
    """
    module, _, name = path.partition(":")
    try:
        method = getattr(importlib.import_module(module), name)
        signature = inspect.signature(method)
        signature.bind_partial([], [], [], seed=0)
        if settings is not None:
            given = {"workspace": None} if "workspace" in signature.parameters else {}
            signature.bind([], [], [], seed=0, **given | dict(settings))
    except Exception as error:  # noqa: BLE001  # anything can happen in a user's module
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"method {path}", [reason], "correct the recipe") from None
    return cast("Method", method)


def spread(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Put the columns of a model that saw only ``classes`` where they belong; the others are 0."""
    full = np.zeros((len(probabilities), len(CLASSES)))
    full[:, classes] = probabilities
    return full
