"""Recipes: one YAML file a method, one command to make its entry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

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
        external: pretrained weights and other data that it uses.
        shuffle_labels: train on permuted labels, as a control.
        reported: slug of the row of ``benchmark/reported.yaml`` that it reproduces; empty where none.
        seeds: that are run where no others are asked for.
        choices: what the paper leaves open: what is done instead, and why.
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
    external: tuple[str, ...] = ()
    shuffle_labels: bool = False
    reported: str = ""
    seeds: tuple[int, ...] = (0,)
    choices: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    profiles: dict[Profile, dict[str, Any]] = Field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The folder name of the entry."""
        return self.id.replace("/", "-").replace("_", "-")

    def settings_for(self, profile: Profile) -> dict[str, Any]:
        """Return the method's settings under a profile."""
        return merged(self.settings, self.profiles.get(profile, {}))

    def processing_for(self, profile: Profile) -> Processing:
        """Return the settings of the processor under a profile; ``paper`` asks for the paper's."""
        return "paper" if profile == "paper" else self.processing

    def digest(self, profile: Profile) -> str:
        """Return a digest of everything in the recipe that can change predictions."""
        changing = [self.method, self.shuffle_labels, self.settings_for(profile)]
        return sha256_bytes(canonical_json(changing).encode())


def recipe_ids() -> list[str]:
    """Return the ids of the recipes that ship with the package."""
    root = shipped("recipes")
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with the values of ``above``, mapping by mapping; lists are replaced whole."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            both[key] = merged(under, value)
        else:
            both[key] = value
    return both


def load_recipe(name: str) -> Recipe:
    """Load a shipped recipe by id, or one from a YAML file.

    A file may say ``extends: ID`` of a shipped recipe, and then holds only what is different.

    Raises:
        InputError: there is no such recipe, or the file is not valid.
    """
    is_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_file else _shipped(name)
    content = _content(path)
    try:
        return Recipe(id=path.stem if is_file else name, **content)
    except (ValidationError, TypeError) as error:
        problems = (
            [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            if isinstance(error, ValidationError)
            else [str(error)]
        )
        raise InputError(str(path), problems, "correct the file") from None


def _shipped(name: str) -> Path:
    known = recipe_ids()
    if name not in known:
        problem = f"not found{nearest(name, known)}"
        raise InputError(f"recipe {name!r}", [problem], f"one of {', '.join(known)}")
    return shipped("recipes") / f"{name}.yaml"


def _content(path: Path, *above: Path) -> dict[str, Any]:
    """Return a recipe's content, what it extends filled in."""
    if not path.is_file():
        raise InputError(
            f"recipe {path}", ["there is no such file"], "give a recipe's id or its file"
        )
    if path in above:
        chain = " -> ".join(one.stem for one in (*above, path))
        raise InputError(str(path), [f"extends itself: {chain}"], "correct the file")
    content = read_yaml(path, "correct the file")
    if not isinstance(content, dict):
        raise InputError(str(path), ["not a mapping of settings"], "see baselines/recipes")
    parent = content.pop("extends", None)
    if parent is None:
        return cast("dict[str, Any]", content)
    return merged(_content(_shipped(str(parent)), *above, path), content)
