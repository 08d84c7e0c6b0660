"""What people hand in as predictions, as data: the content of a file and the one line that is told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ictmri_benchmark as bench
from ictmri.classes import CLASSES
from ictmri.errors import InputError, collected
from ictmri.folds import FoldRow, FoldTable
from ictmri_benchmark.score.mistakes import HEADERS, PROBABILITIES
from ictmri_benchmark.score.predictions import read_predictions

IDS = [f"mini-{number:04d}" for number in range(1, 13)]
COHORT = FoldTable(
    "mini",
    tuple(FoldRow(c, c.replace("-", "-p"), CLASSES[n % 4], n % 3) for n, c in enumerate(IDS)),
    "0" * 64,
)
GOOD = pd.DataFrame(
    {"case_id": IDS} | {name: 0.1 + 0.6 * (name == "p_rare") for name in PROBABILITIES}
)
NAMED = pd.DataFrame({"case_id": IDS, "prediction": [CLASSES[n % 4] for n in range(12)]})
SUM = "p_glioma, p_pcnsl, p_germinoma and p_rare sum to"
UNDO = "write more decimals, or add --normalize (in Python normalize=True)"
INDEX = (
    "row 1: column 1 has no name: the index that pandas or R writes; leave it out "
    "(to_csv(..., index=False), write.csv(..., row.names=FALSE))"
)
NO_CASE = "row 2 and 11 more: case_id: no case"


def text(frame: pd.DataFrame, **options: Any) -> str:
    return frame.to_csv(**({"index": False} | options))


def numbers(*row: float) -> pd.DataFrame:
    return GOOD.assign(**dict(zip(PROBABILITIES, row, strict=True)))


def cases(spelled: Callable[[str], object]) -> str:
    return text(GOOD.assign(case_id=[spelled(case) for case in IDS]))


def saved(values: np.ndarray, **options: Any) -> str:
    stream = io.StringIO()
    np.savetxt(stream, values, **options)
    return stream.getvalue()


VALUES = GOOD[list(PROBABILITIES)].to_numpy()
NO_HEADER = f"row 1: values stand here, no header; begin with the line {HEADERS[0]} or {HEADERS[1]}"
LABELS = "0 glioma, 1 pcnsl, 2 germinoma, 3 rare"

TOLD: dict[str, tuple[str | bytes, str]] = {
    "pandas to_csv()": (text(GOOD, index=True), INDEX),
    "pandas saved again": (text(GOOD.assign(**{"Unnamed: 0": 1})[["Unnamed: 0", *GOOD]]), INDEX),
    "R write.csv": (text(GOOD, index=True, quoting=2), INDEX),
    "R write.table": (
        text(GOOD, index=True).removeprefix(","),
        f"row 2 and 11 more: 6 cells, the header has 5 ({HEADERS[0]}); are these row names of R? "
        "write.csv(..., row.names=FALSE)",
    ),
    "the cases as an index without a name": (
        text(GOOD.set_index("case_id"), index=True, index_label=""),
        "row 1: column 1 holds the cases and has no name; call it case_id",
    ),
    "empty columns of a spreadsheet": (
        text(GOOD).replace("\n", ",,\n"),
        "row 1: columns 6, 7 without a name; leave them out",
    ),
    "numpy savetxt": (saved(VALUES, delimiter=","), NO_HEADER),
    "no header": (text(NAMED, header=False), NO_HEADER),
    "numpy savetxt with a header": (
        saved(VALUES, delimiter=",", header=",".join(PROBABILITIES)),
        "row 1: begins with #; write it without (numpy.savetxt: comments='') and begin with the line "
        f"{HEADERS[0]} or {HEADERS[1]}",
    ),
    "Excel's sep=": ("sep=,\n" + text(GOOD), "row 1: a line for Excel, sep=; delete it"),
    "two decimals": (
        text(numbers(0.33, 0.33, 0.33, 0.0)),
        f"row 2 and 11 more: {SUM} 0.99, not 1 within 0.0001, as rounding or float16 leaves it; {UNDO}",
    ),
    "three decimals": (
        text(numbers(0.333, 0.333, 0.333, 0.0)),
        f"row 2 and 11 more: {SUM} 0.999, not 1 within 0.0001, as rounding or float16 leaves it; {UNDO}",
    ),
    "float16": (
        text(numbers(*map(float, np.array([0.7, 0.2, 0.0503, 0.05], np.float16)))),
        f"row 2 and 11 more: {SUM} 1.0004272, not 1 within 0.0001, as rounding or float16 leaves it; "
        f"{UNDO}",
    ),
    "logits": (
        text(numbers(-3.2, 1.5, 0.2, 4.0)),
        "row 2 and 11 more: -3.2, 1.5, 0.2, 4: logits, it seems: numbers below 0 or above 1 that sum to "
        "nothing in particular; hand in their softmax",
    ),
    "log-softmax": (
        text(numbers(*np.log([0.7, 0.1, 0.1, 0.1]))),
        "row 2 and 11 more: -0.356675, -2.30259, -2.30259, -2.30259: logarithms of probabilities, it "
        "seems: none is above 0; take the exponential (numpy.exp)",
    ),
    "percent": (
        text(numbers(70, 10, 10, 10)),
        "row 2 and 11 more: 70, 10, 10, 10: percent, it seems: the numbers of a case sum to 100; "
        "divide by 100, or add --normalize (in Python normalize=True)",
    ),
    "sigmoids": (
        text(numbers(0.9, 0.4, 0.1, 0.2)),
        "row 2 and 11 more: 0.9, 0.4, 0.1, 0.2: the numbers of a case lie in 0 to 1 but do not sum to 1: "
        "are they sigmoids, a probability for each class by itself? hand in the softmax, probabilities of "
        "which exactly one class is true",
    ),
    "percent signs": (
        text(GOOD).replace("0.1,", "10%,"),
        "row 2 and 11 more: p_glioma is '10%', not a probability from 0 to 1; write 0.5 for 50 %",
    ),
    "decimal commas in quotation marks": (
        text(GOOD, decimal=","),
        "row 2 and 11 more: p_glioma is '0,1', not a probability from 0 to 1; write decimals with a point",
    ),
    "decimal commas": (
        text(GOOD, decimal=",").replace('"', ""),
        f"row 2 and 11 more: 9 cells, the header has 5 ({HEADERS[0]}); write decimals with a point, "
        "not a comma",
    ),
    "cells without a value": (
        text(GOOD.assign(p_pcnsl=[None, *[0.1] * 11])),
        "row 2: p_pcnsl is '', not a probability from 0 to 1: no value; every case needs one",
    ),
    "NA of R": (
        text(GOOD.assign(p_pcnsl=None), na_rep="NA"),
        "row 2 and 11 more: p_pcnsl is 'NA', not a probability from 0 to 1: no value; every case needs one",
    ),
    "labels without a 0": (
        text(NAMED.assign(prediction=[1, 2, 3] * 4)),
        f"row 2 and 11 more: prediction: numbers and no 0; counted from 0 ({LABELS}), or from 1? "
        "write the names",
    ),
    "a label that is none": (
        text(NAMED.assign(prediction=[0, 7] * 6)),
        f"row 3 and 5 more: prediction '7' is no label; labels are {LABELS}",
    ),
    "numbers and names": (
        text(NAMED.assign(prediction=["glioma", 0] * 6)),
        "row 3: prediction is '0', 'glioma' elsewhere: numbers and names; write the names",
    ),
    "classes of one's own": (
        text(NAMED.assign(prediction="lymphoma")),
        "row 2 and 11 more: unknown class 'lymphoma' in column prediction; one of glioma, pcnsl, "
        "germinoma, rare",
    ),
    "one fold": (
        text(GOOD[::3]),
        "column case_id: 8 cases are missing (all of fold 1, 2): mini-0002, mini-0003, mini-0005, "
        "mini-0006, mini-0008, ...; while developing, --folds 0 (in Python folds=[0]) scores the others",
    ),
    "some folds of a seed": (
        text(pd.concat([GOOD.assign(seed=0), GOOD[1::3].assign(seed=1)])),
        "column case_id: 8 cases are missing for seed 1 (all of fold 0, 2): mini-0001, mini-0003, "
        "mini-0004, mini-0006, mini-0007, ...; while developing, --folds 1 (in Python folds=[1]) scores "
        "the others",
    ),
    "some cases": (
        text(GOOD.iloc[:-2]),
        "column case_id: 2 cases are missing: mini-0011, mini-0012",
    ),
    "rows twice": (
        text(pd.concat([GOOD, GOOD])),
        "row 14 and 11 more: case_id 'mini-0001' stands in row 2 already; one row a case, or a "
        "column seed that tells runs apart",
    ),
    "another cohort": (
        cases(lambda case: case.replace("mini", "ictmri")),
        f"{NO_CASE} 'ictmri-0001' in cohort mini; here they are like 'mini-0001', so name the cohort of "
        "these cases, or rename them",
    ),
    "no leading zeros": (
        cases(lambda case: f"mini-{int(case[5:])}"),
        f"{NO_CASE} 'mini-1' in cohort mini; did you mean 'mini-0001'?",
    ),
    "paths": (
        cases(lambda case: f"x/{case}.nii.gz"),
        f"{NO_CASE} 'x/mini-0001.nii.gz' in cohort mini; did you mean 'mini-0001'?",
    ),
    "nnU-Net's names": (
        cases(lambda case: f"{case.upper()}_0000.nii.gz"),
        f"{NO_CASE} 'MINI-0001_0000.nii.gz' in cohort mini; did you mean 'mini-0001'?",
    ),
    "patients": (
        cases(lambda case: case.replace("-", "-p")),
        f"{NO_CASE} 'mini-p0001' in cohort mini; did you mean 'mini-0001'?",
    ),
    "numbers for cases": (
        cases(IDS.index),
        f"{NO_CASE} '0' in cohort mini; a number alone names no case, here they are like 'mini-0001'",
    ),
    "the truth beside probabilities": (
        text(GOOD.assign(label="rare")),
        "row 1: unknown column 'label'; leave it out",
    ),
    "one class of another name": (
        text(GOOD.rename(columns={"p_rare": "p_other"})),
        "row 1: unknown column 'p_other'; is it 'p_rare'? then rename it",
    ),
    "two byte-order marks": (
        "\ufeff\ufeff" + text(GOOD),
        "row 1: two byte-order marks before the first name; save the file again as CSV UTF-8",
    ),
    "two numbers out of range": (
        text(GOOD.assign(p_glioma=[1.3, *[0.7] * 11], p_rare=[-0.5, *[0.1] * 11])),
        "row 2: p_glioma is '1.3' and p_rare is '-0.5', not a probability from 0 to 1",
    ),
    "label": (
        text(NAMED.rename(columns={"prediction": "label"})),
        "row 1: rename 'label' to prediction (if it is what was predicted: in ictmri.cases, label is the "
        "truth)",
    ),
    "id and bare classes": (
        text(GOOD.set_axis(["id", *CLASSES], axis=1)),
        "row 1: rename 'id' to case_id, 'glioma' to p_glioma, 'pcnsl' to p_pcnsl, 'germinoma' to "
        "p_germinoma, 'rare' to p_rare",
    ),
    "columns of an array": (
        text(GOOD.set_axis(["Case ID", "0", "1", "2", "3"], axis=1)),
        "row 1: rename 'Case ID' to case_id, '0' to p_glioma, '1' to p_pcnsl, '2' to p_germinoma, '3' to "
        "p_rare",
    ),
    "capitals": (
        text(NAMED.set_axis(["Patient", "Prediction"], axis=1)),
        "row 1: rename 'Patient' to case_id, 'Prediction' to prediction",
    ),
    "the truth beside it": (
        text(NAMED.assign(label="rare", fold=0)),
        "row 1: unknown columns 'label', 'fold'; leave them out",
    ),
    "three classes": (
        text(GOOD.drop(columns="p_rare")),
        "row 1: column 'p_rare' is missing; a method that never predicts this class writes 0",
    ),
    "semicolons": (
        text(GOOD, sep=";", decimal=","),
        "row 1: the columns are separated by semicolons, not commas",
    ),
    "R write.csv2": (
        text(GOOD, sep=";", decimal=",", quoting=2),
        "row 1: the columns are separated by semicolons, not commas",
    ),
    "tabs": (text(GOOD, sep="\t"), "row 1: the columns are separated by tabs, not commas"),
    "blanks": (saved(VALUES), "row 1: the columns are separated by blanks, not commas"),
    "Parquet": (b"PAR1\x15\x04", "this is a Parquet file, not a CSV"),
    "JSON": (json.dumps([{"case_id": 1}]), "this is JSON, not a CSV"),
    "JSON lines": ('{"case_id": 1}\n{"case_id": 2}\n', "this is JSON, not a CSV"),
    "numpy save": (b"\x93NUMPY\x01\x00", "this is an array of NumPy, not a CSV"),
    "a pickle": (b"\x80\x04\x95", "this is a pickle, not a CSV"),
    "a web page": ("\n<!doctype html>", "this is a web page or XML, not a CSV"),
}
"""Contents of a file, and the only line that is told of it."""

TAKEN: dict[str, tuple[str, Sequence[str]]] = {
    "another order of rows and columns": (text(GOOD[[*GOOD.columns[::-1]]][::-1]), ()),
    "float32": (text(GOOD.astype(dict.fromkeys(PROBABILITIES, "float32"))), ()),
    "names with capitals": (
        text(NAMED.assign(prediction=["Glioma", "PCNSL", "germinoma", "rare"] * 3)),
        ["6 classes are written with capitals (Glioma, PCNSL)"],
    ),
    "labels": (
        text(NAMED.assign(prediction=[0, 1, 2, 3] * 3)),
        [f"column prediction holds numbers, read as {LABELS}"],
    ),
    "a run written twice": (
        text(pd.concat([NAMED.assign(seed=0), NAMED.assign(seed=1)])),
        ["seeds 0 and 1 have the same predictions"],
    ),
    "labels of a column of floats": (
        text(NAMED.assign(prediction=[0.0, 1.0, 2.0, 3.0] * 3)),
        [f"column prediction holds numbers, read as {LABELS}"],
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_each_kind_is_told_in_one_line(kind: str, tmp_path: Path) -> None:
    content, said = TOLD[kind]
    path = tmp_path / "p.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_predictions(path, COHORT)
    assert caught.value.problems == [said]
    assert caught.value.next_step


@pytest.mark.parametrize("kind", TAKEN)
def test_what_has_one_reading_is_taken_and_noted(kind: str, tmp_path: Path) -> None:
    content, notes = TAKEN[kind]
    (tmp_path / "p.csv").write_text(content)
    read = read_predictions(tmp_path / "p.csv", COHORT)
    assert read.notes == tuple(notes)
    expected = [n % 4 for n in range(12)] if "prediction" in content else [3] * 12
    assert read.labels.tolist() == [expected] * len(read.seeds)


def test_the_line_of_pandas_that_is_named_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text(GOOD, sep=";", decimal=","))
    with pytest.raises(InputError) as caught:
        read_predictions(path, COHORT)
    assert caught.value.next_step == (
        "pandas.read_csv('p.csv', sep=';', decimal=',').to_csv('p-commas.csv', index=False)"
    )
    pd.read_csv(path, sep=";", decimal=",").to_csv(path, index=False)
    assert read_predictions(path, COHORT).labels.tolist() == [[3] * 12]


@pytest.mark.parametrize(
    ("row", "ends"),
    [((0.33, 0.33, 0.33, 0.0), "0.99 to 0.99"), ((70, 10, 10, 9.9), "99.9 to 99.9")],
)
def test_rounding_and_percent_are_undone_on_request(
    row: tuple[float, ...], ends: str, tmp_path: Path
) -> None:
    frame = numbers(*row)
    read = bench.evaluate(frame, COHORT, normalize=True, n_draws=20)
    note = f"normalized: the probabilities of each case were divided by their sum, {ends}"
    assert note in read.content["warnings"]
    frame.to_csv(tmp_path / "p.csv", index=False)
    values = read_predictions(tmp_path / "p.csv", COHORT, normalize=True).probabilities
    assert values is not None
    np.testing.assert_allclose(values[0, 0], np.array(row) / sum(row), rtol=1e-15)
    compared = bench.compare(frame, GOOD, COHORT, normalize=True)
    assert f"first: {note}" in compared.warnings


@pytest.mark.parametrize("kind", ["logits", "sigmoids", "log-softmax"])
def test_nothing_else_is_undone(kind: str, tmp_path: Path) -> None:
    content, said = TOLD[kind]
    assert isinstance(content, str)
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(InputError) as caught:
        read_predictions(tmp_path / "p.csv", COHORT, normalize=True)
    assert caught.value.problems == [said]


class NoArray:
    """A tensor that has a gradient says no."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("requires grad")


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (numbers(0.9, 0.4, 0.1, 0.2), "iloc[0] and 11 more: 0.9, 0.4, 0.1, 0.2: "),
        (numbers(-3.2, 1.5, 0.2, 4.0)[list(PROBABILITIES)].to_numpy(), "index 0 and 11 more: "),
        (GOOD.assign(p_rare=np.nan), "iloc[0] and 11 more: p_rare is 'nan'"),
        (GOOD.rename(columns={"case_id": "ID"}), "columns: rename 'ID' to case_id"),
        (GOOD.assign(case_id=range(12)), "a number alone names no case"),
        (VALUES.T, "its shape is (4, 12); there are 12 cases; transpose it (.T)"),
        (NoArray(), "NoArray that is no array (requires grad)"),
        ([[1, 2], [3]], "list that is no array"),
        (np.arange(12) + 0.5, "0.5 is no label (and 11 more)"),
        ({"mini-0001": "glioma"}, "its shape is (); there are 12 cases"),
    ],
)
def test_frames_and_arrays_are_told_as_well(given_: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        bench.evaluate(given_, COHORT, n_draws=20)
    (problem,) = caught.value.problems
    assert problem.startswith(said) or said in problem
    assert "row 2" not in problem


def test_a_series_is_read_by_its_index() -> None:
    series = NAMED.set_index("case_id").prediction
    one = bench.evaluate(series, COHORT, n_draws=20)
    other = bench.evaluate(series[::-1], COHORT, n_draws=20)
    assert one.content["confusion"] == other.content["confusion"]
    assert one.accuracy.value == 1


CELL = st.one_of(
    st.sampled_from(
        ["0", "1", "0.25", "1e400", "-1e400", "nan", "", "glioma", "RARE", "3", "\0", "#"]
    ),
    st.sampled_from(IDS),
    st.text(max_size=8),
    st.floats().map(repr),
)
NAME = st.one_of(st.sampled_from(["case_id", "seed", "prediction", *PROBABILITIES, "id", ""]), CELL)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    header=st.lists(NAME, max_size=7),
    rows=st.lists(st.lists(CELL, max_size=7), max_size=14),
    separator=st.sampled_from([",", ",", ",", ";", "\t"]),
    normalize=st.booleans(),
)
def test_no_table_gives_a_traceback(
    header: list[str], rows: list[list[str]], separator: str, normalize: bool, tmp_path: Path
) -> None:
    lines = [separator.join(cells) for cells in (header, *rows)]
    (tmp_path / "p.csv").write_bytes("\n".join(lines).encode(errors="replace"))
    told(tmp_path / "p.csv", normalize=normalize)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cells=st.lists(st.lists(CELL, min_size=4, max_size=4), min_size=12, max_size=12),
    labels=st.lists(CELL, min_size=12, max_size=12),
    normalize=st.booleans(),
)
def test_no_values_give_a_traceback(
    cells: list[list[str]], labels: list[str], normalize: bool, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    for frame in (
        GOOD.assign(**dict(zip(PROBABILITIES, zip(*cells, strict=True), strict=True))),
        NAMED.assign(prediction=labels),
    ):
        path.write_bytes(text(frame).encode(errors="replace"))
        told(path, normalize=normalize)


def told(path: Path, *, normalize: bool) -> None:
    """Read a file; what is wrong is told in lines that can be shown, each kind once."""
    problems: list[str] = []
    with collected(problems, "p.csv"):
        read = read_predictions(path, COHORT, normalize=normalize)
        assert read.labels.shape[1] == len(IDS)
        if read.probabilities is not None:
            np.testing.assert_allclose(read.probabilities.sum(axis=-1), 1, atol=1.01e-4)
    shown = str(InputError("p.csv", problems))
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert len(problems) < 12
