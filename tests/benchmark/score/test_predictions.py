import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.made_predictions import probabilities, write_predictions

from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri_benchmark.score.predictions import read_predictions


@pytest.fixture
def good(cohort: FoldTable, tmp_path: Path) -> list[str]:
    path = write_predictions(tmp_path / "good.csv", cohort, probabilities(cohort, 0.4))
    return path.read_text().splitlines()


def replaced(line: int, old: str, new: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        changed = list(lines)
        changed[line] = re.sub(old, new, changed[line])
        assert changed != lines
        return changed

    return change


ROW = r"^([^,]*),.*$"
REFUSALS = {
    "missing": (lambda lines: lines[:-3], "3 cases are missing: mini-0246, mini-0247, mini-0248"),
    "extra": (
        lambda lines: [*lines, "mini-9999,1,0,0,0"],
        "row 251: case_id: no case 'mini-9999' in cohort mini",
    ),
    "duplicate": (
        lambda lines: [*lines, lines[3]],
        "row 251: case_id 'mini-0002' stands in row 4 already",
    ),
    "misspelt": (
        replaced(5, "^mini-0004", "mini_0004"),
        "row 6: case_id: no case 'mini_0004' in cohort mini; did you mean 'mini-0004'?",
    ),
    "nan": (
        replaced(1, ROW, r"\1,nan,0.3,0.3,0.4"),
        "row 2: p_glioma is 'nan', not a probability from 0 to 1",
    ),
    "infinite": (replaced(1, ROW, r"\1,inf,0,0,0"), "row 2: p_glioma is 'inf'"),
    "negative": (replaced(2, ROW, r"\1,-0.2,0.4,0.4,0.4"), "row 3: p_glioma is '-0.2'"),
    "above one": (replaced(2, ROW, r"\1,1.2,0,0,0"), "row 3: p_glioma is '1.2'"),
    "percent": (replaced(2, ROW, r"\1,70,10,10,10"), "row 3: p_glioma is '70'"),
    "words": (replaced(2, ROW, r"\1,high,0,0,1"), "row 3: p_glioma is 'high'"),
    "formula": (replaced(2, ROW, r"\1,=1+1,0,0,1"), "row 3: p_glioma is '=1+1'"),
    "sum": (
        replaced(9, ROW, r"\1,0.5,0.2,0.1,0.1"),
        "row 10: p_glioma, p_pcnsl, p_germinoma and p_rare sum to 0.9, not 1",
    ),
    "cells": (replaced(7, ROW, r"\1,0.5,0.5"), "row 8: 3 cells, the header has 5"),
    "header": (
        replaced(0, "p_pcnsl", "p_pcnls"),
        "row 1: unknown column 'p_pcnls'; did you mean 'p_pcnsl'?",
    ),
    "no header": (lambda lines: lines[1:], "row 1: values stand here, no header"),
    "semicolons": (
        lambda lines: [line.replace(",", ";") for line in lines],
        "row 1: the columns are separated by semicolons, not commas",
    ),
    "header only": (lambda lines: lines[:1], "no predictions: the file has a header only"),
    "seed": (
        lambda lines: [lines[0] + ",seed", *(f"{line},x" for line in lines[1:])],
        "row 2 and 248 more: seed 'x' is not a whole number",
    ),
    "half a seed": (
        lambda lines: [
            lines[0] + ",seed",
            *(f"{line},0" for line in lines[1:]),
            *(f"{line},1" for line in lines[1:100]),
        ],
        "150 cases are missing for seed 1",
    ),
    "both kinds": (
        lambda lines: [lines[0] + ",prediction", *(f"{line},glioma" for line in lines[1:])],
        "either 'prediction' or probabilities, not both",
    ),
    "a column twice": (
        lambda lines: [lines[0] + ",p_rare", *(f"{line},0" for line in lines[1:])],
        "column 'p_rare' twice",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_is_not_valid_is_refused_and_explained(
    kind: str, good: list[str], cohort: FoldTable, tmp_path: Path
) -> None:
    change, message = REFUSALS[kind]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(change(good)) + "\n")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_predictions(path, cohort)
    assert caught.value.next_step


def test_all_problems_stand_in_one_message(
    good: list[str], cohort: FoldTable, tmp_path: Path
) -> None:
    lines = list(good)
    lines[1] = "mini-0000,0.5,0.5,0.5,0"
    lines[2] = "mini-x,1,0,0,0"
    lines[3] = lines[4]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_predictions(tmp_path / "p.csv", cohort)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "row 2",
        "row 3",
        "row 5",
        "column case_id",
    ]


def test_unknown_classes_get_the_nearest(cohort: FoldTable, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.csv", cohort, np.zeros(249, dtype=int))
    text = path.read_text()
    path.write_text(text.replace("mini-0001,glioma", "mini-0001,Gliom", 1))
    with pytest.raises(
        InputError, match="row 3: unknown class 'Gliom' in column prediction; did you mean 'glioma'"
    ):
        read_predictions(path, cohort)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"PK\x03\x04...", "Excel or zip"),
        (b"\xd0\xcf\x11\xe0...", "old Excel"),
        (b"\x1f\x8b\x08", "gzip"),
        ("case_id,prediction\n".encode("utf-16"), "UTF-16"),
        (b"case_id,prediction\nmini-0000,gl\xefoma\n", "not UTF-8"),
        (b"case_id,prediction\nmini-0000,\x00\n", "NUL"),
    ],
)
def test_files_that_are_no_csv(
    content: bytes, what: str, cohort: FoldTable, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(InputError, match=what):
        read_predictions(tmp_path / "p.csv", cohort)


def test_a_missing_file_and_a_folder(cohort: FoldTable, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="give a CSV file"):
            read_predictions(path, cohort)


def test_what_a_spreadsheet_writes_is_accepted(
    good: list[str], cohort: FoldTable, tmp_path: Path
) -> None:
    plain, excel = tmp_path / "plain.csv", tmp_path / "excel.csv"
    plain.write_text("\n".join(good))
    excel.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*good, "", ""]).encode())
    np.testing.assert_array_equal(
        read_predictions(plain, cohort).probabilities, read_predictions(excel, cohort).probabilities
    )
