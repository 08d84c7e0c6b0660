"""The documents of a release besides its card and its Croissant file: datasheet, checklists, eval.yaml.

The datasheet answers the questions of Datasheets for Datasets (Gebru et al. 2021, doi:10.1145/3458723) and
of STANDING Together, https://www.datadiversity.org. Their order and topics are kept (``datasheet.yaml``);
the questions are this project's. The checklists tell what the release meets, and what only its owner can
answer.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml
from pydantic import BaseModel

from ictmri.classes import N_CLASSES_WORD
from ictmri.documents.card_header import pretty_name
from ictmri.documents.dataset_card import people_tables
from ictmri.documents.facts import Fact, Facts
from ictmri.documents.facts_from_data import facts_from_data
from ictmri.documents.table_one import fold_detail, read_people
from ictmri.io.resources import shipped
from ictmri.io.tables import markdown_cell as cell
from ictmri.io.yamlfile import own_table
from ictmri.manifest import Manifest
from ictmri.pages.templating import document
from ictmri.schema import CONFIG_TITLES

ItemStatus = Literal["met", "partial", "unknown", "not-applicable"]
_HEAD: Final = """\
# {checklist} (doi:{doi}), filled for the release of {name} {version}{synthetic}.
# The items are numbered as published and paraphrased; the published checklist is the authority.
# It asks about a study; what asks about a model and its results is answered by the report of each entry.
"""
SECTIONS: Final[dict[str, list[str]]] = own_table(Path(__file__).with_name("datasheet.yaml"))
"""Titles of the sections, and the questions of each."""
FRAMEWORK: Final = "ictmri"
"""Not yet on the Hub's list; until it is, the Hub keeps the file and shows no board."""
TASKS: Final = ("macro_f1", "macro_recall", "macro_precision", "accuracy")
"""Headline metrics of the benchmark, its rank key first; each is one board with one number."""


class ChecklistItem(BaseModel, extra="forbid"):
    """An item of a checklist and what fills it."""

    item: str
    section: str
    asks: str
    facts: list[str] = []
    by: str = ""
    study: bool = False


class _Checklist(BaseModel, extra="forbid"):
    """A checklist as it ships."""

    checklist: str
    doi: str
    items: list[ChecklistItem]


def checklists(manifest: Manifest, facts: Facts) -> dict[str, str]:
    """Return the filled checklists: relative path -> YAML."""
    return {
        f"checklists/{path.name}": _filled(_read(path), manifest, facts)
        for path in sorted(shipped("checklists").glob("*.yaml"))
    }


@cache
def _read(path: Path) -> _Checklist:
    return _Checklist.model_validate(own_table(path))


def _filled(source: _Checklist, manifest: Manifest, facts: Facts) -> str:
    items = [_filled_item(item, facts) for item in source.items]
    counts = Counter(item["status"] for item in items)
    about = {"checklist": source.checklist, "doi": source.doi}
    cohort = {"version": manifest.version, "synthetic": manifest.synthetic}
    summary = {status: counts[status] for status in get_args(ItemStatus)}
    content = {**about, "cohort": manifest.name, **cohort, "summary": summary, "items": items}
    head = _HEAD.format(
        **about,
        name=manifest.name,
        version=manifest.version,
        synthetic=", a SYNTHETIC phantom" if manifest.synthetic else "",
    )
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=108)


def _filled_item(item: ChecklistItem, facts: Facts) -> dict[str, Any]:
    needed = [facts[question_id] for question_id in item.facts]
    where = [*filter(None, [item.by]), *(f"fact {fact.id}: {fact.status}" for fact in needed)]
    return {
        "item": item.item,
        "section": item.section,
        "asks": item.asks,
        "status": _status(item, needed),
        "where": ["report of each entry"] if item.study else where,
        "who": _who(item, needed),
    }


def _status(item: ChecklistItem, needed: list[Fact]) -> ItemStatus:
    if item.study:
        return "not-applicable"
    if all(fact.status == "known" for fact in needed):
        applies = item.by or any(fact.applies for fact in needed)
        return "met" if applies else "not-applicable"
    if item.by or any(fact.status != "unknown" for fact in needed):
        return "partial"
    return "unknown"


def _who(item: ChecklistItem, needed: list[Fact]) -> str:
    """Return who answers what is still open, or who has answered."""
    if item.study:
        return "authors of the entry"
    open_facts = [fact for fact in needed if fact.status != "known"]
    names = [fact.who for fact in open_facts or needed]
    return "; ".join(dict.fromkeys(names)) or "this project"


def render_datasheet(root: Path, manifest: Manifest, facts: Facts) -> str:
    """Return the datasheet's Markdown.

    Args:
        root: the cohort folder; of its data only the columns without volumes are read.
        manifest: its manifest.
        facts: what is known about the cohort.
    """
    people = read_people(root, manifest)
    return document(shipped("datasheet.md.j2")).render(
        title=cell(pretty_name(manifest, facts)),
        manifest=manifest,
        configs=[
            (name, title) for name, title in CONFIG_TITLES.items() if name in manifest.configs
        ],
        sections=[
            (title, [(facts[i].asked.question, _answer(facts, i)) for i in ids])
            for title, ids in SECTIONS.items()
        ],
        fold_detail=fold_detail(people).markdown(),
        n_unknown=len(facts.of("unknown")),
        **people_tables(people, manifest),
    )


def _answer(facts: Facts, name: str) -> str:
    fact = facts[name]
    if fact.status == "unknown":
        return f"**Unknown**; {fact.who} can answer."
    assumed = "**Assumed:** " if fact.status == "assumed" else ""
    return f"{assumed}{cell(fact.answer)} [{cell(fact.source)}]"


def release_documents(root: Path, manifest: Manifest, facts: Facts) -> dict[str, str]:
    """Return datasheet, checklists and ``eval.yaml`` of a cohort folder: relative path -> text.

    Args:
        root: the folder, whose data and folds are there already.
        manifest: its manifest.
        facts: what is known about it; what the data tell is added here.
    """
    told = facts_from_data(facts, root, manifest)
    return {
        "datasheet.md": render_datasheet(root, manifest, told),
        "eval.yaml": render_eval(manifest),
        **checklists(manifest, told),
    }


def render_eval(manifest: Manifest) -> str:
    """Return ``eval.yaml``: what the Hugging Face Hub reads to show a dataset as a benchmark.

    The Hub shows one number a task and lists only frameworks that it knows, so this file announces the
    benchmark; its leaderboard is the authority. Format: https://huggingface.co/docs/hub/eval-results.
    """
    splits = "+".join(manifest.files_of("default"))
    synthetic = "SYNTHETIC, no result says anything about patients. " if manifest.synthetic else ""
    content = {
        "name": manifest.name,
        "description": (
            f"{synthetic}Diagnosis of deep intracranial tumours on T1-CE MRI, {N_CLASSES_WORD} classes: "
            f"pooled out-of-fold predictions of {manifest.n_cases} cases in {manifest.n_folds} fixed "
            "folds, rescored by ictmri evaluate. Rank key: macro_f1."
        ),
        "evaluation_framework": FRAMEWORK,
        "tasks": [{"id": task, "config": "default", "split": splits} for task in TASKS],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=108)
