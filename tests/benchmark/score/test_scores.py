import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from support.made_predictions import probabilities, write_predictions

from ictmri.folds import FoldTable
from ictmri_benchmark import evaluate
from ictmri_benchmark.score.intervals import bootstrap, draws
from ictmri_benchmark.score.metrics import confusion, headline, per_class
from ictmri_benchmark.score.probabilistic import brier, log_loss

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def sklearn_headline(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    report = metrics.classification_report(
        truth, predicted, labels=range(4), zero_division=0, output_dict=True
    )
    macro = report["macro avg"]
    return {
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "macro_f1": macro["f1-score"],
        "accuracy": metrics.accuracy_score(truth, predicted),
    }


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LABELS)
def test_scores_equal_scikit_learns_to_the_last_bit(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, dtype=np.int64).T
    ours = headline(confusion(truth, predicted))
    assert {name: float(value) for name, value in ours.items()} == sklearn_headline(
        truth, predicted
    )


@settings(max_examples=100)
@given(LABELS)
def test_class_scores_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, dtype=np.int64).T
    theirs = metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(4), zero_division=0
    )
    ours = per_class(confusion(truth, predicted))
    for name, values in zip(("precision", "recall", "f1"), theirs, strict=False):
        assert (ours[name] == values).all()


def test_a_table_worked_out_by_hand() -> None:
    truth, predicted = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 2, 2, 2])
    ours = headline(confusion(truth, predicted))
    assert math.isclose(ours["macro_precision"], (1 + 1 / 2 + 1 / 3 + 0) / 4)
    assert math.isclose(ours["macro_recall"], (1 / 2 + 1 + 1 + 0) / 4)
    assert math.isclose(ours["macro_f1"], (2 / 3 + 2 / 3 + 1 / 2 + 0) / 4)
    assert ours["accuracy"] == 0.5


def test_an_absent_class_counts_as_zero() -> None:
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    assert math.isclose(headline(confusion(truth, predicted))["macro_f1"], (0.8 + 2 / 3) / 4)


def test_probability_scores(cohort: FoldTable) -> None:
    truth = np.array(cohort.labels)
    given_ = probabilities(cohort, 0.5)
    assert math.isclose(log_loss(truth, given_), metrics.log_loss(truth, given_), rel_tol=1e-9)
    assert math.isclose(
        brier(truth, given_),
        metrics.brier_score_loss(truth, given_, labels=range(4), scale_by_half=False),
    )
    uniform = np.full((len(truth), 4), 0.25)
    assert math.isclose(log_loss(truth, uniform), math.log(4))
    assert math.isclose(brier(truth, uniform), 0.75)


def test_intervals_agree_with_scipys_stratified_bootstrap(cohort: FoldTable) -> None:
    truth = np.array(cohort.labels)
    predicted = probabilities(cohort, 0.4).argmax(axis=1)
    groups = [predicted[truth == k] for k in range(4)]

    def macro_recall(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([(s == k).mean(axis=axis) for k, s in enumerate(samples)], axis=0)

    theirs = stats.bootstrap(
        groups, macro_recall, method="percentile", n_resamples=10_000, vectorized=True, rng=0
    ).confidence_interval
    drawn = bootstrap(cohort, [predicted[None]]).headline["macro_recall"][:, 0]
    np.testing.assert_allclose(np.quantile(drawn, [0.025, 0.975]), theirs, atol=0.003)


def test_draws_are_stratified_and_the_same_every_time(cohort: FoldTable) -> None:
    first, again = (next(draws(cohort)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    labels = np.array(cohort.labels)
    for k in range(4):
        assert (first[:, labels == k].sum(axis=1) == (labels == k).sum()).all()


def test_bootstrap_values_are_scikit_learns_on_the_drawn_cases(cohort: FoldTable) -> None:
    truth = np.array(cohort.labels)
    predicted = probabilities(cohort, 0.3).argmax(axis=1)
    drawn = bootstrap(cohort, [predicted[None]], n_draws=20).headline
    weights = next(draws(cohort, 20)).astype(int)
    for place, counts in enumerate(weights):
        cases = np.repeat(np.arange(len(truth)), counts)
        theirs = sklearn_headline(truth[cases], predicted[cases])
        assert {name: float(v[place, 0]) for name, v in drawn.items()} == theirs


def test_seeds_are_scored_one_by_one_and_averaged(cohort: FoldTable, tmp_path: Path) -> None:
    files = []
    for seed in (0, 1, 2):
        values = probabilities(cohort, 0.4, seed)
        files.append(write_predictions(tmp_path / f"{seed}.csv", cohort, values))
    single = [evaluate(path, cohort).content for path in files]
    lines = ["case_id,seed,p_glioma,p_pcnsl,p_germinoma,p_rare"]
    for seed, path in enumerate(files):
        for row in path.read_text().splitlines()[1:]:
            case_id, rest = row.split(",", 1)
            lines.append(f"{case_id},{seed},{rest}")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    together = evaluate(tmp_path / "all.csv", cohort).content
    assert together["seeds"] == [0, 1, 2]
    for name, metric in together["pooled"].items():
        mean = np.mean([content["pooled"][name]["value"] for content in single])
        assert math.isclose(metric["value"], mean)
    assert together["confusion"] == sum(np.array(c["confusion"]) for c in single).tolist()


def test_fold_means_are_scikit_learns_by_fold(cohort: FoldTable, tmp_path: Path) -> None:
    values = probabilities(cohort, 0.4)
    content = evaluate(write_predictions(tmp_path / "p.csv", cohort, values), cohort).content
    truth, folds = np.array(cohort.labels), np.array(cohort.folds)
    by_fold = [
        sklearn_headline(truth[folds == k], values[folds == k].argmax(axis=1)) for k in range(5)
    ]
    for name, shown in content["fold_mean"].items():
        scores = [fold[name] for fold in by_fold]
        assert math.isclose(shown["mean"], np.mean(scores))
        assert math.isclose(shown["sd"], np.std(scores, ddof=1))


def test_perfect_predictions(cohort: FoldTable, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, np.array(cohort.labels))
    content = evaluate(path, cohort).content
    for metric in content["pooled"].values():
        assert metric == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert content["probabilistic"] is None


def test_the_order_of_rows_and_columns_changes_nothing(cohort: FoldTable, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, probabilities(cohort, 0.4))
    first = evaluate(path, cohort).content
    rows = [line.split(",")[::-1] for line in path.read_text().splitlines()]
    shuffled = [rows[0], *np.random.default_rng(0).permutation(rows[1:]).tolist()]
    path.write_text("\n".join(",".join(cells) for cells in shuffled))
    second = evaluate(path, cohort).content
    assert {**first, "digests": 0} == {**second, "digests": 0}


def test_ties_go_to_the_first_class_and_are_told(cohort: FoldTable, tmp_path: Path) -> None:
    values = np.full((249, 4), 0.25)
    content = evaluate(write_predictions(tmp_path / "p.csv", cohort, values), cohort).content
    assert [row[0] for row in content["confusion"]] == [120, 60, 40, 29]
    assert any("249 rows have a tie" in warning for warning in content["warnings"])


def test_small_cohorts_are_scored_and_warned_about(
    make_cohort: Callable[..., FoldTable], tmp_path: Path
) -> None:
    cohort = make_cohort(["glioma"] * 5 + ["rare"], n_folds=2)
    path = write_predictions(tmp_path / "p.csv", cohort, np.zeros(6, dtype=int))
    report = evaluate(path, cohort)
    text = "\n".join(report.content["warnings"])
    for part in (
        "pcnsl has no case",
        "germinoma has no case",
        "rare has one case",
        "rare is never",
    ):
        assert part in text
    assert "rare is never predicted" in report.render()


def test_the_synthetic_mark_is_in_every_view(cohort: FoldTable, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, probabilities(cohort, 0.4))
    report = evaluate(path, cohort, synthetic=True)
    assert report.content["benchmark"]["synthetic"] is True
    assert "SYNTHETIC" in report.render()
    assert "nothing about patients" in report.to_json()


CODE = """
import sys
from pathlib import Path
from ictmri.folds import read_folds
from ictmri_benchmark import evaluate
report = evaluate(Path(sys.argv[1]), read_folds(Path(sys.argv[2]), "mini"))
heavy = {"torch", "datasets", "pandas", "sklearn", "scipy", "monai"} & set(sys.modules)
print(report.to_json() + repr(sorted(heavy)))
"""


def test_same_bytes_whatever_the_threads_and_nothing_heavy(
    cohort: FoldTable, tmp_path: Path
) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, probabilities(cohort, 0.4))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CODE, path, tmp_path / "mini.csv"],
            env=os.environ | {"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    content, heavy = outputs[0].rsplit("\n", 2)[0], outputs[0].rsplit("\n", 2)[1]
    assert json.loads(content)["schema"] == "ictmri/report/1"
    assert heavy == "[]"


@pytest.mark.slow
def test_the_interval_covers_what_it_says() -> None:
    """Coverage of the expected accuracy-type metric over simulated classifiers, 300 simulations."""
    from ictmri.folds import FoldRow

    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(4), [120, 60, 40, 29])
    transition = np.full((4, 4), 0.1) + np.eye(4) * 0.6
    names = ("glioma", "pcnsl", "germinoma", "rare")
    rows = tuple(FoldRow(f"c{i}", f"p{i}", names[k], i % 5) for i, k in enumerate(labels))
    expected = np.mean(np.diag(transition))
    covered = 0
    for simulation in range(300):
        table = FoldTable("sim", rows, sha256=str(simulation))
        predicted = np.array([rng.choice(4, p=transition[k]) for k in labels])
        drawn = bootstrap(table, [predicted[None]], n_draws=1000).headline["macro_recall"][:, 0]
        low, high = np.quantile(drawn, [0.025, 0.975])
        covered += low <= expected <= high
    assert 0.91 <= covered / 300 <= 0.975
