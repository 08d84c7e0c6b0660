"""The application finds its commands by entry points, those of other packages too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commandline import COMMAND

import ictmri.cli as ictmri
import ictmri_baselines.cli as ictmri_baselines
import ictmri_benchmark.cli as ictmri_benchmark
from ictmri.cli import app


def installed(folder: Path, name: str, code: str) -> None:
    """Make a package as an installer leaves it, with a table of commands."""
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[ictmri.commands]\n{name} = {name}:COMMANDS\n")


def said(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_a_package_of_ones_own_adds_commands(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "def survival(table: Path):\n  'Score survival.'\n  print('scored', table)\n"
        "COMMANDS = {'survival': 'clinic:survival'}\n"
    )
    installed(tmp_path, "clinic", code)
    assert said(tmp_path, "survival", "~/x.csv").stdout == f"scored {Path.home() / 'x.csv'}\n"
    told = said(tmp_path, "--help").stdout
    assert "Commands of the clinic" in told
    assert "Score survival." in told


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("raise ImportError('no such module')", "no such module"),
        ("COMMANDS = {'x': 'clinic:missing'}", "missing"),
        ("def f(): 'Mine.'\nCOMMANDS = {'evaluate': 'clinic:f'}", "offers 'evaluate'"),
    ],
)
def test_a_package_that_is_wrong_takes_nothing_away(
    code: str, warning: str, tmp_path: Path
) -> None:
    installed(tmp_path, "clinic", code)
    told = said(tmp_path, "--help")
    assert (told.returncode, told.stderr.count("\n")) == (0, 1)
    assert warning in told.stderr
    done = said(tmp_path, "evaluate", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Score a predictions file" in done.stdout


def test_ours_are_shown_in_their_order_however_they_were_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = list(app.entry_points(group="ictmri.commands"))
    for order in (sorted(found), sorted(found, reverse=True)):
        monkeypatch.setattr(app, "entry_points", lambda *, order=order, **_: order)
        assert list(app.listed()) == ["cohorts", "recipes", "methods", "backbones", "detectors"]


def test_a_command_imports_no_other() -> None:
    code = (
        "import sys; sys.argv = ['ictmri', 'verify', '--help']\n"
        "from ictmri.cli.app import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    loaded = done.stderr.split()
    assert "ictmri.cli.data" in loaded
    assert not {"numpy", "ictmri.cli.release", "ictmri_benchmark.cli.scoring"} & set(loaded)


def test_each_package_owns_its_commands() -> None:
    for package in (ictmri, ictmri_benchmark, ictmri_baselines):
        name = package.__name__.partition(".")[0]
        assert package.COMMANDS
        assert all(place.startswith(f"{name}.cli.") for place in package.COMMANDS.values())
