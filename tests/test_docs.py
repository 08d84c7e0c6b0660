"""What the documents say of this repository is so: their commands exist, and their blocks run."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import jupytext
import pytest
import typer
from support.made_cohort import write_table
from support.run_page import Block, blocks

import ictmri
import ictmri_benchmark as bench
from ictmri.build.phantom import build_phantom
from ictmri.cli.app import application

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "examples" / "first_model.py"
RUNNER = Path(__file__).parent / "support" / "run_page.py"
_TEST = re.compile(r"`(tests/[\w/]+\.py)?::(\w+)`")
_LOADED = re.compile(r'<(?:script|link|img)[^>]* (?:src|href)="https?://')
_SPAN = re.compile(r"`(ictmri [a-z][^`\\]*)`")
PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for folder in (".", "docs", "benchmark", "baselines")
    for path in sorted((REPOSITORY / folder).glob("*.md"))
    if path.name != "CHANGELOG.md"
]


def blocks_of(page: str) -> list[Block]:
    return blocks((REPOSITORY / page).read_text("utf-8"))


QUICK, LONG = (
    [page for page in PAGES if any(block.when == when for block in blocks_of(page))]
    for when in ("quick", "long")
)


def run_page(page: str, when: str, where: Path, **settings: str) -> None:
    """Run a page in an empty folder, with the packages that this process has."""
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(REPOSITORY / page), when],
        cwd=where,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


# test_packaging.py runs the other two from the wheel.
@pytest.mark.parametrize("page", sorted({*QUICK} - {"README.md", "docs/submit.md"}))
def test_the_blocks_of_a_page_run_as_they_stand(page: str, tmp_path: Path) -> None:
    run_page(page, "quick", tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom under the published name, so that a page is run as a reader runs it."""
    folder = tmp_path_factory.mktemp("home")
    build_phantom(folder / "ictmri-phantom", n_cases=8, spacing=6.0, jobs=1)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("page", LONG)
def test_the_blocks_that_need_volumes_run_as_they_stand(
    page: str, home: Path, tmp_path: Path
) -> None:
    write_table(tmp_path)
    settings = {"ICTMRI_HOME": str(home), "HF_HOME": str(tmp_path / "hf")}
    run_page(page, "long", tmp_path, **settings)


@cache
def tree() -> typer.core.TyperGroup:
    found = typer.main.get_command(application())
    assert isinstance(found, typer.core.TyperGroup)
    return found


def unknown(words: list[str]) -> list[str]:
    """Return what of a command line of ours there is not."""
    command, rest = tree(), words[1:]
    while isinstance(command, typer.core.TyperGroup) and rest:
        if rest[0] not in command.commands:
            return rest[:1]
        command, rest = command.commands[rest[0]], rest[1:]
    if command.context_settings.get("ignore_unknown_options"):
        return []
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    options = [word.split("=")[0] for word in rest if re.fullmatch("--[a-z].*", word)]
    return [word for word in options if word not in known | {"--help"}]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_there_and_has_the_options(page: str) -> None:
    lines = [words for block in blocks_of(page) for words in block.commands if words[0] == "ictmri"]
    text = (REPOSITORY / page).read_text("utf-8")
    lines += [span.split() for span in _SPAN.findall(text)]
    assert [(words, found) for words in lines if (found := unknown(words))] == []


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Links that lead nowhere and pages in no table of contents are warnings."""
    site = tmp_path / "site"
    strict = ("-q", "-W", "--keep-going", "-c", "docs", "-d", str(tmp_path / "doctrees"))
    command = [sys.executable, "-m", "sphinx", *strict, ".", str(site)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (site / "index.html").read_text() == (site / "README.html").read_text()
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    assert {name for name, page in pages.items() if _LOADED.search(page)} == set()
    assert 'id="ictmri-sealed-check-reveal"' in pages[site / "docs" / "commands.html"]
    public = {
        f"{package.__name__}.{name}" for package in (ictmri, bench) for name in package.__all__
    }
    values = {"ictmri.CLASSES", "ictmri.__version__"}
    shown = set(re.findall(r'id="(\w+\.\w+)"', pages[site / "docs" / "api.html"]))
    assert public - values - shown == set()
    for name in ("ictmri", "ictmri-phantom"):
        assert (site / "board" / name / "leaderboard.html").is_file()


def test_the_notebook_is_the_script() -> None:
    notebook = jupytext.read(EXAMPLE.with_suffix(".ipynb"))
    cells = [
        [(cell.cell_type, cell.source) for cell in made.cells]
        for made in (notebook, jupytext.read(EXAMPLE))
    ]
    assert cells[0] == cells[1]


@pytest.mark.long
def test_the_notebook_shows_what_its_cells_show(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(EXAMPLE.with_name("make_notebook.py"), tmp_path)
    subprocess.run([sys.executable, "make_notebook.py"], cwd=tmp_path, check=True)
    texts = [
        [
            output.data.get("text/plain", output.get("text"))
            for cell in jupytext.read(path).cells
            for output in cell.get("outputs", ())
        ]
        for path in (EXAMPLE.with_suffix(".ipynb"), tmp_path / "first_model.ipynb")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 6


def test_every_test_that_the_page_on_robustness_names_is_there() -> None:
    _, tables = (REPOSITORY / "docs" / "robustness.md").read_text("utf-8").split("\n## ", 1)
    file, missing, count = "", [], 0
    for named, test in _TEST.findall(tables):
        file, count = named or file, count + 1
        if f"\ndef {test}(" not in (REPOSITORY / file).read_text("utf-8"):
            missing.append(f"{file}::{test}")
    assert missing == []
    assert count > 150
