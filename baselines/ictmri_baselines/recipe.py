"""Recipes: one YAML file a method, one command to make its entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError, nearest
from ictmri.files import canonical_json, sha256_bytes
from ictmri.resources import shipped
from ictmri.yamlfile import read_yaml

Profile = Literal["smoke", "cpu", "paper"]
PROFILES: Final[tuple[Profile, ...]] = ("smoke", "cpu", "paper")
Needs = Literal["table", "priors"]
Processing = Literal["light", "paper"]


class Inputs(BaseModel):
    """What a method looks at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: bool = False
    prior: bool = False
    demographics: bool = False


class Recipe(BaseModel):
    """How one entry is made.

    Attributes:
        id: path below ``recipes/`` without the ending, e.g. ``controls/majority``.
        name: as the leaderboard shows it.
        summary: one sentence.
        method: import path ``module:function`` of a :class:`~ictmri_baselines.methods.Method`.
        needs: ``table`` (labels, sex, age) or ``priors`` (the processed and localized cohort).
        processing: settings of the processor for a cohort that is not processed yet.
        inputs: what the method looks at.
        shuffle_labels: train on permuted labels, as a control.
        settings: keyword arguments of the method.
        profiles: settings that a profile changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    summary: str
    method: str = Field(pattern=r"^[\w.]+:\w+$")
    needs: Needs
    processing: Processing = "light"
    inputs: Inputs
    shuffle_labels: bool = False
    settings: dict[str, Any] = Field(default_factory=dict)
    profiles: dict[Profile, dict[str, Any]] = Field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The folder name of the entry."""
        return self.id.replace("/", "-").replace("_", "-")

    def settings_for(self, profile: Profile) -> dict[str, Any]:
        """Return the method's settings under a profile."""
        return {**self.settings, **self.profiles.get(profile, {})}

    def digest(self, profile: Profile) -> str:
        """Return a digest of everything in the recipe that can change predictions."""
        changing = [self.method, self.shuffle_labels, self.settings_for(profile)]
        return sha256_bytes(canonical_json(changing).encode())


def recipe_ids() -> list[str]:
    """Return the ids of the recipes that ship with the package."""
    root = shipped("recipes")
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """Load a shipped recipe by id, or one from a YAML file.

    Raises:
        InputError: there is no such recipe, or the file is not valid.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped("recipes") / f"{name}.yaml"
    if not path.is_file():
        known = recipe_ids()
        raise InputError(
            f"recipe {name!r}", [f"not found{nearest(name, known)}"], f"one of {', '.join(known)}"
        )
    content = read_yaml(path, "correct the file")
    if not isinstance(content, dict):
        raise InputError(str(path), ["not a mapping of settings"], "see baselines/recipes")
    shipped_id = name if not name.endswith((".yaml", ".yml")) else path.stem
    try:
        return Recipe(id=shipped_id, **content)
    except (ValidationError, TypeError) as error:
        problems = (
            [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            if isinstance(error, ValidationError)
            else [str(error)]
        )
        raise InputError(str(path), problems, "correct the file") from None
