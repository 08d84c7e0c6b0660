"""Figures and tables of a board: its numbers, marked, the same bytes twice, and no foreign command."""

import copy
import csv
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from support.made_board import made_board, with_text

from ictmri.errors import InputError, MissingDependencyError
from ictmri_benchmark.outlets.figures import write_figures

NAMES = ("forest", "ablation", "backbones", "confusion")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_board(tmp_path_factory.mktemp("entries"))


@pytest.fixture(scope="module")
def written(board: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in write_figures(tmp_path_factory.mktemp("out"), board)}


def scored(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in board["entries"] if row["report"] is not None]


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def said(path: Path) -> str:
    """What an SVG draws as text: matplotlib leaves it as comments beside the outlines."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text(), re.DOTALL))


def test_every_figure_is_there_in_print_quality_and_marked(written: dict[str, Path]) -> None:
    assert set(written) == {
        f"{name}.{end}" for name in NAMES for end in ("svg", "png", "csv", "tex")
    }
    for name in NAMES:
        ElementTree.parse(written[f"{name}.svg"])
        assert "SYNTHETIC" in said(written[f"{name}.svg"])
        with Image.open(written[f"{name}.png"]) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert image.width >= 1200
        assert "SYNTHETIC" in written[f"{name}.tex"].read_text()
        assert {row["synthetic"] for row in cells(written[f"{name}.csv"])} == {"true"}


def test_the_numbers_are_the_boards(board: dict[str, Any], written: dict[str, Path]) -> None:
    rows = {row["slug"]: row for row in scored(board)}
    for line, row in zip(cells(written["forest.csv"]), scored(board), strict=True):
        pooled = row["report"]["pooled"]["macro_f1"]
        assert float(line["macro F1 low"]) == pooled["low"]
        shown = f"{pooled['value']:.3f} [{pooled['low']:.3f}, {pooled['high']:.3f}]"
        assert shown in said(written["forest.svg"])
        assert row["name"] in said(written["forest.svg"])
    ablation = cells(written["ablation.csv"])
    slugs = ("table2-1", "table2-2", "table2-5")
    for line, slug in zip(ablation, slugs, strict=True):
        pooled = rows[slug]["report"]["pooled"]
        values = [pooled[f"macro_{key}"]["value"] for key in ("precision", "recall", "f1")]
        values.append(pooled["accuracy"]["value"])
        assert [float(line[key]) for key in ("precision", "recall", "f1", "accuracy")] == values
        assert float(line["average"]) == pytest.approx(sum(values) / 4)
    confusion = cells(written["confusion.csv"])
    counts = [[int(line[name]) for name in list(line)[1:-1]] for line in confusion]
    assert counts == rows["table2-5"]["report"]["confusion"]
    assert "predicted" in said(written["confusion.svg"])


def test_reported_numbers_are_in_none(board: dict[str, Any], written: dict[str, Path]) -> None:
    everything = " ".join(
        said(path) if path.suffix == ".svg" else path.read_text()
        for path in written.values()
        if path.suffix != ".png"
    )
    reported = [row for row in board["entries"] if row["report"] is None]
    assert reported
    assert not [row["name"] for row in reported if row["name"] in everything]


def test_the_same_board_gives_the_same_bytes_whatever_the_users_style(
    board: dict[str, Any], written: dict[str, Path], tmp_path: Path
) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.facecolor": "red"}):
        again = write_figures(tmp_path, board)
        assert mpl.rcParams["font.size"] == 20
    for path in again:
        assert path.read_bytes() == written[path.name].read_bytes(), path.name


def test_names_are_text_in_a_figure_and_in_latex(board: dict[str, Any], tmp_path: Path) -> None:
    changed = with_text(board, r"$\frac{ \input{/etc/passwd} <b>&amp; 100 %")
    for path in write_figures(tmp_path, changed):
        if path.suffix == ".svg":
            ElementTree.parse(path)
    text = (tmp_path / "forest.tex").read_text()
    assert r"\input" not in text
    assert r"\frac" not in text


def test_a_real_board_is_not_marked_and_what_is_not_there_is_not_drawn(
    board: dict[str, Any], tmp_path: Path
) -> None:
    changed = copy.deepcopy(board) | {"synthetic": False, "cohort": "ictmri"}
    changed["entries"] = [row for row in changed["entries"] if not row["slug"].startswith("table")]
    names = {path.name: path for path in write_figures(tmp_path, changed)}
    assert {name.split(".")[0] for name in names} == {"forest", "confusion"}
    assert "SYNTHETIC" not in said(names["forest.svg"])
    assert {row["synthetic"] for row in cells(names["forest.csv"])} == {"false"}
    changed["entries"] = [row for row in changed["entries"] if row["report"] is None]
    with pytest.raises(InputError, match="no scored entry"):
        write_figures(tmp_path / "none", changed)
    assert not (tmp_path / "none").exists()


def test_without_matplotlib_the_extra_is_named(
    board: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("ictmri.extras.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="figures"):
        write_figures(tmp_path / "out", board)
    assert not (tmp_path / "out").exists()


def test_the_command_draws_boards_that_have_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ictmri.cli.app import main

    monkeypatch.chdir(tmp_path)
    for cohort, code, told in (("ictmri-phantom", 0, "forest"), ("ictmri", 1, "no scored entry")):
        command = ["ictmri", "leaderboard", "--cohort", cohort, "--figures", "drawn"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == code
        assert told in "".join(capsys.readouterr())
    assert {path.suffix for path in (tmp_path / "drawn").iterdir()} == {
        *(".svg", ".png", ".csv", ".tex")
    }
    assert "SYNTHETIC" in (tmp_path / "drawn" / "forest.tex").read_text()
