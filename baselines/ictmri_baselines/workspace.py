"""What a method that trains for long is given besides its cases: a folder, and what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
