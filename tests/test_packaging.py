"""What is installed from a wheel works away from the checkout, and the core without any extra."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
import yaml
from filelock import FileLock
from support.made_cohort import build_phantom
from support.made_reports import hand_in
from support.shared_folders import shared_folder

from ictmri.cli.app import application
from ictmri.extras import MODULES
from ictmri.lookup import find_folds
from ictmri_benchmark.board.submission import submit

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, as an installer lays it down; made of what a Dockerfile may see."""
    folder = tmp_path_factory.mktemp("wheel")
    everything, *kept = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert everything == "*"
    (folder / "source").mkdir()
    for name in (line.removeprefix("!") for line in kept):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / "source" / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=folder / "source",
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
        "import ictmri, ictmri.io.resources as r;"
        "from ictmri_baselines.registry import recipe_ids;"
        "print(ictmri.__file__);"
        "print(*(r.shipped(n).exists() for n in ('splits', 'reported.yaml', 'card.md.j2', 'entries')));"
        "print(len(recipe_ids()))"
    )
    where, found, recipes = python(installed, code, tmp_path).splitlines()
    assert Path(where).is_relative_to(installed)
    assert found == "True True True True"
    assert int(recipes) == len(list((REPOSITORY / "baselines" / "recipes").rglob("*.yaml")))


def test_the_board_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "import ictmri_benchmark as bench;"
        "print(*bench.leaderboard('ictmri-phantom').to_frame().query('ranked').index)"
    )
    entries = (REPOSITORY / "benchmark" / "entries" / "ictmri-phantom").glob("*/entry.yaml")
    shown = python(installed, code, tmp_path).split()
    assert sorted(shown) == sorted(path.parent.name for path in entries)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", ["README.md", "docs/submit.md"])
def test_scoring_works_from_the_wheel_as_the_pages_say(
    page: str, installed: Path, tmp_path: Path
) -> None:
    code = f"from support.run_page import Path, run; run(Path({str(REPOSITORY / page)!r}))"
    python(installed, f"import sys; sys.path.append({str(TESTS)!r}); {code}", tmp_path)


# ---- the core alone, installed as the forge does it ------------------------------------------------------

GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{
        f"GIT_{who}_{what}": "a@b.c"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}
WORKFLOW = ".github/workflows/entries.yml"
EXTRAS = {
    "build clinical": "build",
    "build folder": "build",
    "build phantom": "phantom",
    "demo": "baselines",
    "explain": "baselines",
    "export": "phantom",
    "localize": "baselines",
    "predict": "baselines",
    "process": "baselines",
    "publish-model": "baselines",
    "reproduce": "baselines",
    "sealed init": "sealed",
    "sealed key": "sealed",
    "train-detector": "baselines",
}
"""Commands that need an extra, which they name."""
TRIED = """
import contextlib, io, json, sys, traceback
from ictmri.cli.app import main
answers = {}
for name, words in json.load(sys.stdin).items():
    sys.argv, said = ["ictmri", *words], io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = traceback.print_exc()
    answers[name] = (code, said.getvalue())
print(json.dumps(answers))
"""


def sh(command: str, where: Path, **settings: str) -> str:
    """Run shell lines as a forge does, in an empty home, with the registry that this machine has."""
    left_out = ("PYTHON", "ICTMRI", "HF_", "XDG_", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    home = where.parent / "home"
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=where,
        env={**kept, **GIT, "PATH": path, "HOME": str(home), "PIP_NO_COMPILE": "1", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_of_the_workflow() -> list[str]:
    (job,) = yaml.safe_load((REPOSITORY / WORKFLOW).read_text())["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the workflow's own lines ran, up to the one that writes to the forge."""
    folder = shared_folder(tmp_path_factory, "forge")
    clone = folder / "clone"
    with FileLock(folder / "lock"):
        if not (clone / "comment.md").is_file():
            _contribute(folder)
            sh("git clone --quiet origin clone", folder)
            *lines, told = lines_of_the_workflow()
            assert told.startswith("gh pr comment")
            for line in lines:
                sh(line, clone, NUMBER="7")
    return clone


def _contribute(folder: Path) -> None:
    """Make the repository with a contribution of one entry, as pull request 7."""
    origin = folder / "origin"
    shutil.rmtree(origin, ignore_errors=True)
    shutil.rmtree(folder / "clone", ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, done.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, origin / name)
    sh("git init -q -b main && git add -A && git commit -qm base && git switch -qc new", origin)
    cohort, synthetic = find_folds("ictmri-phantom")
    given = hand_in(folder / "given", cohort, "three")
    submit(*given, cohort, origin / "benchmark" / "entries" / cohort.name, synthetic=synthetic)
    sh("git add benchmark && git commit -qm new && git update-ref refs/pull/7/head new", origin)
    sh("git switch -q main && git branch -qD new", origin)


@pytest.mark.long
def test_the_forges_workflow_scores_a_contribution_as_it_is_written(forge: Path) -> None:
    comment = (forge / "comment.md").read_text()
    assert "| `three` | 0." in comment
    assert "say nothing about patients" in comment
    installed = set(
        json.loads(
            sh(".venv/bin/python -m pip list --format json", forge),
            object_hook=lambda d: d["name"].lower(),
        )
    )
    assert not installed & {"scipy", "simpleitk", "torch", "scikit-learn", "pillow"}


def commands(command: typer.core.TyperGroup, *names: str) -> list[str]:
    found = []
    for name, inner in command.commands.items():
        deeper = isinstance(inner, typer.core.TyperGroup)
        found += commands(inner, *names, name) if deeper else [" ".join((*names, name))]
    return found


@pytest.mark.long
def test_every_command_of_the_core_works_or_names_its_extra(forge: Path, tmp_path: Path) -> None:
    where = tmp_path / "empty"
    where.mkdir()
    cohort, _ = find_folds("ictmri-phantom")
    given = hand_in(tmp_path / "given", cohort, "three")
    small = tmp_path / "small"
    subprocess.run(
        [sys.executable, "-c", "from ictmri.cli.app import main; main()", *build_phantom(small)],
        check=True,
        capture_output=True,
    )
    shutil.copy(REPOSITORY / "benchmark" / "audit" / "paper.csv", where)
    phantom = ("--cohort", "ictmri-phantom")
    words: dict[str, list[object]] = {
        "info": ["ictmri-phantom"],
        "list": [],
        "evaluate": [given[0], *phantom],
        "compare": [given[0], given[0], *phantom],
        "submit": [given[0], "--entry", given[1], *phantom],
        "leaderboard": phantom,
        "audit": ["paper.csv"],
        "gate": ["FETCH_HEAD", "--repository", forge],
        "entry schema": [],
        "entry new": [*phantom, "--out", "mine.yaml"],
        "entry export": ["three", "--to", "model-card", "--out", "hub", *phantom],
        "entry withdraw": ["three", "--reason", "a mistake"],
        "codabench": ["bundle.zip", "--start", "2027-01-15", *phantom],
        "verify": [small],
        "facts": [small],
        "erratum": [small, "A word."],
        "withdraw": [small, "phantom-0001", "--reason", "consent", "--out", "less"],
        "publish": [small, "--repo-id", "a/b", "--dry-run"],
        "publish-model": ["x", "--repo-id", "a/b", "--dry-run"],
        "build phantom": ["--out", "x"],
        "build folder": ["table.csv", "--out", "x"],
        "build clinical": ["--out", "x"],
        "demo": [],
        "export": ["ictmri-phantom", "--to", "bids", "--out", "x"],
        "process": [small],
        "localize": [small],
        "reproduce": ["controls/majority", "--cohort", small, "--out", "x"],
        "explain": ["x", "--cohort", small],
        "predict": ["scan.nii.gz", "--model", "x"],
        "train-detector": ["--out", "x"],
        "sealed init": ["x"],
        "sealed key": ["x.key"],
    }
    every = commands(typer.main.get_command(application()))  # type: ignore[arg-type]
    assert [n for n in every if n not in words and not n.startswith("sealed ")] == []
    tried = {name: [*name.split(), *map(str, rest)] for name, rest in words.items()}
    (tmp_path / "tried.json").write_text(json.dumps(tried))
    (tmp_path / "try.py").write_text(TRIED)
    said = sh(f"{forge}/.venv/bin/python ../try.py < ../tried.json", where)
    for name, (code, text) in json.loads(said).items():
        assert "Traceback" not in text, text
        if name in EXTRAS:
            assert (code, f'pip install "ictmri[{EXTRAS[name]}]"' in text) == (1, True), (
                name,
                text,
            )
        else:
            assert code == 0, (name, text)
    load = "from ictmri import load_dataset; load_dataset('{}', fold=0)['train'][0]['image'].nifti_image"
    sh(f'{forge}/.venv/bin/python -c "{load.format(small)}"', where)
    told = sh(f'{forge}/.venv/bin/python -c "{load.format("ictmri-phantom")}" 2>&1 || true', where)
    assert "MissingDependencyError" in told
    assert 'pip install "ictmri[phantom]"' in told


def test_what_workflows_use_is_pinned_to_a_commit() -> None:
    used = [
        step["uses"]
        for path in (REPOSITORY / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if "uses" in step
    ]
    assert len(used) >= 9
    assert [name for name in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []


def test_extras_bring_the_modules_that_are_said_to_need_them() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    homes = importlib.metadata.packages_distributions()
    for extra, modules in MODULES.items():
        wanted = " ".join(extras["optional-dependencies"][extra]).lower().replace("_", "-")
        for module in modules:
            assert any(home.lower().replace("_", "-") in wanted for home in homes[module]), (
                extra,
                module,
            )
