import json
import re
import shutil
from pathlib import Path

import pytest
from support.commandline import run

from ictmri_baselines.cli.methods import own_entry
from ictmri_baselines.reproduction.demo import (
    RECIPES,
    STAGES,
    TIMES,
    announced,
    run_demo,
    stage_seconds,
)

N_CASES = 20


@pytest.mark.long
def test_the_demo_goes_from_nothing_to_a_leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_demo(tmp_path / "demo", n_cases=N_CASES, profile="smoke", spacing=4.0, jobs=2)
    board = json.loads((tmp_path / "demo" / "leaderboard.json").read_text())
    assert board == done.leaderboard
    rescored = [row for row in board["entries"] if row["level"] != "R0"]
    assert len(rescored) == len(RECIPES) == 7
    assert board["synthetic"] is True
    for row in rescored:
        score = row["report"]["pooled"]["macro_f1"]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    page = done.page.read_text()
    assert "synthetic" in page.lower()
    kept = (tmp_path / "demo" / "leaderboard.json").read_bytes()
    run_demo(tmp_path / "demo", n_cases=N_CASES, profile="smoke", spacing=4.0, jobs=2)
    assert (tmp_path / "demo" / "leaderboard.json").read_bytes() == kept

    # The printed commands are those of a user who has the command on the path.
    monkeypatch.chdir(tmp_path)
    copy, *commands = own_entry(Path("demo"), Path("demo") / done.cohort.root.name)
    shutil.copy(copy[1], copy[2])
    for command in commands:
        run(*command[1:])
    again = run_demo(tmp_path / "demo", n_cases=N_CASES, profile="smoke", spacing=4.0, jobs=2)
    slugs = {row["slug"] for row in again.leaderboard["entries"] if row["report"]}
    assert slugs == {row["slug"] for row in rescored} | {"my-method"}


def test_each_stage_says_how_long_all_that_is_left_takes() -> None:
    said: list[str] = []
    begin = announced(said.append, share=0.5)
    for key in STAGES:
        begin(key)
    assert [line[:5] for line in said] == [f"[{n}/5]" for n in range(1, 6)]
    measured = json.loads(TIMES.read_text())["seconds"]
    assert list(measured) == list(STAGES)
    minutes = sum(measured.values()) / 60
    assert f"about {minutes / 2:.0f} min left" in said[0]
    assert "less than a minute left" in said[-1]
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (told,) = re.findall(r"make demo +# (\d+) minutes on 2 cores", readme)
    assert abs(int(told) - minutes) <= 1


def test_the_measured_seconds_are_those_of_two_cores() -> None:
    assert stage_seconds([0, 10, 30.4, 30.4, 50, 51], 2) == {
        "phantom": 20,
        "process": 41,
        "localize": 0,
        "methods": 39,
        "board": 2,
    }
