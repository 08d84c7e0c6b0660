import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.commandline import run
from support.made_entries import add_entry, made_entry
from support.made_predictions import probabilities, write_predictions

from ictmri import lookup
from ictmri.cohort import PHANTOM
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark import evaluate
from ictmri_benchmark.board import folders, leaderboard, ranking
from ictmri_benchmark.board.entry import (
    BenchmarkRef,
    Entry,
    load_entry,
    write_entry,
)
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.board.page import render_page
from ictmri_benchmark.board.submission import submit, withdraw_entry
from ictmri_benchmark.board.views import Leaderboard, render_table
from ictmri_benchmark.score.mistakes import PROBABILITIES
from ictmri_benchmark.score.predictions import read_predictions


def entry(cohort: FoldTable, slug: str, **changes: object) -> Entry:
    return made_entry(cohort, slug, synthetic=False, **changes)


@pytest.fixture
def entries(cohort: FoldTable, tmp_path: Path) -> Path:
    folder = tmp_path / "entries"
    for place, skill in enumerate((0.0, 0.3, 0.6)):
        add_entry(
            folder, cohort, entry(cohort, f"skill-{place}"), probabilities(cohort, skill, place)
        )
    return folder


def rescored(board: dict) -> list[dict]:
    return [row for row in board["entries"] if row["report"] is not None]


def test_entries_are_rescored_and_ranked(entries: Path, cohort: FoldTable) -> None:
    board = build_leaderboard(entries, cohort, synthetic=False)
    rows = rescored(board)
    assert [row["slug"] for row in rows] == ["skill-2", "skill-1", "skill-0"]
    assert [row["rank"] for row in rows] == [{"value": k, "low": k, "high": k} for k in (1, 2, 3)]
    for row in rows:
        alone = evaluate(entries / row["slug"] / "predictions.csv", cohort)
        assert row["report"] == alone.content
    assert rows[0]["behind_first"]["value"] == 0.0
    assert rows[1]["behind_first"]["low"] > 0


def test_equal_entries_share_the_rank(cohort: FoldTable, tmp_path: Path) -> None:
    for slug in ("a", "b", "c"):
        add_entry(tmp_path, cohort, entry(cohort, slug), probabilities(cohort, 0.4))
    rows = rescored(build_leaderboard(tmp_path, cohort, synthetic=False))
    assert [row["rank"]["value"] for row in rows] == [1, 1, 1]


def test_near_entries_have_overlapping_rank_intervals(cohort: FoldTable, tmp_path: Path) -> None:
    predicted = probabilities(cohort, 0.4).argmax(axis=1)
    for place in range(3):
        near = predicted.copy()
        near[40 * place : 40 * place + 3] = 3
        add_entry(tmp_path, cohort, entry(cohort, f"s{place}"), near)
    rows = rescored(build_leaderboard(tmp_path, cohort, synthetic=False))
    assert all(row["rank"]["low"] < 3 and row["rank"]["high"] > 1 for row in rows)


def test_a_large_board_tests_the_pairs_that_its_ranks_are_made_of(
    cohort: FoldTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same board as where each is compared with each, of fewer tests, scored a few at a time."""
    skills = (0.6, 0.58, 0.3, 0.28, 0.05, 0.04, 0.02)
    for place, skill in enumerate(skills):
        slug = f"s{(3 * place) % len(skills)}"
        add_entry(tmp_path, cohort, entry(cohort, slug), probabilities(cohort, skill, place))
    whole = build_leaderboard(tmp_path, cohort, synthetic=False)
    monkeypatch.setattr(ranking, "MOST_COMPARED", len(skills) - 1)
    monkeypatch.setattr(leaderboard, "_AT_ONCE", 2)
    large = build_leaderboard(tmp_path, cohort, synthetic=False)
    every, tested = (board["comparison"].pop("pairs") for board in (whole, large))
    assert large == whole
    tiers = [row["tier"] for row in rescored(whole)]
    assert 1 < max(tiers) < len(tiers)
    behind = [sum(tier >= first for tier in tiers) - 1 for first in range(1, max(tiers) + 1)]
    assert sum(behind) == len(tested) < len(every)
    assert all(pair in every for pair in tested)


def test_test_fold_selection_is_shown_and_not_ranked(entries: Path, cohort: FoldTable) -> None:
    described = entry(cohort, "peeked", selection="test-fold")
    add_entry(entries, cohort, described, np.array(cohort.labels))
    (row,) = [
        row
        for row in rescored(build_leaderboard(entries, cohort, synthetic=False))
        if row["slug"] == "peeked"
    ]
    assert row["ranked"] is False
    assert row["rank"] is None


def test_reported_rows_are_apart_and_never_ranked(entries: Path, cohort: FoldTable) -> None:
    board = build_leaderboard(entries, cohort, synthetic=False)
    reported = [row for row in board["entries"] if row["level"] == "R0"]
    assert len(reported) == 11
    assert all(not row["ranked"] and row["rank"] is None for row in reported)
    printed = {row["slug"]: row["reported"]["accuracy"] for row in reported}
    assert printed["paper-table2-5"] == 92.0
    assert printed["card-convnext3d"] == 78.9


def test_an_entry_for_other_folds_is_refused_with_the_reason(
    entries: Path, cohort: FoldTable
) -> None:
    other = BenchmarkRef(cohort=cohort.name, splits_sha256="0" * 64)
    add_entry(entries, cohort, entry(cohort, "stale", benchmark=other), probabilities(cohort, 0.4))
    board = build_leaderboard(entries, cohort, synthetic=False)
    assert [item["slug"] for item in board["refused"]] == ["stale"]
    assert "splits_sha256" in board["refused"][0]["reason"]
    assert "stale" in render_table(board)


def test_an_entry_of_other_data_is_shown_and_not_ranked(entries: Path, cohort: FoldTable) -> None:
    today = replace(cohort, data_sha256="b" * 64)
    bound = BenchmarkRef(cohort=cohort.name, splits_sha256=cohort.sha256)
    for slug, digest in (("of-today", "b" * 64), ("of-before", "a" * 64), ("not-named", "")):
        described = entry(cohort, slug, benchmark=bound.model_copy(update={"data_sha256": digest}))
        add_entry(entries, cohort, described, probabilities(cohort, 0.4))
    rows = {
        row["slug"]: row for row in rescored(build_leaderboard(entries, today, synthetic=False))
    }
    assert rows["of-today"]["ranked"]
    for slug in ("of-before", "not-named", "skill-0"):
        assert (rows[slug]["ranked"], rows[slug]["rank"]) == (False, None)
        assert rows[slug]["unranked"] == "other-data"
        assert rows[slug]["report"]["pooled"]["macro_f1"]["value"] > 0
    # Where the data are not known, nothing is said of them.
    assert all(
        row["ranked"] for row in rescored(build_leaderboard(entries, cohort, synthetic=False))
    )
    told = render_table(build_leaderboard(entries, today, synthetic=False))
    assert len(re.findall(r"^other data ", told, re.MULTILINE)) == 5


def test_submit_names_the_data_and_refuses_others(cohort: FoldTable, tmp_path: Path) -> None:
    today = replace(cohort, data_sha256="b" * 64)
    source = add_entry(tmp_path / "in", cohort, entry(cohort, "mine"), probabilities(cohort, 0.4))
    files = (source / "predictions.csv", source / "entry.yaml")
    done = submit(*files, today, tmp_path / "entries", synthetic=False)
    assert load_entry(done.folder / "entry.yaml").benchmark.data_sha256 == "b" * 64
    other = entry(
        cohort,
        "mine",
        benchmark=BenchmarkRef(
            cohort=cohort.name, splits_sha256=cohort.sha256, data_sha256="a" * 64
        ),
    )
    write_entry(source / "entry.yaml", other)
    with pytest.raises(InputError, match=r"data_sha256 is not that of this cohort's data, bbbb"):
        submit(*files, today, tmp_path / "entries", synthetic=False, correcting="data")


def test_a_report_of_an_earlier_protocol_is_scored_anew(
    entries: Path, cohort: FoldTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in entries.iterdir():
        report = evaluate(place / "predictions.csv", cohort)
        (place / "report.json").write_text(report.to_json())
    path = entries / "skill-1" / "report.json"
    content = json.loads(path.read_text())
    content["benchmark"]["version"] = "0.9.0"
    content["pooled"]["macro_f1"]["value"] = 0.99
    path.write_text(json.dumps(content))
    board = build_leaderboard(entries, cohort, synthetic=False)
    rows = {row["slug"]: row for row in rescored(board)}
    assert [slug for slug, row in rows.items() if row["rescored"]] == ["skill-1"]
    alone = evaluate(entries / "skill-1" / "predictions.csv", cohort)
    assert rows["skill-1"]["report"] == alone.content
    assert rows["skill-1"]["ranked"]
    assert "of an earlier protocol: Skill-1" in render_table(board)
    content["benchmark"]["version"] = "1.0.1"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"skill-1: report\.json is not what"):
        build_leaderboard(entries, cohort, synthetic=False)


def test_entries_of_an_earlier_protocol_are_ranked_and_of_a_later_one_not(
    entries: Path, cohort: FoldTable
) -> None:
    for slug, version in (("earlier", "0.9.0"), ("later", "1.0.1"), ("odd", "new")):
        bound = BenchmarkRef(cohort=cohort.name, splits_sha256=cohort.sha256, version=version)
        add_entry(entries, cohort, entry(cohort, slug, benchmark=bound), probabilities(cohort, 0.4))
    board = build_leaderboard(entries, cohort, synthetic=False)
    assert "earlier" in {row["slug"] for row in rescored(board) if row["ranked"]}
    assert [item["slug"] for item in board["refused"]] == ["later", "odd"]


def test_the_ensemble_is_the_mean_of_the_ranked_entries(cohort: FoldTable, tmp_path: Path) -> None:
    one, two = probabilities(cohort, 0.4, 1), probabilities(cohort, 0.4, 2)
    labels = probabilities(cohort, 0.5, 3).argmax(axis=1)
    seeds = [probabilities(cohort, 0.3, seed) for seed in (4, 5)]
    add_entry(tmp_path, cohort, entry(cohort, "one"), one)
    add_entry(tmp_path, cohort, entry(cohort, "labels"), labels)
    add_entry(tmp_path, cohort, entry(cohort, "peeked", selection="test-fold"), two)
    place = add_entry(tmp_path, cohort, entry(cohort, "seeds", seeds=(0, 1)), one)
    frames = [
        pd.DataFrame(values, index=cohort.case_ids, columns=list(PROBABILITIES)) for values in seeds
    ]
    pd.concat(frames, keys=[0, 1], names=["seed", "case_id"]).to_csv(place / "predictions.csv")
    board = build_leaderboard(tmp_path, cohort, synthetic=False)
    mean = (one + np.eye(4)[labels] + (seeds[0] + seeds[1]) / 2) / 3
    row = board["ensemble"]
    assert row["report"]["pooled"] == evaluate(mean, cohort).content["pooled"]
    assert (row["ranked"], row["rank"], row["unranked"]) == (False, None, "ensemble")
    assert row["name"] == "Ensemble of all 3 ranked entries"
    assert row["slug"] not in {slug for pair in board["comparison"]["pairs"] for slug in pair[:2]}
    assert row["slug"] not in {row["slug"] for row in board["entries"]}
    assert re.search(r"^ensemble +Ensemble of all 3", render_table(board), re.MULTILINE)


def test_one_entry_makes_no_ensemble(cohort: FoldTable, tmp_path: Path) -> None:
    add_entry(tmp_path, cohort, entry(cohort, "one"), probabilities(cohort, 0.4))
    assert build_leaderboard(tmp_path, cohort, synthetic=False)["ensemble"] is None


def test_given_predictions_are_ranked_among_the_entries_and_are_none(
    entries: Path, cohort: FoldTable, tmp_path: Path
) -> None:
    path = write_predictions(tmp_path / "mine.csv", cohort, probabilities(cohort, 0.45, 9))
    before = build_leaderboard(entries, cohort, synthetic=False)
    read = read_predictions(path, cohort)
    board = build_leaderboard(entries, cohort, synthetic=False, given={"mine.csv": read})
    rows = rescored(board)
    assert [row["source"] for row in rows] == ["local", "given", "local", "local"]
    assert (rows[1]["name"], rows[1]["rank"]["value"]) == ("mine.csv", 2)
    assert rows[1]["report"] == evaluate(path, cohort).content
    assert board["ensemble"] == before["ensemble"]
    assert board["missed"] == before["missed"]
    (line,) = (line for line in render_table(board).splitlines() if line.startswith(">"))
    assert "mine.csv (yours, not an entry)" in line
    assert "3 ranked entries" in render_table(board)


def test_a_model_trained_elsewhere_stands_apart_and_changes_nothing(
    entries: Path, cohort: FoldTable
) -> None:
    before = build_leaderboard(entries, cohort, synthetic=False)
    best, told = np.array(cohort.labels), {"trained_on": "elsewhere", "overlap": "yes"}
    place = add_entry(entries, cohort, entry(cohort, "far", **told), best)
    peeked = entry(cohort, "far-peeked", trained_on="elsewhere", selection="test-fold")
    add_entry(entries, cohort, peeked, best)
    board = build_leaderboard(entries, cohort, synthetic=False)
    assert {**board, "external": []} == before
    one, other = board["external"]
    assert [one[key] for key in ("slug", "ranked", "rank", "tier")] == ["far", False, None, None]
    assert (one["unranked"], other["unranked"]) == ("external", "test-fold")
    assert (one["trained_on"], one["overlap"], other["overlap"]) == ("elsewhere", "yes", "unknown")
    report = evaluate(place / "predictions.csv", cohort, external="elsewhere", overlap="yes")
    assert one["report"] == report.content

    shown = Leaderboard(board)
    ranked, apart = shown.render().split("External validation: trained elsewhere, not")
    assert "Far" not in ranked
    apart = apart.split("Reported in papers")[0]
    assert re.search(r"Far .*1\.000 \[1\.000, 1\.000\].* elsewhere +yes", apart)
    rows = list(csv.DictReader(io.StringIO(shown.table().csv())))
    assert [row["trained on"] for row in rows] == [""] * 4 + ["elsewhere"] * 2
    assert [row["rank"] for row in rows[4:]] == ["external", "unranked"]
    frame = shown.to_frame()
    assert list(frame.index[-2:]) == ["far", "far-peeked"]
    assert frame["rank"][frame.trained_on != ""].isna().all()

    add_entry(entries, cohort, entry(cohort, "own", trained_on=cohort.name), best)
    (refused,) = build_leaderboard(entries, cohort, synthetic=False)["refused"]
    assert f"trained_on is {cohort.name!r} itself" in refused["reason"]


def test_a_board_of_external_entries_alone(cohort: FoldTable, tmp_path: Path) -> None:
    described = entry(cohort, "far", trained_on="elsewhere")
    add_entry(tmp_path, cohort, described, probabilities(cohort, 0.4))
    board = build_leaderboard(tmp_path, cohort, synthetic=False)
    assert rescored(board) == []
    assert "No entry yet" in render_table(board)
    assert "External validation" in render_table(board)
    page = render_page(board)
    assert page.count('href="#entry-far"') == page.count('id="entry-far"') == 1


def test_submit_carries_where_a_model_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By commands alone, from the new entry to the board; entry.yaml says of which cohort it is."""
    monkeypatch.chdir(tmp_path)
    table, _ = find_folds(PHANTOM)
    write_predictions(tmp_path / "p.csv", table, probabilities(table, 0.5))
    who = ("--name", "Far", "--author", "A", "--trained-on", "elsewhere")
    new = run("entry", "new", "--cohort", PHANTOM, *who, "--set", "overlap=no")
    assert "Next: ictmri submit predictions.csv --entry entry.yaml\n" in new.stdout
    done = run("submit", "p.csv", "--entry", "entry.yaml")
    assert "by a model trained on elsewhere" in done.stdout
    assert "fold mean" not in done.stdout
    board = json.loads(run("leaderboard", "--cohort", PHANTOM, "--json", "-").stdout)
    assert [(row["slug"], row["source"]) for row in board["external"]] == [("far", "local")]
    card = run("entry", "export", "far", "--to", "model-card", "--out", "hub")
    assert "scores of far on a SYNTHETIC phantom" in card.stdout
    told = (tmp_path / "hub" / "README.md").read_text()
    assert "external predictions (trained on elsewhere, overlap no)" in told
    assert "out-of-fold" not in told
    run("entry", "export", "far", "--to", "every-eval-ever", "--out", "hub")
    (path,) = (tmp_path / "hub" / "data").rglob("*.json")
    assert "trained on elsewhere" in path.read_text()
    assert "never saw it" not in path.read_text()
    assert "no entry 'nil'" in run("entry", "export", "nil", "--to", "model-card", "--entries",
        "entries/ictmri-phantom", "--out", "x", code=1).stderr  # fmt: skip
    assert (
        "is no entry of any board"
        in run("entry", "export", "nil", "--to", "model-card", "--out", "x", code=1).stderr
    )


def test_a_cohort_that_is_named_twice_is_the_same(cohort: FoldTable, tmp_path: Path) -> None:
    place = add_entry(tmp_path, cohort, entry(cohort, "mine"), probabilities(cohort, 0.4))
    path = place / "predictions.csv"
    told = run("submit", path, "--cohort", PHANTOM, code=1).stderr
    assert f"benchmark.cohort is '{cohort.name}', not '{PHANTOM}'" in told
    told = run("submit", path, code=1).stderr
    assert f"benchmark.cohort {cohort.name!r}: no folder and no cohort of this name" in told
    assert "--cohort FOLDER" in told


def test_predictions_of_several_cohorts_are_not_one_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "board_cohorts", lambda: [PHANTOM, str(tmp_path / "folds.csv")])
    monkeypatch.setattr(
        lookup, "find_folds", lambda name: (SimpleNamespace(case_ids=[Path(name).stem]), False)
    )
    for name, case in (("a", PHANTOM), ("b", "folds"), ("c", PHANTOM)):
        (tmp_path / name).write_text(f"case_id,prediction\n{case},glioma\n")
    a, b, c = (tmp_path / name for name in "abc")
    assert folders.chosen_cohorts([a, c], None) == [PHANTOM]
    with pytest.raises(InputError, match=f"a is of {PHANTOM}\n.*b is of .*folds.csv"):
        folders.chosen_cohorts([a, b], None)
    (tmp_path / "d").write_bytes(b"PAR1\x15\x04\x15")
    with pytest.raises(InputError, match="Parquet file, not a CSV"):
        folders.chosen_cohorts([tmp_path / "d"], None)


def test_published_and_own_entries_stand_together(
    cohort: FoldTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "shipped", lambda name: tmp_path / "published" / name)
    published, own = folders.shipped_entries(cohort.name), tmp_path / "entries" / cohort.name
    for place, slug, seed in ((published, "theirs", 1), (own, "mine", 2), (published, "both", 3)):
        hand_in_seed(tmp_path / "in", cohort, slug, place, seed)
    board = build_leaderboard([published, own], cohort, synthetic=False)
    assert {row["slug"]: row["source"] for row in rescored(board)} == {
        "theirs": "shipped",
        "mine": "local",
        "both": "shipped",
    }
    assert [event["slug"] for event in board["ledger"]] == ["theirs", "both", "mine"]
    assert "Mine (local)" in render_table(board)
    with pytest.raises(InputError, match="a published entry has this slug"):
        hand_in_seed(tmp_path / "in", cohort, "both", own, 4)
    shutil.copytree(published / "both", own / "both")
    (own / "ledger.csv").unlink()
    board = build_leaderboard([published, own], cohort, synthetic=False)
    told = "a published entry has this slug"
    assert board["refused"] == [{"slug": "both", "reason": told}]


def test_an_edited_report_is_an_error_that_names_the_entry(
    entries: Path, cohort: FoldTable
) -> None:
    report = evaluate(entries / "skill-1" / "predictions.csv", cohort)
    path = entries / "skill-1" / "report.json"
    path.write_text(report.to_json())
    build_leaderboard(entries, cohort, synthetic=False)
    content = json.loads(path.read_text())
    content["pooled"]["macro_f1"]["value"] = 0.99
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"skill-1: report\.json is not what"):
        build_leaderboard(entries, cohort, synthetic=False)


def test_regenerating_changes_nothing(entries: Path, cohort: FoldTable, tmp_path: Path) -> None:
    for name in ("first", "second"):
        board = build_leaderboard(entries, cohort, synthetic=True)
        write_leaderboard(tmp_path / name, board)
    for file in ("leaderboard.json", "leaderboard.html"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("first", "second"))
        assert first == second


def test_submit_writes_an_entry_that_the_board_takes(cohort: FoldTable, tmp_path: Path) -> None:
    source = add_entry(tmp_path / "mine", cohort, entry(cohort, "mine"), probabilities(cohort, 0.4))
    done = submit(
        source / "predictions.csv",
        source / "entry.yaml",
        cohort,
        tmp_path / "entries",
        synthetic=False,
    )
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "entry.yaml",
        "predictions.csv",
        "report.json",
    ]
    assert len(rescored(build_leaderboard(tmp_path / "entries", cohort, synthetic=False))) == 1


def test_submit_names_the_problems_of_both_files(cohort: FoldTable, tmp_path: Path) -> None:
    wrong = entry(cohort, "mine", claimed={"macro_f1": 0.99, "f2": 0.5}, seeds=(0, 1))
    source = add_entry(tmp_path / "mine", cohort, wrong, probabilities(cohort, 0.4))
    arguments = (source / "predictions.csv", source / "entry.yaml", cohort, tmp_path / "entries")
    with pytest.raises(InputError) as caught:
        submit(*arguments, synthetic=False)
    text = "\n".join(caught.value.problems)
    for part in ("claimed.macro_f1 is 0.99, recomputed is", "claimed.f2: no such", "seeds are"):
        assert part in text
    (source / "predictions.csv").write_text("case_id,prediction\nmini-0000,nonsense\n")
    (source / "entry.yaml").write_text("slug: No Slug\n")
    with pytest.raises(InputError) as caught:
        submit(*arguments, synthetic=False)
    text = "\n".join(caught.value.problems)
    assert "entry.yaml: slug" in text
    assert "predictions.csv: row 2: unknown class" in text
    assert not (tmp_path / "entries").exists()


@pytest.mark.parametrize("slug", ["../up", "a/b", "A", "", "a--b", "-a", "a" * 61])
def test_slugs_that_could_be_paths_are_refused(
    slug: str, cohort: FoldTable, tmp_path: Path
) -> None:
    write_entry(tmp_path / "entry.yaml", entry(cohort, "fine"))
    text = (tmp_path / "entry.yaml").read_text().replace("slug: fine", f"slug: '{slug}'")
    (tmp_path / "entry.yaml").write_text(text)
    with pytest.raises(InputError, match="slug"):
        load_entry(tmp_path / "entry.yaml")


def test_an_entry_survives_the_round_trip(cohort: FoldTable, tmp_path: Path) -> None:
    described = entry(cohort, "mine", claimed={"accuracy": 0.5}, external=("weights X",))
    write_entry(tmp_path / "entry.yaml", described)
    assert load_entry(tmp_path / "entry.yaml") == described


def test_an_empty_folder_says_what_to_do(cohort: FoldTable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no entry in this folder"):
        build_leaderboard(tmp_path, cohort, synthetic=False)


def hand_in_seed(place: Path, cohort: FoldTable, slug: str, entries: Path, seed: int) -> None:
    source = add_entry(place, cohort, entry(cohort, slug), probabilities(cohort, 0.4, seed))
    submit(source / "predictions.csv", source / "entry.yaml", cohort, entries, synthetic=False)


def hand_in(place: Path, cohort: FoldTable, slug: str, entries: Path, **how: str) -> None:
    source = add_entry(place, cohort, entry(cohort, slug), probabilities(cohort, 0.4))
    given = (source / "predictions.csv", source / "entry.yaml")
    submit(*given, cohort, entries, synthetic=False, **how)  # type: ignore[arg-type]


@pytest.fixture
def runs(entries: Path) -> Path:
    """Entries as ``ictmri reproduce`` leaves them: each with its run.json, none in a ledger."""
    for place in entries.iterdir():
        (place / "run.json").write_text("{}")
    return entries


def slugs(entries: Path, cohort: FoldTable) -> set[str]:
    return {row["slug"] for row in rescored(build_leaderboard(entries, cohort, synthetic=False))}


def test_an_entry_of_ones_own_stands_beside_runs(
    runs: Path, cohort: FoldTable, tmp_path: Path
) -> None:
    hand_in(tmp_path, cohort, "mine", runs)
    assert slugs(runs, cohort) == {"mine", "skill-0", "skill-1", "skill-2"}
    hand_in(tmp_path, cohort, "mine", runs, correcting="another seed")
    withdraw_entry(runs, "mine", "by mistake")
    assert slugs(runs, cohort) == {"skill-0", "skill-1", "skill-2"}
    (runs / "skill-1" / "run.json").unlink()
    with pytest.raises(InputError, match=r"skill-1: not in ledger\.csv"):
        build_leaderboard(runs, cohort, synthetic=False)


def test_a_run_is_neither_corrected_nor_withdrawn(
    runs: Path, cohort: FoldTable, tmp_path: Path
) -> None:
    before = (runs / "skill-1" / "predictions.csv").read_bytes()
    for how in ({}, {"correcting": "better"}):
        with pytest.raises(InputError, match="run of ictmri reproduce") as caught:
            hand_in(tmp_path, cohort, "skill-1", runs, **how)
        assert "another slug" in caught.value.next_step
    with pytest.raises(InputError, match="nobody submitted") as caught:
        withdraw_entry(runs, "skill-1", "x")
    assert (runs / "skill-1" / "predictions.csv").read_bytes() == before
    assert not (runs / "ledger.csv").exists()


def test_runs_may_lie_in_folders_of_any_name(runs: Path, cohort: FoldTable, tmp_path: Path) -> None:
    (runs / "skill-2").rename(runs / "my-run")
    assert "skill-2" in slugs(runs, cohort)
    with pytest.raises(InputError, match="run of ictmri reproduce") as caught:
        hand_in(tmp_path, cohort, "skill-2", runs)
    assert caught.value.subject == str(runs / "my-run")
    hand_in(tmp_path, cohort, "mine", runs)
    assert slugs(runs, cohort) == {"mine", "skill-0", "skill-1", "skill-2"}
    other = BenchmarkRef(cohort=cohort.name, splits_sha256="0" * 64)
    stale = add_entry(
        runs, cohort, entry(cohort, "stale", benchmark=other), probabilities(cohort, 0.4)
    )
    (stale / "run.json").write_text("{}")
    stale.rename(runs / "old")
    assert build_leaderboard(runs, cohort, synthetic=False)["refused"][0]["slug"] == "stale"
    (runs / "mine").rename(runs / "yours")
    with pytest.raises(InputError, match=r"yours: .* calls itself 'mine'"):
        build_leaderboard(runs, cohort, synthetic=False)


def test_two_folders_of_one_slug_are_named(runs: Path, cohort: FoldTable) -> None:
    shutil.copytree(runs / "skill-2", runs / "again")
    with pytest.raises(InputError, match="skill-2: its slug 'skill-2' is that of again"):
        build_leaderboard(runs, cohort, synthetic=False)


def test_a_folder_above_the_entries_says_where_they_are(entries: Path, cohort: FoldTable) -> None:
    with pytest.raises(InputError, match="no entry") as caught:
        build_leaderboard(entries.parent, cohort, synthetic=False)
    assert caught.value.next_step == f"give {entries}"
