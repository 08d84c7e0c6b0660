"""The one protocol that a recipe's method follows, how it is found, and what a run tells it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.io.states import json_mapping
from ictmri_baselines.registry import METHODS, imported, is_own

if TYPE_CHECKING:
    from ictmri_baselines.cases import Cases

RUN: Final = "run.json"
FINISHED: Final = "finished.json"
IDENTITY: Final = (
    *("recipe", "recipe_sha256", "profile", "cohort", "folds_sha256", "data_sha256", "ictmri"),
)
"""What must be equal for finished folds to be of use."""


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
            settings: the recipe's settings; a parameter ``workspace`` is given a :class:`Workspace`.
        """


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that belongs to one fold and seed of one run, for a method that trains for long.

    Attributes:
        folder: of states to go on from, logs, and the trained model; made where it is missing.
        origin: what the model's card says about where it comes from: ``recipe``, ``recipe_sha256``,
            ``profile``, ``cohort``, ``synthetic``, ``folds_sha256``, ``data_sha256``, ``processing``,
            ``detector``, ``fold``, ``seed``.
    """

    folder: Path
    origin: Mapping[str, Any] = field(default_factory=dict)


def check_method_name(name: str) -> str:
    """Return the name of a method as it is, without importing anything.

    Raises:
        ValueError: it is neither registered nor ``module:function`` outside this package.
    """
    known = f"take one of {', '.join(METHODS)}, or module:function of your own"
    module, _, function = name.partition(":")
    if name in METHODS:
        return name
    if module.split(".")[0] == "ictmri_baselines":
        # As recipes named methods before there was a registry; a module's place is no name any more.
        hint = f"it is registered as {function}" if function in METHODS else known
        raise ValueError(f"{name!r} is a place in this package, no name of a method; {hint}")
    if not is_own(name) or not all(part.isidentifier() for part in (*module.split("."), function)):
        raise ValueError(f"no method {name!r}{nearest(name, METHODS)}; {known}")
    return name


def find_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Import a method.

    Args:
        name: of the registry, or ``module:function`` of one's own. Importing is running code: no
            name that came with data may get here.
        settings: those of the recipe; where given, they must be what the function takes.

    Raises:
        InputError: it cannot be imported, is no such function, or takes other settings.
    """
    try:
        method = imported(METHODS[name].function if name in METHODS else check_method_name(name))
        signature = inspect.signature(method)
        signature.bind_partial([], [], [], seed=0)
        if settings is not None:
            given = {"workspace": None} if "workspace" in signature.parameters else {}
            signature.bind([], [], [], seed=0, **given | dict(settings))
    except Exception as error:  # noqa: BLE001  # anything can happen in a user's module
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"method {name}", [reason], "correct the recipe") from None
    return cast("Method", method)


def device_of(name: str, settings: Mapping[str, Any]) -> str:
    """Return where a method runs: ``cpu``, or the name of the GPU; its settings are checked.

    Raises:
        InputError: see :func:`find_method`; or settings that are wrong.
    """
    find_method(name, settings)
    known = METHODS.get(name)
    return str(imported(known.device)(settings)) if known and known.device else "cpu"


def parameters_of(name: str, settings: Mapping[str, Any]) -> int | None:
    """Return how many parameters the network of a method has, None where it has none that we know of."""
    known = METHODS.get(name)
    return int(imported(known.parameters)(settings)) if known and known.parameters else None


def class_frequencies(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share (4,) that each class has of some cases' classes (n,)."""
    return np.bincount(labels, minlength=len(CLASSES)) / len(labels)


def expand_classes(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Put the columns of a model that saw only some classes where they belong.

    Args:
        probabilities: (n, k) of the classes that it saw.
        classes: (k,) which these are.

    Returns:
        (n, 4) in the order of :data:`ictmri.CLASSES`; 0 for a class that it never saw.
    """
    full = np.zeros((len(probabilities), len(CLASSES)))
    full[:, classes] = probabilities
    return full


def read_run(path: Path) -> dict[str, Any]:
    """Return what a run says about itself: the identity, and the settings that it was made with.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    run = json_mapping(path)
    missing = [key for key in IDENTITY if not isinstance(run.get(key), str)]
    if missing or not isinstance(run.get("settings", {}), dict):
        raise ValueError(f"without {', '.join(missing or ['settings'])}")
    return run
