"""Paths, folders, locks and homes: refused at once with the path, or taken alike by every command."""

import ast
import errno
import fcntl
import importlib
import inspect
import os
import re
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.commandline import COMMAND, run
from support.made_cohort import write_table

import ictmri.cli
import ictmri_baselines.cli
import ictmri_benchmark.cli
from ictmri.build.folder import build_folder
from ictmri.cli.app import application, main
from ictmri.cli.places import INPUTS, OUTPUTS, placed
from ictmri.errors import InputError
from ictmri.export.write import export_cohort
from ictmri.io.files import check_writable, is_free
from ictmri.io.lock import folder_lock, locked
from ictmri.io.resources import find_cache, user_cache
from ictmri.lookup import find_folds
from ictmri.release.make_release import Order
from ictmri.release.withdraw import withdraw
from ictmri_baselines.predict import Request


def commands(group: typer.Typer | None = None) -> Iterator[Callable[..., Any]]:
    group = group or application()
    for command in group.registered_commands:
        assert command.callback is not None
        yield command.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from commands(below.typer_instance)


def paths_of(command: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that are paths, or may be."""
    hints = typing.get_type_hints(inspect.unwrap(command))
    return {name for name, hint in hints.items() if "Path" in str(hint)} | (
        {"cohort", "recipe", "model"} & set(hints)
    )


def test_home_is_home_in_every_path_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").touch()
    found = {command: paths_of(command) for command in commands()}
    assert len(found) >= 30
    assert sum(map(len, found.values())) >= 50
    for command, names in found.items():
        assert hasattr(command, "__wrapped__"), command

        def told(**given: Any) -> dict[str, Any]:
            return given

        hints = typing.get_type_hints(inspect.unwrap(command))
        given: dict[str, Any] = {
            name: Path("~/mine") if "Path" in str(hints[name]) else "~/mine" for name in names
        }
        got = placed(told)(**given)
        assert {str(path) for path in got.values()} <= {str(tmp_path / "mine")}, command
    assert placed(told)(files=[Path("~/a"), Path("b")])["files"] == [tmp_path / "a", Path("b")]
    assert placed(told)(title="~/a", cohort="ictmri")["title"] == "~/a"
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_every_path_that_is_written_is_tried_before_the_work(tmp_path: Path) -> None:
    """All others are read, or are folders that the command finds something in."""
    read = {
        "table",
        "source",
        "mapping",
        "previous",
        "folder",
        "rows",
        "repository",
        "masks",
        "boxes",
    }
    read |= {"run", "scan", "model", "mask", "given", "entries", "labels", "cases", *INPUTS}
    read |= {
        "path",
        "challenge",
        "key",
        "public_key",
        "submission",
        "files",
        "facts",
        "cohort",
        "recipe",
    }
    for command in commands():
        assert paths_of(command) <= OUTPUTS | read
    (tmp_path / "file").touch()
    for name in OUTPUTS:
        with pytest.raises(InputError, match="is a file, no folder can be made in it"):
            placed(lambda **_: None)(**{name: tmp_path / "file" / "out"})


HELPERS = {"page_path", "link_path", "owner_names", "beside", "read_findings"}
HELPERS |= {"ledger_path", "chosen_cohorts", "entry_folder"}
"""What commands call beside the work itself, with paths of their own."""


TAKEN_BY_THEM = (Request, Order)
"""What a caller makes and hands in."""


def called_by_commands() -> Iterator[Callable[..., Any]]:
    """Yield what the commands import of the packages: what a caller of the API has."""
    for package in (ictmri.cli, ictmri_benchmark.cli, ictmri_baselines.cli):
        for path in Path(package.__path__[0]).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                module = (isinstance(node, ast.ImportFrom) and node.module) or ""
                if re.match(r"ictmri(?!.*\.cli)(?!\.io)", module):
                    loaded = importlib.import_module(module)
                    yield from (getattr(loaded, each.name, None) for each in node.names)


def test_every_path_of_the_api_may_be_text() -> None:
    """Types are enough: the type checker holds that such a path is made one before it is used."""
    found = {
        each for each in called_by_commands() if inspect.isfunction(each) or each in TAKEN_BY_THEM
    }
    paths = [
        (function.__name__, str(parameter.annotation))
        for function in found
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in str(parameter.annotation)
    ]
    assert len(paths) > 30
    assert {name for name, hint in paths if not re.search("AnyPath|str", hint)} <= HELPERS


def test_a_path_after_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "source")
    run("build", "folder", "~/source/table.csv", "--out=~/mine", "--jobs", "1")
    run("export", "~/mine", "--to", "nifti", "--out=~/exported")
    assert {path.name for path in tmp_path.iterdir()} >= {"mine", "exported"}
    assert not (tmp_path / "~").exists()
    done = run("build", "phantom", "--out=~nobody-of-this-name/mine", code=1)
    assert "there is no such user" in done.stderr


# Places


def places(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "cannot be written": Path("/proc/x"),
        "no folder can be made in it": tmp_path / "file" / "x",
        "leads to itself": tmp_path / "loop",
        "too long": tmp_path / ("x" * 300),
        "null": Path("/dev/null/x"),
    }


def test_a_place_that_cannot_be_written_is_refused_with_its_path(tmp_path: Path) -> None:
    for told, place in places(tmp_path).items():
        with pytest.raises(InputError) as caught:
            check_writable(place)
        assert told in str(caught.value)
        assert str(place) in str(caught.value)
        assert "Next: choose another path" in str(caught.value)
    (tmp_path / "nowhere").symlink_to(tmp_path / "target")
    for place in (tmp_path / "a" / "b", tmp_path / "nowhere", tmp_path, tmp_path / "file"):
        check_writable(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop", "nowhere"]


@pytest.mark.parametrize("words", [["demo"], ["build", "phantom"]])
def test_a_command_does_not_wait_for_a_place_that_cannot_be(words: list[str]) -> None:
    done = run(*words, "--out", "/proc/x", code=1)
    assert "/proc/x" in done.stderr
    assert "waiting" not in done.stderr


@pytest.mark.parametrize("out", ["/", "."])
def test_nothing_is_made_beside_a_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing can be made beside it"):
        placed(lambda out: out)(out=Path(out))


@pytest.mark.parametrize(
    "words",
    [
        ["export", "COHORT", "--to", "folds", "--out", "COHORT/ex"],
        ["info", "COHORT", "--json", "COHORT/data/facts.json"],
        ["info", "COHORT", "--json", "LINK/facts.json"],
        ["leaderboard", "--out", "COHORT"],
        ["build", "folder", "TABLE", "--out", "COHORT/inside"],
    ],
)
def test_nothing_is_written_into_a_cohort_folder(words: list[str], tmp_path: Path) -> None:
    table = write_table(tmp_path)
    cohort = build_folder(table, tmp_path / "mini", n_folds=2, jobs=1).cohort
    before = sorted(cohort.root.rglob("*"))
    (tmp_path / "way").symlink_to(cohort.root)
    places = {"COHORT": cohort.root, "LINK": tmp_path / "way", "TABLE": table}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    done = run(*words, code=1)
    assert "lies in the cohort folder" in done.stderr
    assert sorted(cohort.root.rglob("*")) == before


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    assert is_free(tmp_path)
    assert is_free(tmp_path / "missing")
    table = write_table(tmp_path / "source")
    (tmp_path / "mini").mkdir()
    cohort = build_folder(table, tmp_path / "mini", jobs=1).cohort
    (tmp_path / "out").mkdir()
    export_cohort(cohort, "nifti", tmp_path / "out")
    (tmp_path / "next").mkdir()
    withdraw(cohort, [cohort.folds().case_ids[0]], "quality", tmp_path / "next")
    with pytest.raises(InputError, match="is taken"):
        build_folder(table, tmp_path / "out", jobs=1)
    assert not is_free(tmp_path)
    assert not is_free(tmp_path / "mini" / "manifest.json")


def test_a_working_directory_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f"import os; os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    code = f"{script}; from ictmri.cli.app import main; main()"
    for words in (["build", "phantom", "--out", "x"], ["info", "x"], ["audit", "rows.csv"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "the working directory: 1 problem\n  - was removed" in done.stderr


# Locks


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP", "ESTALE", "ENOSYS"])
def test_a_disk_without_locks_gets_a_marker(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, code)

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_lock(tmp_path / "mini"):
        assert f"no locks on the disk of {tmp_path}" in capsys.readouterr().err
        with pytest.raises(TimeoutError), locked(tmp_path / ".mini.lock", "x", seconds=0.1):
            pass
        marker = tmp_path / ".mini.locked"
        assert f"if there is none, remove {marker}" in capsys.readouterr().err
        assert marker.is_file()
    assert not marker.exists()


def test_any_other_refusal_of_a_lock_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(OSError, match=r"Input/output error.*\.mini\.lock"),
        folder_lock(tmp_path / "mini"),
    ):
        pass


# Homes


NOBODY = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
# Python's own files may lie in root's home: reading is all that this user may do beyond its rights.
NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def as_nobody(arguments: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """Run a command as a user of no name and no home, as containers have; return its end and its words."""
    if subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may become somebody else")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [*NOBODY, *COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=kept | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def predictions(folder: Path) -> Path:
    lines = [f"{row.case_id},{row.label}" for row in find_folds("ictmri-phantom")[0].rows]
    path = folder / "predictions.csv"
    path.write_text("\n".join(["case_id,prediction", *lines]) + "\n")
    return path


@pytest.mark.parametrize("home", [{}, {"HOME": "/"}, {"HOME": "/nonexistent"}])
def test_scoring_needs_no_home(home: dict[str, str], open_folder: Path) -> None:
    words = ["evaluate", str(predictions(open_folder)), "--cohort", "ictmri-phantom"]
    code, said = as_nobody(words, open_folder, **home)
    assert code == 0, said
    assert "SYNTHETIC" in said
    assert [path.name for path in open_folder.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize("home", [{}, {"HOME": "/"}])
def test_building_needs_no_home(home: dict[str, str], open_folder: Path) -> None:
    table = write_table(open_folder / "source")
    for path in [open_folder / "source", *(open_folder / "source").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    words = ["build", "folder", str(table), "--out", str(open_folder / "mini"), "--jobs", "1"]
    code, said = as_nobody(words, open_folder, **home)
    assert code == 0, said
    assert "set HF_HOME to a folder that you may write to" in said
    assert (open_folder / "mini" / "manifest.json").is_file()
    assert not (open_folder / "~").exists()
    code, said = as_nobody(words, open_folder, HF_HOME=str(open_folder / "hf"))
    assert code == 0, said
    assert "warning: the datasets cache" not in said


def test_a_cache_that_cannot_be_had_is_said_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"(?s)the cache .*/file/cache.*Next: set ICTMRI_CACHE"):
        user_cache()
    for name in ("ICTMRI_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", dict[int, object]().__getitem__)
    assert find_cache() is None
    with pytest.raises(InputError, match=r"(?s)no home folder.*Next: set ICTMRI_CACHE"):
        user_cache()
    with pytest.raises(InputError, match="set HOME"):
        placed(lambda **_: None)(out=Path("~/mine"))


def test_a_file_that_ends_too_early_is_no_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(_: str) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr("ictmri.lookup.find_cohort", cut)
    monkeypatch.setattr(sys, "argv", ["ictmri", "info", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "a file ends too early (Ran out of input)" in told
    assert "Aborted" not in told
