"""What a method that trains for long is given besides its cases: a folder, and what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.io.states import json_mapping

RUN: Final = "run.json"
IDENTITY: Final = (
    *("recipe", "recipe_sha256", "profile", "cohort", "folds_sha256", "data_sha256", "ictmri"),
)
"""What must be equal for finished folds to be of use."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that belongs to one fold and seed of one run.

    Attributes:
        folder: of states to go on from, logs, and the trained model; made where it is missing.
        origin: what the model's card says about where it comes from: ``recipe``, ``recipe_sha256``,
            ``profile``, ``cohort``, ``synthetic``, ``folds_sha256``, ``data_sha256``, ``processing``,
            ``detector``, ``fold``, ``seed``.
    """

    folder: Path
    origin: Mapping[str, Any] = field(default_factory=dict)


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
