"""The table of facts: what ships is consistent, and an owner's answers are checked all at once."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ictmri.documents.facts import (
    Facts,
    kind_of,
    load_facts,
    questions,
    template_text,
)
from ictmri.documents.licences import HUB_NAMES, hub_name, licence_url
from ictmri.errors import InputError
from ictmri.io.resources import shipped
from ictmri.manifest import Manifest

OWN = Manifest("mine", "1.0.0", False, {}, 30, 3, "a" * 64)
CLINICAL = replace(OWN, name="ictmri")
PHANTOM = replace(OWN, name="ictmri-phantom", synthetic=True)


def answered(tmp_path: Path, text: str, manifest: Manifest = OWN) -> Facts:
    (tmp_path / "facts.yaml").write_text(text)
    return load_facts(manifest, tmp_path / "facts.yaml")


def test_every_shipped_answer_has_its_question() -> None:
    ids = [question.id for question in questions()]
    assert len(ids) == len(set(ids))
    for kind in ("clinical", "phantom", "own"):
        content = yaml.safe_load((shipped("facts") / f"{kind}.yaml").read_text())
        assert set(content) <= set(ids)
        assert all(row["source"] and row["answer"] and row["status"] for row in content.values())


def test_the_three_kinds_know_what_they_can_know() -> None:
    assert [kind_of(m) for m in (CLINICAL, PHANTOM, OWN)] == ["clinical", "phantom", "own"]
    assert load_facts(PHANTOM).unknown() == []
    clinical, own = load_facts(CLINICAL), load_facts(OWN)
    blank = {"ethics_number", "collection_period", "consent", "exclusion", "scanners", "interval"}
    assert {clinical[name].status for name in blank} == {"unknown"}
    assert clinical.text("institution") == "Beijing Tiantan Hospital"
    assert "leaves the name blank" in clinical["institution"].source
    assert clinical["who_edition"].who == "the authors (neuropathology)"
    assert len(own.of("unknown")) > 50
    assert "licence: Under which licence? (the owner)" in own.unknown()


def test_an_owner_answers(tmp_path: Path) -> None:
    facts = answered(
        tmp_path,
        "licence: cc-by-4.0\nauthors: [Jane Doe, John Roe]\nminors: no\ndate_published: 2026-05-31\n"
        "consent: {answer: waived, source: protocol 7, status: assumed}\nethics_number: ''\nfunding:\n"
        "doi: 'not applicable: none yet'\n",
    )
    assert facts["authors"].values == ("Jane Doe", "John Roe")
    assert facts.text("minors") == "no"
    assert facts.text("date_published") == "2026-05-31"
    assert (facts["consent"].status, facts["consent"].source) == ("assumed", "protocol 7")
    assert {facts[name].status for name in ("ethics_number", "funding")} == {"unknown"}
    assert facts.text("doi") == ""
    assert not facts["doi"].applies
    assert not facts["licence_link"].applies


def test_an_owner_comes_before_what_ships(tmp_path: Path) -> None:
    facts = answered(tmp_path, "institution: Another Hospital", CLINICAL)
    assert (facts.text("institution"), facts["institution"].source) == (
        "Another Hospital",
        "the data owner",
    )
    assert facts.text("inclusion") == load_facts(CLINICAL).text("inclusion")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        answered(
            tmp_path,
            "licens: CC-BY-4.0\nlicence: CC-BI-4.0\nfunding: TODO\ndoi: 12345\nhomepage: here\n"
            "contact: nobody\ndate_published: 2026-13-01\ncollection_period: 2023/2015\n"
            "title: [Institution Name]\nconsent: {answer: yes, sauce: x}\nmarkers: {source: y}\n",
        )
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 11
    assert "licens: no such question; did you mean 'licence'?" in text
    assert "did you mean 'CC-BY-4.0'?" in text
    for name in ("funding", "doi", "homepage", "contact", "date_published", "title", "markers"):
        assert f"{name}: " in text


@pytest.mark.parametrize(
    "text", ["- a list", "title: [", "title: a\ntitle: b", "licence: other", "\x00"]
)
def test_files_that_are_no_answers_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        answered(tmp_path, text)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_facts(OWN, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("manifest", [OWN, CLINICAL, PHANTOM])
def test_the_template_changes_nothing_until_it_is_filled(
    tmp_path: Path, manifest: Manifest
) -> None:
    template = template_text(manifest)
    assert set(yaml.safe_load(template)) == {question.id for question in questions()}
    assert answered(tmp_path, template, manifest) == load_facts(manifest)
    assert set(yaml.safe_load(template_text())) == set(yaml.safe_load(template))


def test_licences_have_a_name_on_the_hub_and_an_address() -> None:
    assert hub_name("CC-BY-NC-SA-4.0") == "cc-by-nc-sa-4.0"
    assert hub_name("odc-by-1.0") == "odc-by" == hub_name("odc-by")
    assert hub_name("") == "unknown"
    assert licence_url("cc-by-4.0") == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert licence_url("other") == ""
    assert {"other", "unknown", "cc0-1.0"} <= HUB_NAMES


def test_an_owner_adds_names_of_tumours(tmp_path: Path) -> None:
    """They are a list for the column, and no answer: no document shows them."""
    facts = answered(tmp_path, "subtypes: [Pineal anlage tumour,  odd   lesion]\n")
    assert facts.subtypes == ("Pineal anlage tumour", "odd lesion")
    assert facts.completed({}).subtypes == facts.subtypes
    assert not any("anlage" in row.answer for row in facts.rows)
    assert answered(tmp_path, template_text(OWN)).subtypes == ()
    for wrong in ("odd", "[MRN 4711081]", "[born 3/4/1961: x]"):
        with pytest.raises(InputError, match="subtypes"):
            answered(tmp_path, f"subtypes: {wrong}\n")
