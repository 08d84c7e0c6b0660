"""The house: imports run one way, ictmri <- ictmri_benchmark <- ictmri_baselines, in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = {
    "ictmri": REPOSITORY / "ictmri",
    "ictmri_benchmark": REPOSITORY / "benchmark" / "ictmri_benchmark",
    "ictmri_baselines": REPOSITORY / "baselines" / "ictmri_baselines",
}
"""Package -> its folder; each may import those before it."""


def modules() -> dict[str, Path]:
    """Return the modules of the house, by name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, known: dict[str, Path], name: str) -> Iterator[str]:
    """Yield the modules of the house that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                below = f"{module}.{alias.name}"
                if below in known or module in known:
                    yield below if below in known else module


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    assert len(known) > 100
    return {
        name: set(imported(ast.parse(path.read_text(encoding="utf-8")), known, name)) - {name}
        for name, path in known.items()
    }


def test_no_package_imports_one_that_stands_on_it(graph: dict[str, set[str]]) -> None:
    order = list(PACKAGES)
    level = {name: order.index(name.partition(".")[0]) for name in graph}
    upward = [(a, b) for a, below in graph.items() for b in below if level[b] > level[a]]
    assert upward == []


def test_no_file_imports_in_a_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_reader_of_imports_sees_every_form() -> None:
    known = dict.fromkeys(["a", "a.b", "a.b.c", "a.d"], Path())
    lines = [
        "import a.b",
        "def f():",
        "  from a import d",
        "  from a.b import c, f",
        "from . import d",
    ]
    text = "\n".join(lines)
    assert sorted(set(imported(ast.parse(text), known, "a.x"))) == ["a.b", "a.b.c", "a.d"]
