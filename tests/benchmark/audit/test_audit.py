import json
import re
import time
from collections.abc import Iterator
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint
from support.commandline import run

from ictmri.errors import InputError
from ictmri_benchmark.audit import Audit, audit
from ictmri_benchmark.audit.fold_means import reachable, solve, stratified_sizes
from ictmri_benchmark.audit.matrices import MatrixQuestion, averages, search
from ictmri_benchmark.audit.printed import Printed, ValueRange
from ictmri_benchmark.audit.relations import (
    exceeds_harmonic_mean,
    false_claim,
    false_claim_probability,
    fitting_sizes,
    harmonic_mean,
)
from ictmri_benchmark.audit.report import render_row, render_table
from ictmri_benchmark.audit.rows import read_rows
from ictmri_benchmark.score.proportions import fisher_exact, wilson

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "benchmark" / "audit" / "paper.csv"
PAGE = ROOT / "docs" / "audit.md"
QUICK = 1
"""A budget that decides no search of confusion matrices: the other checks do not depend on it."""

# Accuracy; k of one fold of 50; smallest test sets; correct in the fold of 49 and in the others; p;
# recall - accuracy; neighbours of k / 249.
TABLE = {
    "Table 2 (1) raw volume": ("81.50", [], [173, 200], (37, 166), 0.22, "-0.30", (202, 203)),
    "Table 2 (2) coarse": ("85.00", [], [20, 40], (25, 187), 3.0e-11, "-1.50", (211, 212)),
    "Table 2 (3) coarse + MCA": ("86.50", [], [163, 200], None, None, "-1.35", (215, 216)),
    "Table 2 (4) refined": ("87.50", [], [8, 16], (37, 181), 0.0076, "+3.00", (217, 218)),
    "Table 2 (5) = DenseNet3D": ("92.00", [46], [25, 50], (49, 180), 0.017, "yes", (229, 230)),
    "Swin3D": ("72.92", [], [48, 96], (15, 167), 1.9e-12, "+0.05", (181, 182)),
    "AE-FLOW": ("71.05", [], [38, 76], (31, 146), 0.22, "yes", (176, 177)),
    "Efficient3D": ("68.75", [], [16, 32, 48], (43, 128), 0.000996, "yes", (171, 172)),
    "SwinUNETR": ("62.50", [], [8, 16], (12, 144), 1.6e-9, "yes", (155, 156)),
    "ViT3D": ("62.50", [], [8, 16], (12, 144), 1.6e-9, "yes", (155, 156)),
    "Dataset card: ConvNeXt3D": ("78.90", [], [109, 218], (12, 185), 8.6e-22, None, (196, 197)),
}


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return audit(PAPER, QUICK).content


def checks_of(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in row["checks"]}


def percent(text: str, decimals: int = 2) -> Printed:
    return Printed(text, decimals, percent=True)


def write(path: Path, *rows: str, header: str = "name,accuracy,n") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# --- the reported rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_a_reported_row(paper: dict[str, Any], name: str) -> None:
    accuracy, one_fold, smallest, folds, p, recall, neighbours = TABLE[name]
    row = next(row for row in paper["rows"] if row["name"] == name)
    found = checks_of(row)
    assert row["printed"]["accuracy"] == accuracy

    assert found["C1"]["verdict"] == "does not fit"
    assert found["C1"]["numbers"]["counts"] == []
    assert tuple(found["C1"]["numbers"]["neighbours"]) == neighbours
    assert found["C1"]["numbers"]["one_fold"] == {"49": [], "50": one_fold}

    assert found["C2"]["verdict"] == ("fits" if folds else "does not fit")
    if folds:
        even = found["C2"]["numbers"]["most_even"]
        assert [group["correct"] for group in even["groups"]] == list(folds)
        assert even["fisher_p"] == pytest.approx(p, rel=0.05)
    assert found["C2"]["numbers"]["reachable"] == 8099
    assert found["C2"]["numbers"]["printable"] == 10001

    assert found["C3"]["numbers"]["smallest"][: len(smallest)] == smallest
    if recall is None:
        assert found["C4"]["verdict"] == "not asked"
        return
    assert found["C4"]["numbers"]["equal"] is (recall == "yes")
    assert recall in ("yes", found["C4"]["numbers"]["difference_points"])
    assert found["C5"]["numbers"]["f1_is_harmonic_mean"] is True


def test_the_badges_of_the_reported_rows(paper: dict[str, Any]) -> None:
    badges = {row["name"]: row["badge"] for row in paper["rows"]}
    assert badges.keys() == TABLE.keys()
    impossible = badges.pop("Table 2 (3) coarse + MCA")
    assert impossible["text"] == "consistent only with a smaller test set (n in {163, 200, 237})"
    assert {badge["code"] for badge in badges.values()} == {"consistent"}
    uneven = {name for name, badge in badges.items() if badge["uneven_folds"]}
    assert uneven == {name for name in badges if TABLE[name][4] < 0.001}


def test_the_reported_rows_declared_as_pooled(tmp_path: Path) -> None:
    header, *rows = PAPER.read_text().splitlines()
    pooled_rows = [f"{row},pooled" for row in rows]
    path = write(tmp_path / "rows.csv", *pooled_rows, header=f"{header},aggregation")
    badges = [row["badge"]["code"] for row in audit(path, QUICK).content["rows"]]
    assert badges == ["smaller-test-set"] * 11


def test_usual_shares_and_the_shorter_reading(paper: dict[str, Any]) -> None:
    usual = {row["name"]: checks_of(row)["C3"]["numbers"] for row in paper["rows"]}
    assert 50 in usual["Table 2 (5) = DenseNet3D"]["usual_shares"]
    assert 38 in usual["AE-FLOW"]["usual_shares"]
    for name in ("Swin3D", "Efficient3D", "SwinUNETR", "ViT3D", "Table 2 (4) refined"):
        assert 48 in usual[name]["usual_shares"]
    card = usual["Dataset card: ConvNeXt3D"]
    assert 38 not in card["smallest"]
    assert 38 in card["one_digit_fewer"]
    first = checks_of(paper["rows"][0])["C1"]["evidence"]
    assert any("203/249 = 81.5 %" in line and "decimals = 1" in line for line in first)


def test_no_one_test_set_fits_the_tables(paper: dict[str, Any]) -> None:
    tables = {table["table"]: table for table in paper["tables"]}
    assert [n for n in tables["Table 2"]["test_sets"] if n <= 300] == [200]
    assert [n for n in tables["Table 3"]["test_sets"] if n <= 300] == []
    assert tables["all rows"]["count"] == 0
    assert {table["limit"] for table in tables.values()} == {2000}


def test_intervals_of_the_reported_rows(paper: dict[str, Any]) -> None:
    shown = {
        (interval["correct"], interval["n"]): (
            round(100 * interval["low"], 1),
            round(100 * interval["high"], 1),
        )
        for row in paper["rows"]
        for interval in checks_of(row)["C6"]["numbers"]["intervals"]
    }
    assert shown[46, 50] == (81.2, 96.8)
    assert shown[35, 48] == (59.0, 83.4)
    assert shown[30, 48] == (48.4, 74.8)
    assert shown[27, 38] == (55.2, 83.0)
    assert shown[229, 249] == (87.9, 94.7)


@pytest.fixture(scope="module")
def whole_paper() -> dict[str, Any]:
    return audit(PAPER).content


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "n", "averaging", "of_the_classes", "of_the_averages"),
    [
        ("Table 2 (4) refined", 48, "macro", "does not fit", "does not fit"),
        ("Table 2 (5) = DenseNet3D", 50, "macro", "does not fit", "does not fit"),
        ("Table 2 (5) = DenseNet3D", 50, "weighted", "does not fit", "fits"),
        ("Swin3D", 48, "macro", "does not fit", "fits"),
        ("AE-FLOW", 38, "macro", "does not fit", "fits"),
        ("AE-FLOW", 38, "weighted", "does not fit", "fits"),
        ("Efficient3D", 48, "macro", "does not fit", "fits"),
        ("Efficient3D", 48, "weighted", "does not fit", "fits"),
        ("SwinUNETR", 48, "macro", "does not fit", "fits"),
        ("SwinUNETR", 48, "weighted", "does not fit", "fits"),
        ("ViT3D", 48, "macro", "does not fit", "fits"),
        ("ViT3D", 48, "weighted", "does not fit", "fits"),
    ],
)
def test_no_matrix_of_the_single_test_set_gives_the_reported_f1(
    whole_paper: dict[str, Any],
    name: str,
    n: int,
    averaging: str,
    of_the_classes: str,
    of_the_averages: str,
) -> None:
    row = next(row for row in whole_paper["rows"] if row["name"] == name)
    found = {
        finding["f1"]: finding
        for finding in checks_of(row)["C5"]["numbers"]["matrices"]
        if (finding["n"], finding["averaging"]) == (n, averaging)
    }
    assert found["mean of the classes' F1"]["verdict"] == of_the_classes
    averaged = found["2PR/(P+R)"]
    assert averaged["verdict"] == of_the_averages
    if averaged["example"]:
        cells = [(cell["tp"], cell["fn"], cell["fp"]) for cell in averaged["example"]]
        matrix = matrix_of(cells)
        assert matrix.sum() == n
        ours = scores(matrix, averaging)
        for metric in ("precision", "recall", "accuracy"):
            assert ours[metric] in percent(row["printed"][metric]).interval()


# --- honest numbers ------------------------------------------------------------------------------


def scores(matrix: np.ndarray, averaging: str) -> dict[str, Fraction]:
    """The definitions, written out: rows = truth, columns = prediction, 0 where undefined."""
    total = int(matrix.sum())
    found = dict.fromkeys(("precision", "recall", "f1"), Fraction(0))
    for i in range(len(matrix)):
        tp, support, predicted = (
            int(x) for x in (matrix[i, i], matrix[i].sum(), matrix[:, i].sum())
        )
        weight = Fraction(support, total) if averaging == "weighted" else Fraction(1, len(matrix))
        found["precision"] += weight * (Fraction(tp, predicted) if predicted else 0)
        found["recall"] += weight * (Fraction(tp, support) if support else 0)
        both = support + predicted
        found["f1"] += weight * (Fraction(2 * tp, both) if both else 0)
    if averaging == "micro":
        found = dict.fromkeys(found, Fraction(int(np.trace(matrix)), total))
    return {**found, "accuracy": Fraction(int(np.trace(matrix)), total)}


def printed(value: Fraction, decimals: int, mode: str, *, as_percent: bool) -> str:
    scaled = value * (100 if as_percent else 1) * 10**decimals
    whole, rest = divmod(scaled, 1)
    # Only the part after the last digit is rounded, so a Decimal of it is exact enough for a tie.
    part = Decimal(rest.numerator) / Decimal(rest.denominator)
    return str((Decimal(int(whole)) + part.quantize(Decimal(1), mode)).scaleb(-decimals))


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    classes = draw(st.integers(2, 4))
    cells = draw(st.lists(st.integers(0, 6), min_size=classes**2, max_size=classes**2))
    matrix = np.array(cells).reshape(classes, classes)
    return (
        matrix + np.eye(classes, dtype=int) * draw(st.integers(0, 8)) + np.eye(classes, dtype=int)
    )


AVERAGING = st.sampled_from(["macro", "weighted", "micro"])
MODE = st.sampled_from([ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_DOWN])
HONEST = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def row_of(values: dict[str, Fraction], decimals: int, mode: str, **declared: object) -> str:
    as_percent = decimals < 3
    texts = {name: printed(x, decimals, mode, as_percent=as_percent) for name, x in values.items()}
    unit = "percent" if as_percent else "fraction"
    return ",".join(["row", *texts.values(), unit, *map(str, declared.values())])


def header_of(**declared: object) -> str:
    return ",".join(["name,precision,recall,f1,accuracy,unit", *declared])


def badge_of(path: Path) -> str:
    return audit(path, 300_000).content["rows"][0]["badge"]["code"]


@HONEST
@given(matrices(), AVERAGING, MODE, st.integers(0, 4), st.booleans(), st.booleans(), st.booleans())
def test_honest_pooled_numbers_are_consistent(
    tmp_path: Path,
    matrix: np.ndarray,
    averaging: str,
    mode: str,
    decimals: int,
    sized: bool,
    told: bool,
    folded: bool,
) -> None:
    n = int(matrix.sum())
    declared: dict[str, object] = {"n": n, "averaging": averaging, "classes": len(matrix)}
    declared["class_counts"] = "+".join(map(str, matrix.sum(axis=1))) if sized else ""
    declared["aggregation"] = "pooled" if told else ""
    declared["folds"] = min(5, n) if folded else ""
    line = row_of(scores(matrix, averaging), decimals, mode, **declared)
    path = write(tmp_path / "rows.csv", line, header=header_of(**declared))
    assert badge_of(path) == "consistent"


@HONEST
@given(
    st.lists(matrices(), min_size=2, max_size=3), AVERAGING, MODE, st.integers(0, 4), st.booleans()
)
def test_honest_fold_means_are_consistent(
    tmp_path: Path, folds: list[np.ndarray], averaging: str, mode: str, decimals: int, told: bool
) -> None:
    by_fold = [scores(matrix, averaging) for matrix in folds]
    means = {
        name: sum((values[name] for values in by_fold), Fraction(0)) / len(folds)
        for name in by_fold[0]
    }
    declared = {
        "folds": "+".join(f"{int(matrix.sum())}x1" for matrix in folds),
        "averaging": averaging,
        "aggregation": "fold-mean" if told else "",
    }
    line = row_of(means, decimals, mode, **declared)
    path = write(tmp_path / "rows.csv", line, header=header_of(**declared))
    assert badge_of(path) == "consistent"


def test_altered_numbers_are_not(tmp_path: Path) -> None:
    """The same declarations refuse numbers that are off by one in the last digit."""
    matrix = np.array([[21, 3, 1, 1], [1, 11, 1, 1], [1, 1, 9, 1], [1, 1, 2, 7]])
    declared = {"n": 63, "averaging": "macro", "class_counts": "26+14+12+11", "folds": 1}
    values = scores(matrix, "macro")
    for metric in values:
        altered = {**values, metric: values[metric] + Fraction(1, 10_000)}
        line = row_of(altered, 2, ROUND_HALF_EVEN, **declared)
        path = write(tmp_path / "x.csv", line, header=header_of(**declared))
        assert badge_of(path) in ("smaller-test-set", "not-consistent")
        # Nothing is held against a row whose averaging is not known.
        path.write_text(path.read_text().replace("macro", ""))
        assert (badge_of(path) == "not-enough-information") == (metric != "accuracy")


def test_cut_off_digits_are_told_from_rounded_ones(tmp_path: Path) -> None:
    # 2/3 is 66.67 rounded and 66.66 cut off; 66.68 is neither.
    rows = [f"{text},{text},3,1" for text in ("66.67", "66.66", "66.68")]
    path = write(tmp_path / "rows.csv", *rows, header="name,accuracy,n,folds")
    found = audit(path, QUICK).content["rows"]
    assert [checks_of(row)["C1"]["verdict"] for row in found] == [
        "fits",
        "fits otherwise read",
        "does not fit",
    ]
    assert [row["badge"]["code"] for row in found] == ["consistent", "consistent", "not-consistent"]
    assert "cut off, not rounded" in found[1]["badge"]["because"]


@pytest.mark.parametrize(
    ("row", "badge"),
    [
        ("x,80.00,,,,,", "not-enough-information"),
        ("x,81.53,,,,249,", "consistent"),
        ("x,81.50,,,,249,", "not-enough-information"),
        ("x,81.50,,,,249,1", "smaller-test-set"),
        ("x,,50.00,50.00,60.00,249,5", "not-consistent"),
        ("x,,50.00,50.00,50.00,249,5", "not-enough-information"),
        ("x,99.99,,,,249,1", "not-consistent"),
    ],
)
def test_each_badge(tmp_path: Path, row: str, badge: str) -> None:
    header = "name,accuracy,precision,recall,f1,n,folds"
    assert badge_of(write(tmp_path / "rows.csv", row, header=header)) == badge


def test_declared_weighted_recall_must_be_the_accuracy(tmp_path: Path) -> None:
    header = "name,accuracy,recall,n,folds,averaging"
    path = write(tmp_path / "x.csv", "x,81.53,81.12,249,5,weighted", header=header)
    row = audit(path, QUICK).content["rows"][0]
    assert row["badge"]["code"] in ("smaller-test-set", "not-consistent")
    assert "weighted recall and accuracy are one number" in row["badge"]["because"]


# --- oracles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_newcombes_table(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 400), st.data())
def test_wilson_equals_statsmodels(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 250), st.data())
def test_fisher_equals_scipy(first: int, other: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, first)), data.draw(st.integers(0, other))
    p = fisher_exact((a, first), (b, other))
    assert p is not None
    theirs = stats.fisher_exact([[a, first - a], [b, other - b]]).pvalue
    assert float(p) == pytest.approx(theirs, rel=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_false_claims_equal_the_dirichlets_integral(x1: int, x2: int) -> None:
    # p1 / (p1 + p2) of a Dirichlet is Beta(x1 + 1, x2 + 1), whatever the third parameter.
    theirs = special.betainc(x1 + 1, x2 + 1, 0.5)
    assert float(false_claim_probability(x1, x2)) == pytest.approx(theirs, rel=1e-9)


def test_false_claims_of_the_reported_accuracies() -> None:
    wide, narrow = false_claim(46, 44, 50), false_claim(229, 218, 249)
    assert wide is not None
    assert narrow is not None
    assert 0.13 < wide[0] < wide[1] < 0.25
    assert 0.0 < narrow[0] < narrow[1] < 0.03


@given(st.integers(1, 120), st.integers(0, 3), st.data())
def test_counts_are_those_that_print_as_the_value(
    n: int, decimals: int, data: st.DataObject
) -> None:
    value = data.draw(st.integers(0, 10 ** (decimals + 2)))
    text = str(Decimal(value).scaleb(-decimals))
    counts = Printed(text, decimals, percent=True).interval().counts(n)
    modes = (ROUND_HALF_UP, "ROUND_HALF_DOWN")
    expected = [
        k
        for k in range(n + 1)
        if any(
            Decimal(printed(Fraction(k, n), decimals, mode, as_percent=True)) == Decimal(text)
            for mode in modes
        )
    ]
    assert list(counts) == expected


def test_the_ends_of_an_interval() -> None:
    half = percent("50.0", 1)
    assert half.interval().counts(2000) == range(999, 1002)
    assert half.interval("cut off").counts(1000) == range(500, 501)
    assert half.interval("cut off").counts(2000) == range(1000, 1002)
    assert half.interval("folds rounded first").counts(1000) == range(499, 502)
    assert not half.interval("cut off").meets(percent("50.1", 1).interval("cut off"))
    assert half.interval().meets(percent("50.1", 1).interval())


@pytest.mark.parametrize(("f1", "exceeds"), [("50", False), ("51", False), ("52", True)])
def test_f1_above_the_harmonic_mean(f1: str, exceeds: bool) -> None:
    printed = {"precision": "50", "recall": "50", "f1": f1}
    intervals = {name: percent(text, 0).interval() for name, text in printed.items()}
    assert exceeds_harmonic_mean(intervals) is exceeds


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.sampled_from(["rounded", "cut off"]),
)
def test_fold_means_equal_listing_all(sizes: list[int], tenths: int, digits: Any) -> None:
    interval = Printed(str(Decimal(tenths).scaleb(-1)), 1, percent=True).interval(digits)
    counted = {size: sizes.count(size) for size in set(sizes)}
    gaps = []
    for correct in product(*(range(size + 1) for size in sizes)):
        mean = sum(map(Fraction, correct, sizes), Fraction(0)) / len(sizes)
        if mean in interval:
            rates = [
                Fraction(
                    sum(k for k, s in zip(correct, sizes, strict=True) if s == size), size * count
                )
                for size, count in counted.items()
            ]
            gaps.append(max(rates) - min(rates))
    found = solve(counted, interval)
    assert (found is None) == (not gaps)
    if found:
        rates = [group.rate for group in found.groups]
        assert max(rates) - min(rates) == min(gaps)


@pytest.mark.parametrize("sizes", [{3: 1, 4: 2}, {5: 3}, {2: 1, 3: 1, 7: 1}])
def test_reachable_means_equal_listing_all(sizes: dict[int, int]) -> None:
    value = percent("50.0", 1)
    reached = [
        tenths
        for tenths in range(1001)
        if solve(sizes, percent(str(Decimal(tenths).scaleb(-1)), 1).interval())
    ]
    assert reachable(sizes, value) == len(reached)


def test_stratified_sizes_are_scikit_learns() -> None:
    from sklearn.model_selection import StratifiedKFold

    labels = np.repeat(range(4), [120, 60, 40, 29])
    folds = StratifiedKFold(5).split(labels, labels)
    tested = [len(test) for _, test in folds]
    assert stratified_sizes(249, 5) == {size: tested.count(size) for size in set(tested)}


def test_fitting_sizes_equal_listing_all() -> None:
    intervals = [percent(text).interval() for text in ("62.50", "68.75", "72.92")]
    expected = [
        n
        for n in range(1, 200)
        if all(any(Fraction(k, n) in i for k in range(n + 1)) for i in intervals)
    ]
    assert fitting_sizes(intervals, 199) == expected == [48, 96, 144, 192]


# --- confusion matrices --------------------------------------------------------------------------


def all_matrices(n: int, classes: int) -> Iterator[np.ndarray]:
    def spread(left: int, cells: int) -> Iterator[tuple[int, ...]]:
        if cells == 1:
            yield (left,)
            return
        for first in range(left + 1):
            for rest in spread(left - first, cells - 1):
                yield (first, *rest)

    for cells in spread(n, classes**2):
        yield np.array(cells).reshape(classes, classes)


def matrix_of(cells: list[tuple[int, int, int]]) -> np.ndarray:
    """Distribute misses over the other classes' false alarms: there must be a way."""
    from scipy.optimize import linprog

    k = len(cells)
    rows = [np.repeat(np.eye(k)[i], k) for i in range(k)]
    columns = [np.tile(np.eye(k)[i], k) for i in range(k)]
    bounds = [(0, 0) if i == j else (0, None) for i in range(k) for j in range(k)]
    wanted = [fn for _, fn, _ in cells] + [fp for _, _, fp in cells]
    done = linprog(np.zeros(k * k), A_eq=rows + columns, b_eq=wanted, bounds=bounds)
    assert done.status == 0
    return np.rint(done.x).astype(int).reshape(k, k) + np.diag([tp for tp, _, _ in cells])


@pytest.mark.parametrize(("n", "classes"), [(7, 2), (6, 2), (6, 3), (4, 4), (5, 4)])
@pytest.mark.parametrize("averaging", ["macro", "weighted"])
@pytest.mark.parametrize("sized", [False, True])
def test_a_search_equals_listing_all_matrices(
    n: int, classes: int, averaging: Any, sized: bool
) -> None:
    """Values that some matrix has, and values drawn at random, which most often none has."""
    listed: dict[tuple[Any, ...], set[tuple[Fraction, ...]]] = {}
    for matrix in all_matrices(n, classes):
        supports = tuple(int(x) for x in matrix.sum(axis=1))
        if min(supports) > 0:
            values = scores(matrix, averaging)
            key = (int(np.trace(matrix)), supports if sized else None)
            listed.setdefault(key, set()).add(
                tuple(values[m] for m in ("precision", "recall", "f1"))
            )
    rng = np.random.default_rng(0)
    verdicts = []
    for (correct, supports), reached in sorted(listed.items(), key=str):
        points = sorted(reached)
        drawn = [points[i] for i in rng.integers(0, len(points), 3)]
        drawn += [
            tuple(points[i][m] for m, i in enumerate(rng.integers(0, len(points), 3)))
            for _ in range(6)
        ]
        for point in drawn:
            half = Fraction(1, int(rng.choice([20_000, 200, 20])))
            targets = {
                name: ValueRange(value - half, value + half)
                for name, value in zip(("precision", "recall", "f1"), point, strict=True)
            }
            expected = any(
                all(value in target for value, target in zip(values, targets.values(), strict=True))
                for values in reached
            )
            question = MatrixQuestion(n, correct, averaging, targets, None, classes, supports)
            answer = search(question)
            assert answer.verdict == ("fits" if expected else "does not fit")
            verdicts.append(answer.verdict)
            near = harmonic_mean(*point[:2])
            mean = ValueRange(near - half / 10, near + half / 10)
            averaged = {name: targets[name] for name in ("precision", "recall")}
            expected = any(
                p in averaged["precision"]
                and r in averaged["recall"]
                and harmonic_mean(p, r) in mean
                for p, r, _ in reached
            )
            question = MatrixQuestion(n, correct, averaging, averaged, mean, classes, supports)
            assert search(question).verdict == ("fits" if expected else "does not fit")
            if answer.example:
                matrix = matrix_of(list(answer.example))
                assert averages(answer.example, averaging) == {
                    name: scores(matrix, averaging)[name] for name in targets
                }
    assert {"fits", "does not fit"} <= set(verdicts)


def test_a_search_beyond_its_budget_says_so() -> None:
    # Nobody lists the matrices of 1,000 cases with 400 errors; and no score is exactly 1/pi.
    targets = {"precision": ValueRange(Fraction(318309886, 10**9), Fraction(318309887, 10**9))}
    started = time.perf_counter()
    answer = search(MatrixQuestion(400, 300, "macro", targets), budget=100_000)
    assert answer.verdict == "not decided"
    assert time.perf_counter() - started < 5


# --- the file ------------------------------------------------------------------------------------


def problems_of(path: Path) -> list[str]:
    with pytest.raises(InputError) as error:
        read_rows(path)
    assert error.value.next_step
    return error.value.problems


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("accuracy", '"92,00"', "decimal comma; write 92.00"),
        ("accuracy", "92.00%", "percent sign"),
        ("accuracy", "100.01", "more than 100"),
        ("accuracy", "-3", "is negative"),
        ("accuracy", "=A1/B1", "spreadsheet formula"),
        ("accuracy", "٩٢", "not a number as printed"),
        ("accuracy", "9.2e1", "not a number as printed"),
        ("accuracy", "nan", "not a number as printed"),
        ("accuracy", "0." + "1" * 21, "at most 20 decimals"),
        ("n", "-249", "not a whole number from 1"),
        ("n", "0", "not a whole number from 1"),
        ("n", "２４９", "not a whole number from 1"),
        ("n", "1000000001", "to 1000000000"),
        ("n", "9" * 5000, "not a whole number"),
        ("folds", "five", "neither a number of folds (5) nor their sizes (49+50x4)"),
        ("folds", "0", "0 folds"),
        ("folds", "0x3", "holds a 0"),
        ("folds", "50x4", "the numbers of cases differ (n 249, folds 200)"),
        ("folds", "300", "300 folds for 249 cases"),
        ("unit", "percents", "did you mean 'percent'"),
        ("unit", "fraction", "above 1 cannot be a fraction"),
        ("averaging", "Macro", "did you mean 'macro'"),
        ("aggregation", "sum", "one of pooled, fold-mean"),
        ("class_counts", "249", "a sum of at least two class sizes"),
        ("class_counts", "120+60", "the numbers of cases differ (n 249, class_counts 180)"),
        ("decimals", "1", "decimals: 1, but accuracy is printed as 92.03"),
        ("name", "", "name: is empty"),
        ("name", "a\u202eb", "cannot be shown"),
        ("name", "x" * 81, "at most 80"),
        ("recall", "0.92", "on both sides of 1"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, column: str, cell: str, message: str) -> None:
    cells = {"name": "x", "accuracy": "92.03", "n": "249", column: cell}
    path = write(tmp_path / "rows.csv", ",".join(cells.values()), header=",".join(cells))
    (problem,) = problems_of(path)
    assert problem.startswith("row 2, ")
    assert message in problem
    assert len(problem) < 200


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a,92%,x", "a,81.50,249", "b,80.00", "a,80.00,249")
    found = problems_of(path)
    assert [problem[:16] for problem in found] == [
        "row 2, accuracy:",
        "row 2, n: 'x' is",
        "row 4: 2 cells, ",
        "rows 3, 5, name:",
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("name,acuracy", "did you mean 'accuracy'"),
        ("name,n", "none of the columns precision"),
        ("accuracy,n", "column 'name' is missing"),
        ("name,accuracy,accuracy", "column 'accuracy' twice"),
    ],
)
def test_a_wrong_header(tmp_path: Path, header: str, message: str) -> None:
    assert any(message in p for p in problems_of(write(tmp_path / "rows.csv", "x", header=header)))


def test_a_header_alone_and_too_many_rows(tmp_path: Path) -> None:
    assert "header only" in problems_of(write(tmp_path / "rows.csv"))[0]
    many = [f"row {i},80.00,249" for i in range(201)]
    assert "at most 200" in problems_of(write(tmp_path / "rows.csv", *many))[0]


def test_absurd_sizes_end_soon(tmp_path: Path) -> None:
    header = "name,precision,recall,f1,accuracy,n,folds,averaging"
    rows = [
        "a,90,90,90,90,1000000000,5,macro",
        "b,90.00,90.00,90.00,90.00,999999999,7,weighted",
        "c,90.00,90.00,90.00,90.00,200000,1000,macro",
        "d,90.00,90.00,90.00,90.00," + "," + "+".join(map(str, range(20, 60))) + ",",
        "e,0.9000000000000001,0.9,0.9,0.9,1000,,macro",
    ]
    started = time.perf_counter()
    content = audit(write(tmp_path / "rows.csv", *rows, header=header), 100_000).content
    assert time.perf_counter() - started < 20
    assert len(json.dumps(content)) < 100_000
    assert {row["badge"]["code"] for row in content["rows"]} <= {
        "consistent",
        "not-enough-information",
    }


def test_units_and_full_floats(tmp_path: Path) -> None:
    """A fraction, a percentage and a float written out in full are one accuracy."""
    rows = ["a,0.8153,249", "b,81.53,249", f"c,{203 / 249!r},249", f"d,{100 * (203 / 249)!r},249"]
    content = audit(write(tmp_path / "rows.csv", *rows), QUICK).content
    for row in content["rows"]:
        assert checks_of(row)["C1"]["numbers"]["counts"] == [203]


# --- output --------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", "a,81.53,249", "b,92.00,50")
    done = run("audit", rows, "--json", tmp_path / "one.json")
    assert "ictmri submit predictions.csv --entry entry.yaml" in " ".join(
        done.stdout[-300:].split()
    )
    again = run("audit", rows, "--json", tmp_path / "two.json")
    assert done.stdout == again.stdout
    text = (tmp_path / "one.json").read_text()
    assert text == (tmp_path / "two.json").read_text()
    content = json.loads(text)
    assert content["schema"] == "ictmri/audit/1"
    for row in content["rows"]:
        assert [check["check"] for check in row["checks"]] == [f"C{i}" for i in range(1, 8)]
        assert all(check["evidence"] and check["verdict"] for check in row["checks"])


def test_the_command_refuses_a_wrong_file(tmp_path: Path) -> None:
    done = run("audit", write(tmp_path / "rows.csv", "a,92%,249"), code=1)
    assert "row 2, accuracy: '92%' has a percent sign" in done.stderr
    assert "Next:" in done.stderr
    assert not done.stdout
    assert "No such file" in run("audit", tmp_path / "none.csv", code=1).stderr


def test_the_words_are_neutral(paper: dict[str, Any]) -> None:
    accusing = r"fraud|fabricat|fake|manipul|cheat|dishonest|suspicio|misconduct|wrong|false|invent"
    for text in (Audit(paper).render(), PAGE.read_text()):
        assert not re.findall(accusing, text, re.IGNORECASE)


def blocks(title: str) -> str:
    """The code block of the page that follows the line ``<!-- title -->``."""
    found = re.search(rf"<!-- {title} -->\n```\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert found, title
    return found[1]


def test_the_page_shows_the_table_of_the_command(paper: dict[str, Any]) -> None:
    assert blocks("table") == render_table(paper)


@pytest.mark.long
def test_the_page_shows_the_details_of_the_command(whole_paper: dict[str, Any]) -> None:
    row = next(r for r in whole_paper["rows"] if r["name"] == "Table 2 (5) = DenseNet3D")
    assert blocks("details") == render_row(row)


@pytest.mark.long
def test_the_boards_badges_are_the_commands(whole_paper: dict[str, Any]) -> None:
    stored = yaml.safe_load((ROOT / "benchmark" / "reported.yaml").read_text())
    assert [row["audit"] for row in stored] == [row["badge"] for row in whole_paper["rows"]]
