"""entry.yaml: what people write in it and what they are told, and what ``ictmri entry new`` writes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

import pytest
from support.commandline import COMMAND, run
from support.made_entries import made_entry
from support.made_predictions import probabilities, write_predictions

from ictmri.errors import InputError
from ictmri.folds import FoldTable
from ictmri.io.yamlfile import read_yaml
from ictmri.lookup import find_folds
from ictmri_benchmark.board.entry import Entry, load_entry, slug_of, write_entry
from ictmri_benchmark.board.new_entry import entry_fields, explanation, new_entry, parsed_value
from ictmri_benchmark.board.submission import check

PHANTOM = "ictmri-phantom"

SAID = {
    "licence": (
        "  licence: ",
        "  license: ",
        "method.license: unknown field; did you mean 'licence'?",
    ),
    "a slug with blanks": (
        "slug: fine",
        "slug: My Method",
        "slug: 'My Method' is no slug: a-z, 0-9 and single - between them; it would be my-method",
    ),
    "a slug of which nothing is left": (
        "slug: fine",
        "slug: '***'",
        "slug: '***' is no slug: a-z, 0-9 and single - between them",
    ),
    "a choice almost": (
        "selection: fixed-epoch",
        "selection: inner_validation",
        "selection: Input should be 'fixed-epoch', 'inner-validation' or 'test-fold'; "
        "did you mean 'inner-validation'?",
    ),
    "a choice not at all": (
        "prior: none",
        "prior: 7",
        "inputs.prior: Input should be 'none', 'own', 'official' or 'manual-test'",
    ),
    "a field with a capital": ("seeds:", "Seeds:", "Seeds: unknown field; did you mean 'seeds'?"),
    "a field of another part": (
        "synthetic: true",
        "synthetic: true\nauthor: [B]",
        "author: unknown field; did you mean 'method.authors'?",
    ),
    "a field of nothing": (
        "synthetic: true",
        "synthetic: true\nqqq: 1",
        "qqq: unknown field",
    ),
    "yes for true": ("synthetic: true", "synthetic: yes", "synthetic should be true or false"),
    "one author": (
        "  authors:\n  - A\n",
        "  authors: A\n",
        "method.authors should be a list: [...]",
    ),
    "seeds as a number": ("seeds:\n- 0\n", "seeds: 0\n", "seeds should be a list: [...]"),
    "no licence": ("  licence: MIT\n", "", "method.licence is missing"),
    "a digest that is cut": (
        "splits_sha256: ",
        "splits_sha256: ab#",
        "benchmark.splits_sha256: 'ab#",
    ),
    "a link without https": (
        "  code: ''",
        "  code: github.com/x",
        "method.code: is no https:// address, doi: or arXiv: number",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_each_mistake_is_told_in_one_line(kind: str, cohort: FoldTable, tmp_path: Path) -> None:
    old, new, said = SAID[kind]
    path = tmp_path / "entry.yaml"
    write_entry(path, made_entry(cohort, "fine"))
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_entry(path)
    (problem,) = caught.value.problems
    assert problem == said or (said.endswith("#") and problem.startswith(said))
    assert not re.search(r"[\^$\\]|\[a-z0-9", problem)  # no regular expression is shown
    assert "ictmri entry new" in caught.value.next_step


def test_a_missing_file_leads_to_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ictmri entry new --cohort mini --out .* writes one"):
        load_entry(tmp_path / "entry.yaml", "mini")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Method", "my-method"),
        ("  Méthode — 2 (v1.0)  ", "methode-2-v1-0"),
        ("我的", ""),
        ("x" * 80, "x" * 60),
    ],
)
def test_the_slug_of_a_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


# ---- entry new -------------------------------------------------------------------------------------------


def test_a_new_entry_can_be_submitted_as_it_stands(tmp_path: Path) -> None:
    table, synthetic = find_folds(PHANTOM)
    path = tmp_path / "entry.yaml"
    done = run("entry", "new", "--cohort", PHANTOM, "--out", path, "--name", "Mine, again")
    assert "Yours to say, examples stand there: method.summary, method.authors" in done.stdout
    predictions = write_predictions(tmp_path / "p.csv", table, probabilities(table, 0.5))
    checked = check(predictions, path, table, synthetic=synthetic)
    assert (checked.entry.slug, checked.entry.method.name) == ("mine-again", "Mine, again")
    assert checked.entry.synthetic
    before = path.read_text()
    assert "exists already" in run("entry", "new", "--out", path, code=1).stderr
    assert path.read_text() == before


def test_every_field_stands_there_with_the_words_of_the_schema(
    cohort: FoldTable, tmp_path: Path
) -> None:
    path = tmp_path / "entry.yaml"
    path.write_text(new_entry(cohort, {}, synthetic=False))
    content = read_yaml(path, "")
    comments = " ".join(line.strip(" #") for line in path.read_text().splitlines() if "# " in line)
    schema = Entry.model_json_schema(by_alias=True)
    parts = {"": schema["properties"]} | {
        f"{name}.": schema["$defs"][field["$ref"].rpartition("/")[2]]["properties"]
        for name, field in schema["properties"].items()
        if "$ref" in field
    }
    for above, properties in parts.items():
        inner = content[above.strip(".")] if above else content
        assert list(inner) == list(properties)
        for field in properties.values():
            assert field.get("description", "") in comments
            for choice in field.get("enum", ()):
                assert choice in comments
            if "$ref" not in field:
                assert field["description"]
    assert load_entry(path).benchmark.splits_sha256 == cohort.sha256
    assert {place for place, _ in entry_fields()} >= {"schema", "method.licence", "inputs.prior"}


def test_values_are_given_for_any_field(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    given = {
        "seeds": "3,1",
        "method.authors": "Jane Doe, John Roe",
        "compute": "{device: cpu, hours: 1.5}",
        "overlap": "no",
        "method.summary": "yes: 3 [of] #4",
        "inputs.image": "false",
    }
    sets = [word for pair in given.items() for word in ("--set", "=".join(pair))]
    run("entry", "new", "--cohort", PHANTOM, "--out", path, *sets)
    entry = load_entry(path)
    assert (entry.seeds, entry.method.authors) == ((3, 1), ("Jane Doe", "John Roe"))
    assert (entry.compute, entry.overlap) == ({"device": "cpu", "hours": 1.5}, "no")
    assert (entry.method.summary, entry.inputs.image) == ("yes: 3 [of] #4", False)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("overlap=maybe", "overlap: Input should be 'yes', 'no' or 'unknown'"),
        ("method.license=MIT", "method.license: unknown field; did you mean 'licence'?"),
        ("slug.x=1", "slug.x: unknown field"),
        ("inputs=", "inputs should be a mapping"),
        ("seeds", "'seeds' has no ="),
        ("compute={", "not valid YAML"),
        ("=1", "unknown field"),
    ],
)
def test_wrong_values_are_told_and_nothing_is_written(
    setting: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "entry.yaml"
    done = run("entry", "new", "--cohort", PHANTOM, "--out", path, "--set", setting, code=1)
    assert said in done.stderr
    assert not path.exists()


def typed(words: list[str], answers: str) -> str:
    """Run a command on a terminal, type all answers, and return what it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, answers.encode())
        shown = b""
        with suppress(OSError):  # the terminal is gone
            while select([ours], [], [], 30)[0]:
                shown += os.read(ours, 4096)
            process.kill()  # nothing came for half a minute
        assert process.wait() == 0, shown
    os.close(ours)
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_on_a_terminal_it_asks_and_asks_again(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    words = ["entry", "new", "--cohort", PHANTOM, "--out", str(path), "--licence", "MIT"]
    answers = ["Nice", "", "A B, C D", "lucky", "test-fold", "", "", "", ""]
    shown = typed(words, "".join(f"{answer}\n" for answer in answers))
    assert "selection: Input should be 'fixed-epoch'" in shown
    assert explanation(dict(entry_fields())["method.summary"]) in shown
    entry = load_entry(path)
    assert (entry.slug, entry.method.authors) == ("nice", ("A B", "C D"))
    assert (entry.selection, entry.method.licence) == ("test-fold", "MIT")
    assert "Yours to say" not in shown


def test_text_stays_text() -> None:
    values: dict[str, Any] = {"method.licence": "2", "slug": "010", "overlap": "no"}
    for place, text in values.items():
        assert parsed_value(place, text) == text
