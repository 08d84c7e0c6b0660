"""The documents of a release: each is drawn from the facts, and changes with them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ictmri.build.folder import build_folder
from ictmri.cohort import Cohort
from ictmri.documents.facts import Facts, load_facts, questions
from ictmri.documents.facts_from_data import facts_from_data
from ictmri.documents.release_files import SECTIONS, checklists, release_documents
from ictmri.io.files import write_text
from ictmri.verify.privacy import leaks
from ictmri_benchmark.score.metrics import METRICS, RANK_KEY

# The numbers of the published checklists, written down here independently of the files that ship.
CLAIM = [str(number) for number in range(1, 45)]
STARD = [
    f"{number}{letter}"
    for number in range(1, 41)
    for letter in {15: "abcd", 16: "abc", 17: "ab", 26: "ab", 40: "ab"}.get(number, [""])
]
TRIPOD = [
    f"{number}{letter}"
    for number in range(1, 28)
    for letter in {
        **{3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg"},
        **{18: "abcdef", 20: "abc", 23: "ab", 27: "abc"},
    }.get(number, [""])
]


@pytest.fixture
def cohort(mini_table: Path, tmp_path: Path) -> Cohort:
    return build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort


def filled(cohort: Cohort, facts: Facts) -> dict[str, dict[str, Any]]:
    """The checklists by name, their items by number."""
    return {
        Path(name).stem: {item["item"]: item for item in yaml.safe_load(text)["items"]}
        for name, text in checklists(cohort.manifest, facts).items()
    }


def test_the_items_are_those_that_are_published(cohort: Cohort) -> None:
    lists = filled(cohort, load_facts(cohort.manifest))
    assert [*lists["claim-2024"]] == CLAIM
    assert [*lists["stard-ai"]] == STARD
    assert [*lists["tripod-ai"]] == TRIPOD
    assert (len(CLAIM), len({item.rstrip("abcdefg") for item in STARD})) == (44, 40)
    assert (len(TRIPOD), len({item.rstrip("abcdefg") for item in TRIPOD})) == (52, 27)


def test_an_answer_turns_an_item_to_met(cohort: Cohort, tmp_path: Path) -> None:
    before = filled(cohort, load_facts(cohort.manifest))
    (tmp_path / "facts.yaml").write_text("funding: nobody\nethics_review: approved by the IRB\n")
    after = filled(cohort, load_facts(cohort.manifest, tmp_path / "facts.yaml"))
    for name, item in (("claim-2024", "44"), ("tripod-ai", "18a"), ("stard-ai", "38")):
        assert before[name][item]["status"] == "unknown"
        assert before[name][item]["who"] == "the owner"
        assert after[name][item]["status"] == "met"
    assert after["stard-ai"]["6"]["status"] == "partial"
    assert after["stard-ai"]["6"]["who"] == "the owner (ethics office)"
    changed = {
        (name, item)
        for name, items in before.items()
        for item in items
        if items[item]["status"] != after[name][item]["status"]
    }
    assert changed == {
        ("claim-2024", "44"),
        ("tripod-ai", "18a"),
        ("stard-ai", "38"),
        ("tripod-ai", "17"),
        ("stard-ai", "6"),
    }


def test_what_cannot_apply_to_a_phantom_is_not_met(cohort: Cohort) -> None:
    phantom = replace(cohort.manifest, name="ictmri-phantom", synthetic=True)
    facts = load_facts(phantom)
    (text,) = (text for name, text in checklists(phantom, facts).items() if "tripod" in name)
    items = {item["item"]: item for item in yaml.safe_load(text)["items"]}
    assert items["17"]["status"] == "not-applicable"
    assert items["18b"]["status"] == "met"
    assert "SYNTHETIC" in text.splitlines()[0]
    assert yaml.safe_load(text)["summary"]["unknown"] == 0


def test_every_question_stands_once_in_the_datasheet(cohort: Cohort) -> None:
    asked = [name for ids in SECTIONS.values() for name in ids]
    assert sorted(asked) == sorted(question.id for question in questions())
    facts = facts_from_data(load_facts(cohort.manifest), cohort.root, cohort.manifest)
    text = release_documents(cohort.root, cohort.manifest, facts)["datasheet.md"]
    for question in questions():
        assert text.count(f"*{question.question}*") == 1
    assert text.count("**Unknown**; ") == len(facts.of("unknown"))
    assert not re.search(r"HOSP-|scan_\d", text)


def test_eval_yaml_names_the_metrics_and_splits_of_the_benchmark(cohort: Cohort) -> None:
    documents = release_documents(cohort.root, cohort.manifest, load_facts(cohort.manifest))
    content = yaml.safe_load(documents["eval.yaml"])
    assert set(content) == {"name", "description", "evaluation_framework", "tasks"}
    assert content["tasks"][0]["id"] == RANK_KEY
    assert {task["id"] for task in content["tasks"]} <= set(METRICS)
    assert {task["split"] for task in content["tasks"]} == {"fold0+fold1+fold2"}


def test_the_documents_pass_the_allow_list_and_repeat(cohort: Cohort) -> None:
    facts = load_facts(cohort.manifest)
    documents = release_documents(cohort.root, cohort.manifest, facts)
    assert documents == release_documents(cohort.root, cohort.manifest, facts)
    for name, text in documents.items():
        write_text(cohort.root / name, text)
    assert not leaks(cohort)


def test_the_release_tells_what_became_of_the_faces(cohort: Cohort) -> None:
    facts = load_facts(cohort.manifest)
    assert "not removed" in facts_from_data(facts, cohort.root, cohort.manifest).text("faces")
    done = {"removed": 14, "extracted_before": 1, "looked_at": 0}
    released = replace(cohort.manifest, steps={"release": {"faces": done}})
    told = facts_from_data(facts, cohort.root, released).text("faces")
    assert told == "removed from 14 scans; only the brain was in 1 scan before"
