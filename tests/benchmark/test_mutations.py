"""Ten thousand damaged submissions: refused with an explanation, or valid by rules written down here.

The rules for predictions are restated in a few lines (``restated``) with csv and Decimal; the reader must
agree with them in both directions. Entries are held against the published JSON Schema.
"""

import csv
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.made_entries import hand_in, made_entry
from support.made_predictions import probabilities, write_predictions

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.csvfile import MAX_BYTES
from ictmri.io.yamlfile import dump_yaml, read_yaml
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import load_entry, write_entry
from ictmri_benchmark.board.submission import submit
from ictmri_benchmark.score.predictions import read_predictions

REPOSITORY = Path(__file__).parents[2]
COLUMNS = ("case_id", "seed", *(f"p_{name}" for name in CLASSES), "prediction")
Table = list[list[str]]
Damaged = tuple[bytes, int | None, str | None]
"""The file, and where known the row and the column of the damage."""


@pytest.fixture
def small(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    return make_cohort([*CLASSES] * 3, n_folds=3)


def words(text: str) -> list[str]:
    return text.split()


# ---- the rules for predictions, once more ----------------------------------------------------------------


def restated(
    content: bytes, cohort: FoldTable
) -> dict[tuple[int, str], list[Decimal] | str] | None:
    """What a predictions file says, None where it is not valid."""
    try:
        text = content.decode().removeprefix("\ufeff")
        table = list(csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    table = [[cell.strip(" \t") for cell in row] for row in table]
    header, rows = (table or [[]])[0], [row for row in table[1:] if any(row)]
    kinds = ({"case_id", *COLUMNS[2:6]}, {"case_id", "prediction"})
    if "\0" in text or set(header) - {"seed"} not in kinds or len(set(header)) < len(header):
        return None
    said, read, labels = {}, [], "prediction" in header
    for row in rows:
        if len(row) != len(header):
            return None
        cells = dict(zip(header, row, strict=True))
        read.append(cells)
        key = (whole(cells.get("seed", "0")), cells["case_id"])
        value = row_value(cells)
        if key[0] is None or key in said or value is None:
            return None
        said[key] = value
    written_as = {cells["prediction"][:1].isdecimal() for cells in read} if labels else {False}
    if len(written_as) > 1 or (written_as == {True} and CLASSES[0] not in said.values()):
        return None
    seeds = {seed for seed, _ in said}
    wanted = {(seed, case_id) for seed in seeds for case_id in cohort.case_ids}
    return said if said and set(said) == wanted and len(seeds) <= 1000 else None


def whole(text: str) -> int | None:
    ok = text and set(text) <= set("0123456789") and len(text) <= 10 and int(text) < 2**31
    return int(text) if ok else None


def row_value(cells: dict[str, str]) -> list[Decimal] | str | None:
    if "prediction" in cells:
        text = cells["prediction"]
        if re.fullmatch(r"[0-3](\.0*)?", text, re.ASCII):
            return CLASSES[int(text[0])]
        return text.lower() if text.isascii() and text.lower() in CLASSES else None
    found = []
    for name in CLASSES:
        text = cells[f"p_{name}"]
        try:
            plain = len(text) <= 100 and set(text) <= set("0123456789.+-eE")
            value = Decimal(text) if plain else None
        except InvalidOperation:
            value = None
        if value is None or not 0 <= value <= 1:
            return None
        found.append(value)
    return found if abs(sum(found) - 1) <= Decimal("0.0001") else None


# ---- damage ----------------------------------------------------------------------------------------------


def written(table: Table, rng: random.Random) -> bytes:
    end = rng.choice(["\n", "\r\n"])
    return (end.join(",".join(row) for row in table) + end).encode()


def spot(table: Table, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(1, len(table)), rng.randrange(len(table[0]))


def bytes_flipped(table: Table, rng: random.Random) -> Damaged:
    content = bytearray(written(table, rng))
    for _ in range(rng.randint(1, 3)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content), None, None


def bytes_cut_or_put(table: Table, rng: random.Random) -> Damaged:
    content = written(table, rng)
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice([0, 1, 1, 5, 60, len(content)]))
    put = bytes(rng.choices(b'0123456789.,-e"\n\r \t;ab\xc2\xff\x00', k=rng.choice([0, 1, 1, 4])))
    return content[:start] + put + content[stop:], None, None


def rows_moved(table: Table, rng: random.Random) -> Damaged:
    place, other = rng.randrange(len(table)), rng.randrange(len(table))
    kind = rng.randrange(5)
    if kind == 0:
        del table[place]
    elif kind == 1:
        table.insert(other, list(table[place]))
    elif kind == 2:
        table[place], table[other] = table[other], table[place]
    elif kind == 3:
        rest = table[1:]
        rng.shuffle(rest)
        table[1:] = rest
    else:
        table.insert(place, rng.choice([[], [""] * len(table[0]), ["# a remark"]]))
    return written(table, rng), None, None


def cells_moved(table: Table, rng: random.Random) -> Damaged:
    row, column = spot(table, rng)
    kind = rng.randrange(4)
    if kind == 0:
        del table[row][column]
    elif kind == 1:
        table[row].insert(column, table[row][column])
    elif kind == 2:
        other = rng.randrange(len(table[0]))
        table[row][column], table[row][other] = table[row][other], table[row][column]
    else:
        other = rng.randrange(1, len(table))
        table[row][0], table[other][0] = table[other][0], table[row][0]
    return written(table, rng), None, None


def columns_moved(table: Table, rng: random.Random) -> Damaged:
    order = list(range(len(table[0])))
    kind = rng.randrange(3)
    if kind == 0:
        rng.shuffle(order)
    elif kind == 1:
        del order[rng.randrange(len(order))]
    else:
        order.insert(rng.randrange(len(order)), rng.choice(order))
    return written([[row[i] for i in order] for row in table], rng), None, None


NUMBERS = (
    *words(
        "nan inf -inf Infinity -0 -0.0 +0.5 1e400 -1e-400 1e-3 0x1p-1 0x1 1_0 0_1.5 0,25 50% 0.5%"
    ),
    *words(
        "-0.1 1.0001 1.5 70 0.3.3 1/4 ½ ..5 .5 5. 1. None NULL NA #N/A #DIV/0! true 0.25f 1e e1"
    ),
    *words("+ - --0.1 ٠.٢٥ ０.２５ 0．25 −0 1\u0660 ² 1e-9 1,000"),
    *(
        "",
        " ",
        "0 .5",
        "0\u00a0",
        "\u00a00.25",
        "0.2\u200b5",
        "0" * 400 + ".25",
        '"1,000"',
        '"0,25"',
    ),
)


def number_changed(table: Table, rng: random.Random) -> Damaged:
    row, column = spot(table, rng)
    table[row][column] = rng.choice(NUMBERS)
    return written(table, rng), row + 1, table[0][column]


def sum_changed(table: Table, rng: random.Random) -> Damaged:
    row, column = spot(table, rng)
    if re.fullmatch(r"[01]\.\d{6}", table[row][column]):
        off = rng.choice(["0.00005", "-0.00005", "0.001", "-0.001", "0.3", "-0.3", "1"])
        table[row][column] = str(Decimal(table[row][column]) + Decimal(off))
    return written(table, rng), row + 1, table[0][column]


UNSEEN = "\u200d\u200b\u00a0\u202f\u2060\u00ad\u202e\u0301\ufeff\u3000\x85\x1b\x1f\u2028"
LOOK_ALIKES = {
    **dict(zip("0123456789", "０１２３４５６７８９", strict=True)),
    **dict(zip("aceioprxy", "асеіоргху", strict=True)),
    **{"-": "‐", "_": "＿", ".": "․", "m": "ｍ", "n": "ո", "l": "ⅼ", "g": "ɡ", "s": "ѕ"},
}


def look_alikes(table: Table, rng: random.Random) -> Damaged:
    row, column = rng.randrange(len(table)), rng.randrange(len(table[0]))
    cell = table[row][column]
    places = [i for i, c in enumerate(cell) if c in LOOK_ALIKES]
    if places and rng.random() < 0.6:
        at = rng.choice(places)
        cell = cell[:at] + LOOK_ALIKES[cell[at]] + cell[at + 1 :]
    else:
        at = rng.randrange(len(cell) + 1)
        unseen = rng.choice(UNSEEN)
        cell = cell[:at] + unseen + cell[at:]
    table[row][column] = cell
    # A second byte order mark before the header is part of its first cell; one alone is taken away.
    known = (row, column) != (0, 0)
    return written(table, rng), row + 1 if known else None, table[0][column] if row else None


FORMULAS = (
    "=cmd|' /C calc'!A0",
    "=1+1",
    "+1+1",
    "@SUM(A1)",
    "-2+3",
    '=HYPERLINK(""http://x"")',
    "=A2",
)


def formula_put(table: Table, rng: random.Random) -> Damaged:
    row, column = spot(table, rng)
    table[row][column] = rng.choice(FORMULAS)
    return written(table, rng), row + 1, table[0][column]


def encoding_changed(table: Table, rng: random.Random) -> Damaged:
    content = written(table, rng)
    text = content.decode()
    at = rng.randrange(len(text))
    return (
        rng.choice(
            [
                text.encode("utf-16"),
                text.encode("utf-16-le"),
                text.encode("utf-16-be"),
                text.encode("utf-32"),
                text.encode("utf-7") + b"\xe9",
                b"\xef\xbb\xbf" + content,
                b"\xef\xbb\xbf\xef\xbb\xbf" + content,
                (text[:at] + "é" + text[at:]).encode("latin-1"),
                (text[:at] + "\0" + text[at:]).encode(),
                text.encode("cp037"),
            ]
        ),
        None,
        None,
    )


def quotes_put(table: Table, rng: random.Random) -> Damaged:
    row, column = rng.randrange(len(table)), rng.randrange(len(table[0]))
    cell = table[row][column]
    table[row][column] = rng.choice(
        [
            f'"{cell}',
            f'{cell}"',
            f'"{cell}"',
            f'"{cell}"x',
            f'"\n{cell}"',
            f'"{cell}\n"',
            f"'{cell}'",
        ]
    )
    return written(table, rng), None, None


def size_changed(table: Table, rng: random.Random) -> Damaged:
    row, column = spot(table, rng)
    kind = rng.randrange(6)
    if kind == 0:
        table[row][column] = "9" * rng.choice([5000, 140_000])
    elif kind == 1:
        table[row] += ["0"] * rng.choice([100, 100_000])
    elif kind == 2:
        table[0] += [f"c{i}" for i in range(rng.choice([3, 100_000]))]
    elif kind == 3:
        table += [[f"x-{i}", *table[1][1:]] for i in range(rng.choice([30, 3000]))]
    elif kind == 4:
        table[row][column] = "a" * 100_000 + "\x07"
    else:
        table.insert(row, [" " * 200_000])
    return written(table, rng), None, None


def separator_changed(table: Table, rng: random.Random) -> Damaged:
    mark = rng.choice([";", "\t", "|", " ", ":", ", ", " ,"])
    lines = [mark.join(row) for row in table]
    if rng.random() < 0.3:
        lines = [line.replace(".", ",") for line in lines]
    return "\n".join(lines).encode(), None, None


DAMAGES = (
    *(bytes_flipped, bytes_cut_or_put, rows_moved, cells_moved, columns_moved, number_changed),
    *(sum_changed, look_alikes, formula_put, encoding_changed, quotes_put, separator_changed),
)


def good_tables(cohort: FoldTable, tmp_path: Path) -> list[Table]:
    chances = write_predictions(tmp_path / "p.csv", cohort, probabilities(cohort, 0.4))
    rows = [line.split(",") for line in chances.read_text().splitlines()]
    two_seeds = [["seed", *rows[0]], *([s, *row] for s in ("0", "7") for row in rows[1:])]
    named = write_predictions(tmp_path / "l.csv", cohort, np.array(cohort.labels))
    return [rows, two_seeds, [line.split(",") for line in named.read_text().splitlines()]]


WHOLE_FILE = re.compile(
    r"the file is empty|this is .*, not a CSV|no predictions: the file has a header only"
    rf"|more than {MAX_BYTES} bytes|column (case_id|seed|prediction): "
)
WHOLE_ROW = re.compile(
    r"\d+ cells, the header has|.*quotation mark|not UTF-8|holds NUL|a cell of more|two byte-order"
)


def explained(error: InputError, content: bytes) -> None:
    """Every problem names a row that the file has and a column of it, and there is a next step."""
    text = str(error)
    assert error.problems
    assert error.next_step
    assert "Next: " in text
    assert len(text) < 20_000
    assert all(c.isprintable() or c == "\n" for c in text), text
    last_row = content.count(b"\n") + content.count(b"\r") + 1
    for problem in error.problems:
        place = re.match(r"row (\d+)(?: and \d+ more)?: (.*)", problem)
        if place is None:
            assert WHOLE_FILE.match(problem), problem
            continue
        assert 1 <= int(place[1]) <= last_row, problem
        named = any(name in place[2] for name in COLUMNS) or "column" in place[2]
        assert named or WHOLE_ROW.match(place[2]), problem


def agree(content: bytes, cohort: FoldTable, path: Path) -> InputError | None:
    """Read a file; what is accepted must be what the restated rules accept, value by value."""
    path.write_bytes(content)
    expected = restated(content, cohort)
    refused = None
    try:
        found = read_predictions(path, cohort)
    except InputError as error:
        refused = error
    if refused is not None:
        assert expected is None, f"refused, though valid: {refused}"
        explained(refused, content)
        return refused
    assert expected is not None, content[:2000]
    for place, seed in enumerate(found.seeds):
        for case, case_id in enumerate(cohort.case_ids):
            value = expected[seed, case_id]
            if isinstance(value, str):
                assert CLASSES[found.labels[place, case]] == value
            else:
                assert found.probabilities is not None
                assert found.probabilities[place, case].tolist() == [float(v) for v in value]
    return None


@pytest.mark.parametrize("n_tables", [1500, pytest.param(8000, marks=pytest.mark.long)])
def test_damaged_predictions_are_explained_or_valid(
    n_tables: int, small: FoldTable, tmp_path: Path
) -> None:
    rng = random.Random(2026)
    tables = good_tables(small, tmp_path)
    path = tmp_path / "mutated.csv"
    accepted = dict.fromkeys(DAMAGES, 0)
    for number in range(n_tables):
        damage = DAMAGES[number % len(DAMAGES)]
        table = [list(row) for row in tables[rng.randrange(len(tables))]]
        content, row, column = damage(table, rng)
        refused = agree(content, small, path)
        accepted[damage] += refused is None
        if refused is not None and row is not None:
            told = [p for p in refused.problems if re.match(rf"row {row}( and \d+ more)?: ", p)]
            told += [p for p in refused.problems if "quotation mark" in p]
            told += [p for p in refused.problems if column == "seed" and "missing for seed" in p]
            assert told, (row, refused.problems)
            if column is not None and row > 1 and len(refused.problems) == 1:
                assert column in told[0] or WHOLE_ROW.search(told[0].split(": ", 1)[1]), told
    total = sum(accepted.values())
    assert 0.02 < total / n_tables < 0.5, accepted  # both sides of the rule are exercised
    assert accepted[look_alikes] == accepted[formula_put] == 0


def test_huge_predictions_are_refused_quickly(small: FoldTable, tmp_path: Path) -> None:
    rng = random.Random(5)
    table = good_tables(small, tmp_path)[0]
    for _ in range(40):
        agree(size_changed([list(row) for row in table], rng)[0], small, tmp_path / "big.csv")
    seeds = [[*table[0], "seed"], *([*table[1], str(i)] for i in range(3000))]
    error = agree(written(seeds, rng), small, tmp_path / "big.csv")
    assert error is not None
    assert error.problems == ["column seed: 3000 seeds, more than 1000"]


def test_the_row_is_the_line_that_a_person_sees(small: FoldTable, tmp_path: Path) -> None:
    table = good_tables(small, tmp_path)[0]
    table[2][0] = f'"{table[2][0]}\n\n"'
    table[6][3] = "0.9"
    error = agree("\n".join(",".join(row) for row in table).encode(), small, tmp_path / "p.csv")
    assert error is not None
    lines = (tmp_path / "p.csv").read_text().split("\n")
    (row,) = [number for number, line in enumerate(lines, 1) if ",0.9," in line]
    assert row == 9
    found = [p for p in error.problems if p.startswith("row 9: ")]
    assert "p_glioma, p_pcnsl, p_germinoma and p_rare sum to" in found[0]
    assert error.problems[0].startswith("row 9") or error.problems[0].startswith("row 3")
    assert "a control character" in "".join(error.problems)


def test_look_alikes_are_named(small: FoldTable, tmp_path: Path) -> None:
    table = good_tables(small, tmp_path)[0]
    table[1][0] = table[1][0].replace("i", "і")
    error = agree(written(table, random.Random(0)), small, tmp_path / "p.csv")
    assert error is not None
    assert "(with U+0456, CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I)" in error.problems[0]


# ---- entries ---------------------------------------------------------------------------------------------

BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
REFUSED_TEXT = (
    *(
        "",
        "null",
        "[]",
        "just words",
        "- a\n- b",
        "slug: a\nslug: b",
        "a: &x 1\nb: *x",
        "? [1]\n: 2",
    ),
    *("a0: &a0 [1]\n" + BOMB, "!!python/object/apply:os.system ['id']", "slug: !!str a", "a: '"),
    *(
        "[" * 2000,
        "{a: " * 2000,
        "- " * 500,
        'a: "\\ud800"',
        "a: \x00",
        "a: \x1b[0m",
        "\t- a",
        "@",
        "`",
    ),
    *("--- a\n--- b", "%YAML 9.9\n--- a", "<<: {slug: a}", "a: \ufffe", "a: " + "9" * 5000),
    "x: " + "y" * 300_000,
)
WORDS: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        10**6,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        [],
        {},
        [None],
        [[]],
    ),
    *(
        [1],
        ["x"],
        {"a": 1},
        {"": 1},
        [0, 0],
        [2**31],
        [True],
        ["0"],
        {"accuracy": True},
        {"f": "0.5"},
    ),
    *words(
        "x no ../up a/b .. . con. A ａ а a--b - 012 1:30 2026-01-01 <script> javascript:alert(1) R9"
    ),
    *(
        "",
        " ",
        "a\nb",
        "\u202ex",
        "x\u200b",
        "\x07",
        "x" * 500,
        "=cmd|'/C calc'!A0",
        "https://x y",
        "9.9.9",
    ),
)
RAW = (
    *words(
        "no yes on 010 0o10 0x1f 1:30 1_000 2026-01-01 .nan .inf 1e400 ~ = 1e5 +1 -0 '0' [0 { *a % @x"
    ),
    *("&a 0", "!!int 0", "| x", "> x"),
)


def paths_in(content: object, before: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    items = content.items() if isinstance(content, dict) else ()
    items = enumerate(content) if isinstance(content, list) else items
    found = [before] if before else []
    for key, value in items:
        found += paths_in(value, (*before, key))
    return found


def word_changed(content: dict, rng: random.Random) -> bytes:
    path = rng.choice(paths_in(content))
    place: object = content
    for key in path[:-1]:
        place = place[key]  # type: ignore[index]
    kind = rng.randrange(5)
    if kind == 0:
        del place[path[-1]]  # type: ignore[attr-defined]
    elif kind == 1 and isinstance(place, dict):
        place[rng.choice(["extra", "__class__", "schema_", "Slug", "level ", "a.b"])] = "x"
    else:
        place[path[-1]] = rng.choice(WORDS)  # type: ignore[index]
    return dump_yaml(content).encode()


def raw_changed(content: dict, rng: random.Random) -> bytes:
    lines = dump_yaml(content).splitlines()
    at = rng.choice([i for i, line in enumerate(lines) if ": " in line or line.strip()[:2] == "- "])
    head = re.match(r"\s*(- |[\w-]+: )", lines[at])
    assert head
    lines[at] = head[0] + rng.choice(RAW)
    return "\n".join(lines).encode()


def entry_noise(content: dict, rng: random.Random) -> bytes:
    data = bytearray(dump_yaml(content).encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            data[at] = rng.choice(b":-[]{}&*!|>%@`'\"\\#\n\t ,?0aZ\x00\x80\xff")
        else:
            del data[at : at + rng.choice([1, 1, 20])]
    return bytes(data)


def entry_encoding(content: dict, rng: random.Random) -> bytes:
    text = dump_yaml(content)
    return rng.choice(
        [
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + text.encode(),
            text.replace("Made", "Mäde").encode("latin-1"),
            text.replace("\n", "\r\n").encode(),
            text.replace("a", "а").encode(),
            text.replace(" ", "\u00a0").encode(),
        ]
    )


def explained_entry(error: InputError) -> None:
    text = str(error)
    assert error.next_step
    assert all(c.isprintable() or c == "\n" for c in text), text
    for problem in error.problems:
        assert re.match(
            r"not valid YAML: (line \d+|an escape)|more than \d+ bytes"
            r"|entry: |(schema|slug|benchmark|synthetic|method|selection|seeds|ensemble|test_evaluations"
            r"|inputs|external|overlap|trained_on|compute|claimed|level)(\.[^:]*)?(:| is| should) ."
            r"|\S.*: unknown field",
            problem,
        ), problem


@pytest.mark.parametrize("n_entries", [400, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_entries_are_explained_or_valid(
    n_entries: int, small: FoldTable, tmp_path: Path
) -> None:
    rng = random.Random(7)
    schema = json.loads((REPOSITORY / "benchmark/schema/submission-1.json").read_text())
    published = jsonschema.Draft202012Validator(schema)
    described = made_entry(
        small,
        "mutated",
        compute={"gpu": "none", "hours": 1.5},
        claimed={"accuracy": 0.5},
        external=("weights",),
        overlap="no",
        test_evaluations=3,
    )
    good = described.model_dump(mode="json", by_alias=True)
    path = tmp_path / "entry.yaml"
    kinds = (word_changed, raw_changed, entry_noise, entry_encoding)
    accepted = 0
    for number in range(n_entries):
        path.write_bytes(kinds[number % len(kinds)](json.loads(json.dumps(good)), rng))
        try:
            entry = load_entry(path)
        except InputError as error:
            explained_entry(error)
            continue
        accepted += 1
        published.validate(read_yaml(path, ""))
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.slug, re.ASCII)
        path.write_text(dump_yaml(entry.model_dump(mode="json", by_alias=True)))
        assert load_entry(path) == entry
    assert 0.05 < accepted / n_entries < 0.6
    for text in REFUSED_TEXT:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(InputError) as caught:
            load_entry(path)
        explained_entry(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("synthetic: true", "synthetic: yes", "synthetic should be true or false"),
        ("synthetic: true", "synthetic: 'true'", "synthetic should be true or false"),
        ("- 0", "- 010", r"seeds\.0: Input should be a valid integer"),
        ("- 0", "- 1:30", r"seeds\.0: Input should be a valid integer"),
        ("- 0", "- 0.0", r"seeds\.0: Input should be a valid integer"),
        ("- 0", "- true", r"seeds\.0: Input should be a valid integer"),
        ("licence: MIT", "licence: 2", r"method\.licence: Input should be a valid string"),
        (
            "claimed: {}",
            "claimed: {accuracy: .nan}",
            r"claimed\.accuracy: Input should be a finite",
        ),
        (
            "claimed: {}",
            "claimed: {accuracy: 1e400}",
            r"claimed\.accuracy: Input should be a finite",
        ),
        (
            "claimed: {}",
            "claimed: {accuracy: 70%}",
            r"claimed\.accuracy: Input should be a valid num",
        ),
        (
            "claimed: {}",
            "claimed: {accuracy: yes}",
            r"claimed\.accuracy: Input should be a valid num",
        ),
        ("claimed: {}", "claimed: {a: 1, a: 2}", "line [0-9]+: 'a' stands twice"),
        ("compute: {}", "compute: !!python/name:os.system {}", r"line [0-9]+: tags \(!\) are not"),
        ("slug: fine", "slug: ../fine", "slug: .* is no slug"),
        ("slug: fine", "slug: ｆine", "slug: .* is no slug"),
        ("slug: fine", 'slug: "fine\\n"', "slug: .* is no slug"),
        ("name: Fine", 'name: "Fi\\nne"', r"method\.name: one line of text"),
        ("name: Fine", 'name: "Fi\\u202ene"', r"method\.name: holds U\+202E"),
        ("code: ''", "code: javascript:alert(1)", r"method\.code: is no https"),
    ],
)
def test_yaml_is_taken_at_its_word(
    old: str, new: str, told: str, small: FoldTable, tmp_path: Path
) -> None:
    path = tmp_path / "entry.yaml"
    write_entry(path, made_entry(small, "fine"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=told) as caught:
        load_entry(path)
    explained_entry(caught.value)


HARD_TEXTS = (
    *words(
        "no 010 1:30 1e5 0x1F ~ null 2026-01-01 ' \" \\ %a @a `a {a [a | > !x &a *a é漢😀 1_0 = <<"
    ),
    *words("--- ... +1 .5 5. .nan y True"),
    *("a: b", "# x", "- x", " a ", "? a", ": a", "a #b", "<b>&amp;</b>", "a" * 400),
)


def test_any_text_survives_the_file(small: FoldTable, tmp_path: Path) -> None:
    described = made_entry(
        small,
        "hard",
        external=(*HARD_TEXTS, "a\n\nb\n"),
        compute={t[:80]: t for t in HARD_TEXTS},
    )
    write_entry(tmp_path / "entry.yaml", described)
    assert load_entry(tmp_path / "entry.yaml") == described


# ---- whole submissions -----------------------------------------------------------------------------------


def test_damaged_submissions_write_nothing(small: FoldTable, tmp_path: Path) -> None:
    rng = random.Random(11)
    tables = good_tables(small, tmp_path)
    entries = tmp_path / "place" / "entries"
    refused = 0
    for number in range(36):
        files = hand_in(
            tmp_path / "in", small, made_entry(small, f"e{number}"), probabilities(small, 0.4)
        )
        damage = DAMAGES[number % len(DAMAGES)]
        files[0].write_bytes(damage([list(row) for row in tables[0]], rng)[0])
        if number % 3 == 0:
            good = made_entry(small, f"e{number}").model_dump(mode="json", by_alias=True)
            files[1].write_bytes(dump_yaml(good | {"selection": rng.choice(WORDS)}).encode())
        valid = restated(files[0].read_bytes(), small) is not None
        if valid and number % 3:
            assert submit(*files, small, entries, synthetic=True).folder.parent == entries
            shutil.rmtree(tmp_path / "place")
            continue
        refused += 1
        with pytest.raises(InputError) as caught:
            submit(*files, small, entries, synthetic=True)
        assert caught.value.next_step
        assert not list(tmp_path.glob(f"place/entries/*e{number}"))
    assert refused > 20
    assert not entries.exists() or not list(entries.iterdir())


def test_the_command_line_refuses_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ictmri.cli.app import main

    rng = random.Random(13)
    cohort, _ = find_folds("ictmri-phantom")
    files = hand_in(tmp_path / "in", cohort, made_entry(cohort, "cli"), probabilities(cohort, 0.4))
    table = [line.split(",") for line in files[0].read_text().splitlines()]
    for number in range(24):
        content, _, _ = DAMAGES[number % len(DAMAGES)]([list(row) for row in table], rng)
        if restated(content, cohort) is not None:
            continue
        files[0].write_bytes(content)
        command = ["submit", str(files[0]), "--entry", str(files[1]), "--cohort", "ictmri-phantom"]
        command += ["--entries", str(tmp_path / "entries")]
        monkeypatch.setattr(sys, "argv", ["ictmri", *command])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr().err
        assert caught.value.code == 1
        assert said.startswith("error: submission: ")
        assert "Traceback" not in said
        assert "Next: " in said
    assert not (tmp_path / "entries").exists()
