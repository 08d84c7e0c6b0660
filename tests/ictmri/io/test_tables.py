"""Tables in every form, read back by the programs that they are for."""

import csv
import io
import json
import re

import pytest

from ictmri.io.tables import SYNTHETIC, Format, Table, latex_text, markdown_cell

FOUND = {"value": 0.71249999, "low": 0.65, "high": 0.781}
BOARD = Table.of(
    [
        {"entry": "a | b_c", "macro F1": FOUND, "cases": 249},
        {"entry": "=HYPERLINK()", "macro F1": None, "cases": 249, "paper": "100 % {sure}"},
    ],
    title="The board of 5 % & more",
    synthetic=True,
)


def test_csv_gives_every_digit_and_no_formula() -> None:
    first, second = csv.DictReader(io.StringIO(BOARD.render("csv")))
    assert {key: float(first[f"macro F1{key}"]) for key in ("", " low", " high")} == {
        "": FOUND["value"],
        " low": FOUND["low"],
        " high": FOUND["high"],
    }
    assert (first["paper"], first["cases"], first["synthetic"]) == ("", "249", "true")
    assert second["entry"] == "'=HYPERLINK()"
    assert second["macro F1"] == second["macro F1 low"] == ""


def test_json_holds_the_rows_as_they_are() -> None:
    read = json.loads(BOARD.render("json"))
    assert read["synthetic"] is True
    assert read["rows"][0] == {"entry": "a | b_c", "macro F1": FOUND, "cases": 249, "paper": None}


def test_text_stands_in_columns() -> None:
    title, blank, head, first, second, note = BOARD.render("text").split("\n")
    assert (title, blank, note) == (BOARD.title, "", SYNTHETIC)
    assert first.split() == ["a", "|", "b_c", "0.712", "[0.650,", "0.781]", "249"]
    ends = {line.index(cell) + len(cell) for line, cell in ((head, "cases"), (second, "249"))}
    assert len(ends) == 1


def test_markdown_has_as_many_cells_in_every_line() -> None:
    title, table, note = BOARD.render("markdown").split("\n\n")
    assert (title, note) == (BOARD.title, SYNTHETIC)
    assert {len(re.split(r"(?<!\\)\|", line)) for line in table.split("\n")} == {6}
    assert table.split("\n")[1] == "| --- | ---: | ---: | ---: |"
    assert Table(("a",), ()).render("markdown") == ""


def test_a_cell_cannot_break_out_of_its_table() -> None:
    assert markdown_cell("a | b\n<script>x</script> <3") == "a \\| b &lt;script>x&lt;/script> <3"


def test_latex_has_one_command_a_line_and_no_foreign_one() -> None:
    text = BOARD.render("latex")
    assert r"a \textbar{} b\_c & 0.712 {[}0.650, 0.781{]} & 249 &  \\" in text
    assert rf"\caption{{The board of 5 \% \& more. {SYNTHETIC}.}}" in text
    assert text.count("{") == text.count("}")
    commands = set(
        re.findall(r"\\([a-z]+)", latex_text(r"\input{/etc/passwd} $x^2$ ~ <b> #1 ± −1"))
    )
    assert commands == {"textbackslash", "textasciicircum", "textasciitilde", "textless"} | {
        "textgreater",
        "pm",
    }


@pytest.mark.parametrize("form", ["text", "json", "csv", "latex", "markdown"])
def test_every_form_says_that_a_table_is_synthetic(form: Format) -> None:
    assert "synthetic" in BOARD.render(form).lower()
    plain = Table(BOARD.head, BOARD.rows)
    assert "synthetic" not in plain.render(form).lower()
