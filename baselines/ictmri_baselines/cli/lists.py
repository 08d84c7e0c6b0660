"""What ``ictmri list`` shows of the baselines; no library that is listed is imported, so it is quick."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ictmri_baselines.registry import BACKBONES, DETECTORS, METHODS


def list_recipes() -> Iterator[tuple[str, str]]:
    """Yield id and name of the recipes that ship."""
    from ictmri_baselines.reproduction.recipe import load_recipe, recipe_ids

    for name in recipe_ids():
        yield name, load_recipe(name).name


def list_methods() -> Iterator[tuple[str, str]]:
    """Yield name and line of the methods that a recipe may name."""
    for name, method in METHODS.items():
        yield name, _first_line(method.function)


def list_backbones() -> Iterator[tuple[str, str]]:
    """Yield name and line of the backbones that ``--backbone`` may name."""
    for name, backbone in BACKBONES.items():
        yield name, _first_line(backbone.settings)


def list_detectors() -> Iterator[tuple[str, str]]:
    """Yield name and line of the detectors that ``--detector`` may name."""
    for name, settings in DETECTORS.items():
        yield name, _first_line(settings)


def _first_line(path: str) -> str:
    """Return the first line of the docstring of ``module:name``, read without running the module."""
    module, _, name = path.partition(":")
    source = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
