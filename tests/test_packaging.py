"""What is installed from a wheel works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ictmri.folds import read_folds

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, as an installer would lay it down."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, code: str, where: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_shipped_file_is_found(installed: Path, tmp_path: Path) -> None:
    code = (
        "import ictmri, ictmri.resources as r; from ictmri_baselines.recipe import recipe_ids;"
        "print(ictmri.__file__);"
        "print(*(r.shipped(n).exists() for n in ('splits', 'reported.yaml', 'card.md.j2')));"
        "print(len(recipe_ids()))"
    )
    where, found, recipes = python(installed, code, tmp_path).splitlines()
    assert Path(where).is_relative_to(installed)
    assert found == "True True True"
    assert int(recipes) == len(list((REPOSITORY / "baselines" / "recipes").rglob("*.yaml")))


def test_scoring_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    folds = read_folds(REPOSITORY / "splits" / "ictmri-phantom.csv", "ictmri-phantom")
    lines = ["case_id,prediction", *(f"{row.case_id},{row.label}" for row in folds.rows)]
    (tmp_path / "predictions.csv").write_text("\n".join(lines) + "\n")
    code = (
        "import sys; sys.argv = ['ictmri', 'evaluate', 'predictions.csv', '--cohort', 'ictmri-phantom'];"
        "from ictmri.cli.app import main; main()"
    )
    assert "SYNTHETIC" in python(installed, code, tmp_path)
