"""What a function, class or group of commands says of itself, read without importing its module."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def first_line(place: str) -> str:
    """Return the first line of the docstring of ``module:name``, or the ``help`` that a call gives it.

    An empty string where there is neither.
    """
    module, _, name = place.partition(":")
    for node in _parsed(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            given = {key.arg: key.value for key in getattr(node.value, "keywords", [])}
            text = given.get("help")
            return str(text.value) if isinstance(text, ast.Constant) else ""
    return ""


@cache
def _parsed(module: str) -> ast.Module:
    # Not find_spec of the module itself: that imports the packages above it.
    package, *parts = module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ast.Module([], [])
    path = Path(spec.origin).parent.joinpath(*parts).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))
