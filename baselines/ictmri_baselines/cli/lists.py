"""What ``ictmri list`` shows of the baselines; no library that is listed is imported, so it is quick."""

from __future__ import annotations

from collections.abc import Iterator

from ictmri.cli.first_lines import first_line
from ictmri_baselines.registry import BACKBONES, DETECTORS, METHODS, recipe_ids


def list_recipes() -> Iterator[tuple[str, str]]:
    """Yield id and name of the recipes that ship."""
    from ictmri_baselines.reproduction.recipe import load_recipe

    for name in recipe_ids():
        yield name, load_recipe(name).name


def list_methods() -> Iterator[tuple[str, str]]:
    """Yield name and line of the methods that a recipe may name."""
    for name, method in METHODS.items():
        yield name, first_line(method.function)


def list_backbones() -> Iterator[tuple[str, str]]:
    """Yield name and line of the backbones that ``--backbone`` may name."""
    for name, backbone in BACKBONES.items():
        yield name, first_line(backbone.settings)


def list_detectors() -> Iterator[tuple[str, str]]:
    """Yield name and line of the detectors that ``--detector`` may name."""
    for name, settings in DETECTORS.items():
        yield name, first_line(settings)
