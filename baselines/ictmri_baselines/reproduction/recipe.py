"""Recipes: one YAML file a method, one command to make its entry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from ictmri.errors import InputError, nearest, validation_problems
from ictmri.io.files import canonical_json, sha256_bytes
from ictmri.io.resources import at_home, shipped
from ictmri.io.yamlfile import read_yaml
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri_baselines.methods import check_method_name
from ictmri_baselines.registry import DETECTORS, OFFLINE, is_own, recipe_ids
from ictmri_benchmark.board.entry import MAX_SLUG, SLUG

Profile = Literal["smoke", "cpu", "paper"]
PROFILES: Final[tuple[Profile, ...]] = ("smoke", "cpu", "paper")
Needs = Literal["table", "priors"]
Processing = Literal["light", "paper"]
_CARRIERS: Final = ("run.json", "entry.yaml", "model.safetensors", MANIFEST)
"""Files of runs, entries, models and cohorts: what is given from hand to hand."""
_NEAR: Final = 3


def _needs_nothing(name: str) -> str:
    """Return the name of a detector that a recipe may name, or none."""
    if name and name not in OFFLINE:
        problem = f"no detector {name!r}{nearest(name, DETECTORS)}"
        if name in DETECTORS:
            problem = f"{name} needs a server, weights or a file, and a recipe names none"
        others = f"{', '.join(OFFLINE)}; without it a run takes the priors that the cohort has"
        raise ValueError(f"{problem}; take one of {others}")
    return name


class RecipeInputs(BaseModel):
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
        method: a name of :data:`~ictmri_baselines.registry.METHODS`, or ``module:function`` of one's own.
        needs: ``table`` (labels, sex, age) or ``priors`` (the processed and localized cohort).
        processing: settings of the processor for a cohort that is not processed yet; where the recipe and
            all that it extends are silent, ``light``, and ``paper`` under the profile of that name.
        detector: of the priors, one of :data:`~ictmri_baselines.registry.OFFLINE`. Where it is empty, the
            priors that the cohort has, or the default detector's where it has none.
        inputs: what the method looks at.
        external: pretrained weights and other data that it uses.
        yours: settings without which it cannot be run, by dotted name; a recipe that extends it gives them.
        shuffle_labels: train on permuted labels, as a control.
        reported: slug of the row of ``benchmark/reported.yaml`` that it reproduces; empty where none.
        seeds: that are run where no others are asked for.
        choices: what the paper leaves open: what is done instead, and why.
        settings: keyword arguments of the method.
        profiles: settings that a profile changes. What a recipe says itself stands above the profiles of
            the recipe that it extends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    summary: str
    method: Annotated[str, AfterValidator(check_method_name)]
    needs: Needs
    processing: Processing | None = None
    detector: Annotated[
        str,
        BeforeValidator(lambda name: "" if name is None else name),
        AfterValidator(_needs_nothing),
    ] = ""
    inputs: RecipeInputs
    external: tuple[str, ...] = ()
    yours: tuple[str, ...] = ()
    shuffle_labels: bool = False
    reported: str = ""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    choices: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    profiles: dict[Profile, dict[str, Any]] = Field(default_factory=dict)
    _overruled: dict[Profile, list[str]] = PrivateAttr(default_factory=dict)

    def imports(self, profile: Profile) -> list[str]:
        """Return the import paths in it: code that a run of it executes and that is not registered."""
        network = self.settings_for(profile).get("network")
        backbone = str(network.get("backbone", "")) if isinstance(network, Mapping) else ""
        return [name for name in (self.method, backbone) if is_own(name)]

    def missing(self, profile: Profile) -> list[str]:
        """Return the settings that whoever runs it has still to give."""
        given = leaves(self.settings_for(profile))
        return [name for name in self.yours if name not in given]

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands there twice")
        return seeds

    @model_validator(mode="after")
    def _detects_for_something(self) -> Self:
        if self.detector and not (self.needs == "priors" and self.inputs.prior):
            raise ValueError(f"detector is {self.detector}, and the method looks at no prior")
        return self

    @property
    def slug(self) -> str:
        """The folder name of the entry."""
        return self.id.replace("/", "-").replace("_", "-")

    def settings_for(self, profile: Profile) -> dict[str, Any]:
        """Return the method's settings under a profile."""
        return merged(self.settings, self.profiles.get(profile, {}))

    def processing_for(self, profile: Profile) -> Processing:
        """Return the settings of the processor under a profile."""
        return self.processing or ("paper" if profile == "paper" else "light")

    def overruled(self, profile: Profile) -> list[str]:
        """Return a line for each setting that two of the recipe's sources give differently."""
        return self._overruled.get(profile, [])

    def digest(self, profile: Profile) -> str:
        """Return a digest of everything in the recipe that can change predictions."""
        changing: list[Any] = [self.method, self.shuffle_labels, self.settings_for(profile)]
        if self.detector:
            changing.append(self.detector)
        return sha256_bytes(canonical_json(changing).encode())


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


def leaves(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted name, e.g. ``optimisation.epochs``."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and value
        found |= leaves(value, f"{above}{key}.") if nested else {f"{above}{key}": value}
    return found


def load_recipe(name: str) -> Recipe:
    """Load a shipped recipe by id, or one from a YAML file.

    A file may say ``extends: ID`` of a shipped recipe, and then holds only what is different. What it says
    stands above everything that it extends, the profiles there included.

    Raises:
        InputError: there is no such recipe, the file is not valid, or it came with a run, a model, an entry
            or a cohort and names code that is not this package's.
    """
    is_file = name.endswith((".yaml", ".yml"))
    path = at_home(Path(name)) if is_file else _shipped(name)
    own, below = _read(path)
    try:
        recipe = Recipe(id=path.stem if is_file else name, **_extended(below, own))
    except ValidationError as error:
        raise InputError(str(path), validation_problems(error), "correct the file") from None
    except TypeError as error:  # a key that is no text
        raise InputError(str(path), [str(error)], "correct the file") from None
    if is_file:
        if not re.fullmatch(SLUG, recipe.slug) or len(recipe.slug) > MAX_SLUG:
            problem = f"its name becomes the entry's, and {path.stem!r} is none: a-z, 0-9 and -"
            raise InputError(str(path), [problem], "rename the file")
        recipe._overruled = {profile: _overruled(below, own, profile) for profile in PROFILES}
    _check_place(path, recipe)
    return recipe


def _check_place(path: Path, recipe: Recipe) -> None:
    """Refuse code in a recipe that came with something else: whoever runs it did not write it."""
    code = dict.fromkeys(name for profile in PROFILES for name in recipe.imports(profile))
    folders = list(path.resolve().parents)[:_NEAR]
    beside = [name for name in _CARRIERS if any((folder / name).exists() for folder in folders)]
    if code and beside:
        problems = [
            f"imports {name}, and lies with {beside[0]}: it came with that" for name in code
        ]
        raise InputError(str(path), problems, "if you trust it, copy it to a folder of its own")


def _shipped(name: str) -> Path:
    known = recipe_ids()
    if name not in known:
        problem = f"not found{nearest(name, known)}"
        raise InputError(f"recipe {name!r}", [problem], f"one of {', '.join(known)}")
    return shipped("recipes") / f"{name}.yaml"


def _read(path: Path, *above: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a recipe says itself, and all of the recipe that it extends."""
    if not path.is_file():
        raise InputError(
            f"recipe {path}", ["there is no such file"], "give a recipe's id or its file"
        )
    if path in above:
        chain = " -> ".join(one.stem for one in (*above, path))
        raise InputError(str(path), [f"extends itself: {chain}"], "correct the file")
    own = read_yaml(path, "correct the file")
    if not isinstance(own, dict):
        raise InputError(str(path), ["not a mapping of settings"], "see baselines/recipes")
    parent = own.pop("extends", None)
    if parent is None:
        return own, {}
    if not isinstance(parent, str):
        problem = f"extends is {parent!r}, not the id of one recipe"
        raise InputError(str(path), [problem], "correct the file")
    inherited, further = _read(_shipped(parent), *above, path)
    return own, _extended(further, inherited)


def _extended(below: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Lay a recipe over the one that it extends; its settings stand above the profiles there."""
    settings = _mapping(own.get("settings"))
    profiles = _mapping(below.get("profiles")).items()
    return merged(
        {**below, "profiles": {name: merged(values, settings) for name, values in profiles}}, own
    )


def _overruled(below: dict[str, Any], own: dict[str, Any], profile: Profile) -> list[str]:
    """Say where a profile that is inherited gives way to the recipe, or the recipe to its profile."""
    inherited, nearer = (
        leaves(_mapping(_mapping(one.get("profiles")).get(profile))) for one in (below, own)
    )
    said = leaves(_mapping(own.get("settings")))
    here, there = f"the profile {profile}", f"the profile {profile} of what it extends"
    return [
        *(
            f"{name} is {value} as the recipe says; {there} says {inherited[name]}"
            for name, value in said.items()
            if name not in nearer and inherited.get(name, value) != value
        ),
        *(
            f"{name} is {value} as {here} of the recipe says; its settings say {said[name]}"
            for name, value in nearer.items()
            if said.get(name, value) != value
        ),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
