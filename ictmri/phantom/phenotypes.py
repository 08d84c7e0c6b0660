"""How the phantom's tumours look, where they grow and who has them: the table ``phenotypes.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.io.yamlfile import own_table

PHENOTYPES: Final[dict[str, Any]] = own_table(Path(__file__).with_suffix(".yaml"))


@dataclass(frozen=True, slots=True)
class Demography:
    """What a subtype's patients look like.

    Attributes:
        label: class name.
        patients: how many among 249.
        male: probability of being male, before the cohort's total is fixed.
        age: mean and standard deviation in years, before the cohort's moments are fixed.
    """

    label: str
    patients: int
    male: float
    age: list[float]


SUBTYPES: Final = {name: Demography(**row["who"]) for name, row in PHENOTYPES["subtypes"].items()}
"""Subtypes and their share, which is an assumption."""
