"""``ictmri list`` names what is there, and each package adds its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.commandline import run
from support.made_cohort import build_phantom

from ictmri_baselines.registry import BACKBONES, DETECTORS, METHODS, recipe_ids


def test_every_name_has_a_line() -> None:
    found = json.loads(run("list", "--json").stdout)
    assert list(found) == ["cohorts", "recipes", "methods", "backbones", "detectors"]
    assert list(found["recipes"]) == recipe_ids()
    assert list(found["methods"]) == list(METHODS)
    assert list(found["backbones"]) == list(BACKBONES)
    assert list(found["detectors"]) == list(DETECTORS)
    assert all(line for lines in found.values() for line in lines.values())
    text = run("list").stdout
    assert all(f"  {name} " in text for lines in found.values() for name in lines)
    assert "SYNTHETIC" in found["cohorts"]["ictmri-phantom"]
    assert "ask for access" in found["cohorts"]["ictmri"]


def test_cohorts_that_lie_here_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*build_phantom(tmp_path / "out" / "small"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    cohorts = json.loads(run("list", "--json").stdout)["cohorts"]
    assert "SYNTHETIC, 8 cases" in cohorts["out/small"]
    assert "other" not in cohorts


def test_the_core_alone_lists_everything() -> None:
    code = """
import sys
for name in ("torch", "scipy", "sklearn", "SimpleITK", "monai", "transformers", "pandas"):
    sys.modules[name] = None
sys.argv = ["ictmri", "list"]
from ictmri.cli.app import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "table2/5" in done.stdout
    assert "qwen3-vl" in done.stdout
