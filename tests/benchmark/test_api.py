"""From a model to its score in Python: against scikit-learn and SciPy, and against models that cheat."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from support.commandline import run
from support.made_entries import made_entry
from support.made_predictions import probabilities, write_predictions

import ictmri
import ictmri_benchmark as bench
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import write_entry
from ictmri_benchmark.board.ranking import Contender, compare_pairs
from ictmri_benchmark.board.submission import check
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.metrics import METRICS
from ictmri_benchmark.score.mistakes import PROBABILITIES

PHANTOM = "ictmri-phantom"


def features(frame: pd.DataFrame) -> np.ndarray:
    return np.c_[frame.age, frame.sex == "male"]


def age_and_sex(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    model = LogisticRegression(max_iter=1000).fit(features(train), train.label)
    return model.predict_proba(features(test))


def uniform(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    return np.full((len(test), 4), 0.25)


# ---- cross-validation ------------------------------------------------------------------------------------


def test_cross_validation_is_scikit_learns() -> None:
    table = ictmri.cases(PHANTOM)
    theirs = cross_val_predict(
        LogisticRegression(max_iter=1000),
        features(table),
        table.label,
        cv=PredefinedSplit(table.fold),
        method="predict_proba",
    )
    ours = bench.cross_validate(age_and_sex, PHANTOM)
    assert ours.case_id.tolist() == table.case_id.tolist()
    np.testing.assert_array_equal(ours[list(PROBABILITIES)].to_numpy(), theirs)
    report = bench.evaluate(ours, PHANTOM)
    f1 = f1_score(table.label, theirs.argmax(axis=1), average="macro", zero_division=0)
    assert report.macro_f1.value == f1


def arrays(frame: pd.DataFrame) -> list[np.ndarray]:
    """Return every array that a frame leads to, however deep inside it."""
    found, waiting, seen = [], [frame], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            found.append(one)
            waiting += [one.base]
        if type(one).__module__.partition(".")[0] in {"pandas", "numpy", "builtins"}:
            waiting += [x for x in gc.get_referents(one) if type(x).__name__ != "module"]
        if len(seen) > 100_000:
            break
    return found


def test_a_model_finds_no_label_of_its_test_cases() -> None:
    """It looks where a label could be: columns, the index, attributes, and whatever the frames refer to."""
    truth = ictmri.cases(PHANTOM)
    answers = {tuple(truth.label[truth.fold == fold]) for fold in range(5)}
    subtypes = {tuple(truth.subtype[truth.fold == fold]) for fold in range(5)}

    def cheat(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        assert list(train) == ["case_id", "label", "fold", "age", "sex", "subtype"]
        assert list(test) == ["case_id", "fold", "age", "sex"]
        assert not set(train.case_id) & set(test.case_id)
        assert set(train.fold) & set(test.fold) == set()
        assert not test.attrs
        assert not train.attrs
        for frame in (train, test):
            for name in frame:
                values = frame[name].to_numpy()
                assert not any(np.shares_memory(values, a) for a in (truth.label, truth.fold))
            for array in arrays(frame):
                flat = array.ravel()
                assert flat.size not in {249, 2 * 249}  # nothing of the whole cohort
                assert tuple(flat) not in answers | subtypes
        return uniform(train, test)

    assert len(bench.cross_validate(cheat, PHANTOM)) == 249


def test_the_index_is_the_place_in_the_cohort() -> None:
    table = ictmri.cases(PHANTOM)
    measured = np.arange(249) / 249

    def look(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        for part in (train, test):
            assert (table.case_id.to_numpy()[part.index] == part.case_id).all()
        first = measured[test.index]
        return np.c_[first, 1 - first, 0 * first, 0 * first]

    found = bench.cross_validate(look, PHANTOM)
    np.testing.assert_array_equal(found.p_glioma, measured)


@pytest.mark.parametrize("form", ["column", "index", "places", "labels", "names", "list"])
def test_every_form_of_an_answer_gives_the_same(form: str) -> None:
    def answer(train: pd.DataFrame, test: pd.DataFrame) -> object:
        best = age_and_sex(train, test).argmax(axis=1)
        hot = pd.DataFrame(np.eye(4)[best], columns=list(PROBABILITIES), index=test.index)
        mixed = hot.sample(frac=1, random_state=0)
        if form == "column":
            return mixed.assign(case_id=test.case_id.loc[mixed.index])
        if form == "index":
            return mixed.set_index(test.case_id.loc[mixed.index])
        named = [ictmri.CLASSES[label] for label in best]
        return {
            "places": mixed,
            "labels": best,
            "names": np.array(named),
            "list": np.eye(4)[best].tolist(),
        }[form]

    def expected(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        return np.eye(4)[age_and_sex(train, test).argmax(axis=1)]

    one = bench.evaluate(bench.cross_validate(answer, PHANTOM), PHANTOM, n_draws=50)
    other = bench.evaluate(bench.cross_validate(expected, PHANTOM), PHANTOM, n_draws=50)
    assert one.content["pooled"] == other.content["pooled"]
    assert one.content["confusion"] == other.content["confusion"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _train, _test: np.ones((3, 4)), "its shape is (3, 4); there are 50 cases"),
        (lambda _train, _test: None, "its shape is (); there are 50 cases"),
        (lambda train, test: uniform(train, test) * 4, "index 0 and 49 more: 1, 1, 1, 1: "),
        (lambda train, test: uniform(train, test) * np.nan, "p_glioma is 'nan', not a probability"),
        (lambda train, test: uniform(train, test) * np.inf, "p_glioma is 'inf', not a probability"),
        (lambda _train, test: np.full(len(test), 4), "4 is no label"),
        (lambda _train, test: np.full(len(test), 0.5), "0.5 is no label"),
        (lambda _train, test: ["glioam"] * len(test), "did you mean 'glioma'?"),
        (lambda _train, test: test, "unknown columns 'fold', 'age', 'sex'; leave them out"),
        (lambda train, test: pd.DataFrame(uniform(train, test)), "its index names no cases"),
        (
            lambda train, _test: train.head(50).assign(prediction="rare")[
                ["case_id", "prediction"]
            ],
            "no case 'phantom-",
        ),
        (
            lambda _train, test: test.head(3).assign(prediction="rare")[["case_id", "prediction"]],
            "47 cases are missing",
        ),
    ],
)
def test_what_is_no_answer_is_refused_with_its_fold(
    answer: Callable[..., object], said: str
) -> None:
    def late(train: pd.DataFrame, test: pd.DataFrame) -> object:
        return uniform(train, test) if test.fold.iloc[0] < 2 else answer(train, test)

    with pytest.raises(InputError, match="what fit_predict returned for fold 2: ") as caught:
        bench.cross_validate(late, PHANTOM)
    assert said in str(caught.value)
    assert "Next: " in str(caught.value)


def test_answers_of_two_kinds_are_refused() -> None:
    def both(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        return uniform(train, test) if test.fold.iloc[0] else np.zeros(len(test), int)

    with pytest.raises(InputError, match="the same columns every time"):
        bench.cross_validate(both, PHANTOM)


# ---- evaluation ------------------------------------------------------------------------------------------


def test_file_frame_and_array_give_the_same_report(cohort: FoldTable, tmp_path: Path) -> None:
    values = probabilities(cohort, 0.3)
    path = write_predictions(tmp_path / "p.csv", cohort, values)
    frame = pd.read_csv(path)
    reports = [
        bench.evaluate(given, cohort, synthetic=True, n_draws=50).content
        for given in (path, str(path), frame, frame.sample(frac=1, random_state=1), values)
    ]
    for report in reports:
        del report["digests"]["predictions"]
    assert all(report == reports[0] for report in reports)


def test_a_frame_and_the_file_of_it_give_the_same_bytes(tmp_path: Path) -> None:
    frame = bench.cross_validate(age_and_sex, PHANTOM)
    frame.to_csv(tmp_path / "p.csv", index=False)
    run("evaluate", tmp_path / "p.csv", "--cohort", PHANTOM, "--json", tmp_path / "r.json")
    assert bench.evaluate(frame, PHANTOM).to_json() == (tmp_path / "r.json").read_text()


def test_a_report_has_the_metrics_of_the_table(cohort: FoldTable) -> None:
    report = bench.evaluate(probabilities(cohort, 0.3), cohort, n_draws=200)
    assert set(METRICS) <= set(dir(report))
    frame = report.to_frame()
    for name in METRICS:
        found = getattr(report, name)
        assert found.low <= found.value <= found.high
        assert found._asdict() == report.content["pooled"][name]
        assert frame.loc[name, ["value", "low", "high"]].tolist() == list(found)
        assert frame.loc[name, "fold_sd"] == report.content["fold_mean"][name]["sd"]
    assert repr(report) == report.render()
    with pytest.raises(AttributeError, match="did you mean 'macro_f1'"):
        report.macro_f2  # noqa: B018


def test_some_folds_are_scored_as_such_and_never_ranked(cohort: FoldTable, tmp_path: Path) -> None:
    values = probabilities(cohort, 0.3)
    inside = np.array(cohort.folds) == 2
    path = write_predictions(tmp_path / "p.csv", cohort, values)
    whole = bench.evaluate(path, cohort, folds=[2], n_draws=50)
    frame = pd.read_csv(path)[inside]
    others = [
        bench.evaluate(given, cohort, folds=[2], n_draws=50) for given in (frame, values[inside])
    ]
    truth = np.array(cohort.labels)[inside]
    f1 = f1_score(truth, values[inside].argmax(axis=1), average="macro", zero_division=0)
    for report in (whole, *others):
        assert report.macro_f1.value == f1
        assert (report.content["n_cases"], report.content["folds"]) == (int(inside.sum()), [2])
        assert "FOLDS 2 ALONE: NOT RANKABLE" in report.render().partition("\n")[0]
        assert "NOT RANKABLE" in report.to_latex()
        assert "never ranked" in report.content["warnings"][0]
        assert "only fold 2" in report.render()
    assert "folds" not in bench.evaluate(values, cohort, folds=range(5), n_draws=50).content
    for wrong in ([5], [], [-1]):
        with pytest.raises(InputError, match="choose of 0 to 4"):
            bench.evaluate(values, cohort, folds=wrong)


def test_a_model_trained_elsewhere_is_scored_on_all_cases_at_once(cohort: FoldTable) -> None:
    values = probabilities(cohort, 0.3)
    own = bench.evaluate(values, cohort, n_draws=50)
    found = bench.evaluate(values, cohort, n_draws=50, external="elsewhere", overlap="no")
    same = ("n_cases", "pooled", "per_class", "confusion", "selective", "subgroups", "digests")
    assert all(found.content[key] == own.content[key] for key in same)
    assert found.content["external"] == {"trained_on": "elsewhere", "overlap": "no"}
    assert found.content["fold_mean"] is None
    assert list(found.to_frame()) == ["value", "low", "high"]
    truth = np.array(cohort.labels)
    for label, name in enumerate(ictmri.CLASSES):
        whole = roc_auc_score(truth == label, values[:, label])
        ours = found.content["probabilistic"]["auroc"][name]
        assert ours == pytest.approx(whole)
        assert ours != own.content["probabilistic"]["auroc"][name]
    text = found.render()
    assert "by a model trained on elsewhere" in text
    assert "fold" not in text
    assert "no patient is in both" in found.content["warnings"][0]
    told = [
        bench.evaluate(values, cohort, n_draws=50, external=PHANTOM, overlap=overlap)
        for overlap in ("yes", "unknown")
    ]
    assert "optimistic" in told[0].content["warnings"][0]
    assert "is not known" in told[1].content["warnings"][0]
    assert "never saw a patient" in told[1].content["warnings"][1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"external": PHANTOM}, "itself is not external"),
        ({"external": " "}, "no cohort is named"),
        ({"external": "a\nb"}, "printable text"),
        ({"external": "a", "overlap": "maybe"}, "'maybe' is not yes, no or unknown"),
        ({"external": "a", "folds": [0]}, "build a cohort without them"),
        ({"overlap": "no"}, "overlap is of an external model"),
    ],
)
def test_what_is_not_external_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bench.evaluate(np.zeros(249, int), PHANTOM, **given)


def test_the_command_scores_external_models_as_python_does(tmp_path: Path) -> None:
    path, json_file = tmp_path / "p.csv", tmp_path / "r.json"
    bench.cross_validate(age_and_sex, PHANTOM).to_csv(path, index=False)
    asked = ("evaluate", path, "--cohort", PHANTOM)
    run(*asked, "--external", "--trained-on", "mine", "--overlap", "no", "--json", json_file)
    report = bench.evaluate(path, PHANTOM, external="mine", overlap="no")
    assert json_file.read_text() == report.to_json()
    assert "--trained-on NAME" in run(*asked, "--external", code=1).stderr
    board = ("leaderboard", "--cohort", PHANTOM, "--trained-on", "mine", "--json", "-")
    (row,) = json.loads(run(*board, "--with", path).stdout)["external"]
    assert (row["source"], row["overlap"], row["rank"]) == ("given", "unknown", None)
    assert row["report"]["pooled"] == report.content["pooled"]
    assert "is of --with" in run(*board, code=1).stderr
    with pytest.raises(InputError, match="no predictions are given"):
        bench.leaderboard(PHANTOM, external="mine")


def test_some_folds_cannot_be_submitted(cohort: FoldTable, tmp_path: Path) -> None:
    frame = bench.cross_validate(uniform, cohort, folds=[0, 3])
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert bench.evaluate(frame, cohort, folds=[0, 3], n_draws=50).content["folds"] == [0, 3]
    with pytest.raises(InputError, match=r"149 cases are missing \(all of fold 1, 2, 4\)"):
        check(tmp_path / "p.csv", tmp_path / "entry.yaml", cohort, synthetic=False)


def test_wrong_arrays_are_refused(cohort: FoldTable) -> None:
    for given in (np.ones((248, 4)), np.ones((249, 3)), np.ones(3), 7, "nowhere.csv"):
        with pytest.raises(InputError):
            bench.evaluate(given, cohort)  # type: ignore[arg-type]


# ---- comparison ------------------------------------------------------------------------------------------


def test_a_comparison_is_the_boards_and_scipys(cohort: FoldTable, tmp_path: Path) -> None:
    truth = np.array(cohort.labels)
    one, other = probabilities(cohort, 0.4, 1), probabilities(cohort, 0.2, 2)
    path = write_predictions(tmp_path / "other.csv", cohort, other)
    found = bench.compare(one, path, cohort)
    labels = [values.argmax(axis=1) for values in (one, other)]
    scores = [f1_score(truth, p, average="macro", zero_division=0) for p in labels]
    assert (found.first_score.value, found.second_score.value) == tuple(scores)
    assert found.difference.value == scores[0] - scores[1]
    right = [p == truth for p in labels]
    assert found.first_only == int((right[0] & ~right[1]).sum())
    assert found.second_only == int((right[1] & ~right[0]).sum())
    theirs = stats.binomtest(found.first_only, found.first_only + found.second_only).pvalue
    assert found.mcnemar_p == pytest.approx(theirs)
    draws = bootstrap(cohort, [p[None] for p in labels]).headline["macro_f1"]
    (pair,) = compare_pairs(
        cohort,
        [Contender(str(i), scores[i], labels[i][None]) for i in range(2)],
        draws,
    )
    assert found.p == pair.p
    assert tuple(found.difference) == pytest.approx((-pair.difference, -pair.high, -pair.low))
    gaps = draws[:, 0] - draws[:, 1]
    assert found.difference[1:] == pytest.approx(np.quantile(gaps, [0.025, 0.975]))
    assert found.to_frame().loc["difference", "value"] == found.difference.value
    assert (found.first, found.second) == ("first", str(path))
    back = bench.compare(path, one, cohort)
    assert back.difference.value == -found.difference.value
    assert (back.p, back.mcnemar_p) == (found.p, found.mcnemar_p)


def test_a_comparison_says_in_words_who_is_ahead(cohort: FoldTable) -> None:
    good, poor = probabilities(cohort, 0.9, 1), probabilities(cohort, 0.0, 2)
    near = good.copy()
    near[[0, 1]] = np.roll(near[[0, 1]], 1, axis=1)
    assert "second is ahead of first" in bench.compare(poor, good, cohort).render()
    assert "more than chance" in bench.compare(poor, good, cohort).render()
    assert "cannot tell the two apart" in bench.compare(good, near, cohort).render()
    assert "Both have the same" in repr(bench.compare(good, good, cohort))


def test_the_command_compares_as_python_does(tmp_path: Path) -> None:
    paths = []
    for name, model in (("a.csv", age_and_sex), ("b.csv", uniform)):
        paths.append(tmp_path / name)
        bench.cross_validate(model, PHANTOM).to_csv(paths[-1], index=False)
    said = run("compare", *paths, "--cohort", PHANTOM, "--json", tmp_path / "c.json").stdout
    found = bench.compare(*paths, PHANTOM)
    assert found.render() in said
    assert "say nothing about patients" in said
    assert (tmp_path / "c.json").read_text() == found.to_json()
    content = json.loads(found.to_json())
    assert content["schema"] == "ictmri/comparison/1"
    assert content["difference"] == found.difference._asdict()
    nowhere = tmp_path / "no.csv"
    assert "no.csv" in run("compare", paths[0], nowhere, "--cohort", PHANTOM, code=1).stderr


# ---- imports ---------------------------------------------------------------------------------------------


def test_scoring_imports_neither_torch_nor_scipy_nor_pandas() -> None:
    code = f"""
import sys
import ictmri, ictmri_benchmark as bench
assert {{"cases", "load_dataset", "CLASSES"}} <= set(dir(ictmri)) & set(ictmri.__all__)
assert {{"evaluate", "compare", "cross_validate", "Report"}} <= set(dir(bench)) & set(bench.__all__)
assert all(hasattr(bench, name) for name in bench.__all__)
assert not {{"pandas", "torch", "scipy", "datasets", "sklearn"}} & set(sys.modules)
import numpy as np
for blocked in ("torch", "scipy", "sklearn", "SimpleITK", "nibabel"):
    sys.modules[blocked] = None
predictions = bench.cross_validate(lambda _train, test: np.full((len(test), 4), 0.25), "{PHANTOM}")
bench.evaluate(predictions, "{PHANTOM}", n_draws=50).to_frame()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- the board -------------------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_own_predictions_stand_among_the_published_entries(empty: Path) -> None:
    predictions = bench.cross_validate(age_and_sex, PHANTOM)
    published = bench.leaderboard(PHANTOM)
    board = bench.leaderboard(PHANTOM, with_=predictions)
    frame = board.to_frame()
    assert isinstance(board, bench.Leaderboard)
    (row,) = frame[frame.source == "given"].to_dict("records")
    report = bench.evaluate(predictions, PHANTOM)
    assert (row["macro_f1"], row["macro_f1_low"], row["macro_f1_high"]) == report.macro_f1
    assert (row["name"], row["ranked"], row["synthetic"]) == ("yours", True, True)
    assert (
        row["rank"] == 1 + (published.to_frame().query("ranked").macro_f1 > row["macro_f1"]).sum()
    )
    assert set(frame.source) == {"shipped", "given", "ensemble"}
    assert len(frame) == len(published.to_frame()) + 1
    assert pd.isna(frame.loc[frame.source == "ensemble", "rank"]).all()
    assert "SYNTHETIC" in board.render()
    assert json.loads(board.to_json()) == json.loads(json.dumps(board.content))
    several = bench.leaderboard(PHANTOM, with_={"one": predictions, "two": np.zeros(249, int)})
    assert set(several.to_frame().query("source == 'given'").name) == {"one", "two"}
    assert everything_in(empty) == []


def test_predictions_that_are_not_valid_make_no_board(empty: Path) -> None:
    with pytest.raises(InputError, match="its shape is"):
        bench.leaderboard(PHANTOM, with_=np.zeros((3, 4)))


def test_the_clinical_board_is_of_reported_rows_and_says_how_to_be_first(empty: Path) -> None:
    board = bench.leaderboard("ictmri")
    assert board.to_frame().empty
    assert board.content["synthetic"] is False
    assert len(board.reported) == 11
    text = board.render()
    assert "No entry yet. To be the first" in text
    assert "ictmri submit predictions.csv --entry entry.yaml --cohort ictmri" in text
    assert "SYNTHETIC" not in text
    assert "91.83" in text
    assert bench.leaderboard(PHANTOM).reported == []


def test_the_command_shows_every_board_and_writes_nothing(empty: Path) -> None:
    said = run("leaderboard").stdout
    assert re.findall(r"^(ictmri\S*): 249 cases \((\w+)\)", said, re.MULTILINE) == [
        ("ictmri", "patients"),
        (PHANTOM, "SYNTHETIC"),
    ]
    assert everything_in(empty) == []


def test_the_commands_show_keep_and_withdraw_ones_own(empty: Path) -> None:
    table, _ = find_folds(PHANTOM)
    path = write_predictions(empty / "mine.csv", table, probabilities(table, 0.4))
    before = everything_in(empty)
    with_file = run("leaderboard", "--with", path).stdout
    assert re.search(r"^> .* \S*mine\.csv \(yours, not an entry\) ", with_file, re.MULTILINE)
    assert "ictmri: 249" not in with_file
    assert everything_in(empty) == before
    write_entry(empty / "entry.yaml", made_entry(table, "my-own"))
    run("submit", path, "--cohort", PHANTOM)
    assert (empty / "entries" / PHANTOM / "my-own" / "report.json").is_file()
    assert "My-Own (local)" in run("leaderboard", "--cohort", PHANTOM, "--out", "out").stdout
    page = (empty / "out" / "leaderboard.html").read_text()
    assert "My-Own" in page
    run("leaderboard", "--cohort", PHANTOM, "--out", "again")
    assert (empty / "again" / "leaderboard.html").read_text() == page
    run("entry", "export", "my-own", "--to", "model-card", "--cohort", PHANTOM, "--out", "hub")
    run("entry", "withdraw", "my-own", "--reason", "a test")
    assert "My-Own" not in run("leaderboard").stdout
    told = run("entry", "withdraw", "my-own", "--reason", "a test", code=1).stderr
    assert "entry 'my-own'" in told
    assert "--entries" in told


def test_a_file_that_names_no_case_says_to_name_the_cohort(empty: Path) -> None:
    (empty / "other.csv").write_text("case_id,prediction\nother-0001,glioma\n")
    told = run("leaderboard", "--with", "other.csv", code=1).stderr
    assert "names no case of ictmri-phantom" in told
    assert "--cohort" in told
