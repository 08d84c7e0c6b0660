import json
from pathlib import Path

import pytest

from ictmri_baselines.reproduction.demo import RECIPES, run_demo
from ictmri_benchmark.board.submission import submit

N_CASES = 20


@pytest.mark.long
def test_the_demo_goes_from_nothing_to_a_leaderboard(tmp_path: Path) -> None:
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

    given = tmp_path / "entry.yaml"
    entries = tmp_path / "demo" / "entries"
    described = (entries / "controls-age-sex" / "entry.yaml").read_text()
    given.write_text(described.replace("slug: controls-age-sex", "slug: mine"))
    predictions = entries / "controls-age-sex" / "predictions.csv"
    submit(predictions, given, done.cohort.scored_folds(), entries, synthetic=True)
    again = run_demo(tmp_path / "demo", n_cases=N_CASES, profile="smoke", spacing=4.0, jobs=2)
    slugs = {row["slug"] for row in again.leaderboard["entries"] if row["level"] != "R0"}
    assert slugs == {row["slug"] for row in rescored} | {"mine"}
