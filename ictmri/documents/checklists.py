"""Reporting checklists, filled from the facts: what this release meets, what only its owner can answer."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict

from ictmri.documents.facts import Fact, Facts
from ictmri.io.resources import shipped
from ictmri.io.yamlfile import own_table
from ictmri.manifest import Manifest

ItemStatus = Literal["met", "partial", "unknown", "not-applicable"]
_HEAD: Final = """\
# {checklist} (doi:{doi}), filled for the release of {name} {version}{synthetic}.
# The items are numbered as published and paraphrased; the published checklist is the authority.
# It asks about a study; what asks about a model and its results is answered by the report of each entry.
"""


class ChecklistItem(BaseModel):
    """An item of a checklist and what fills it."""

    model_config = ConfigDict(extra="forbid")

    item: str
    section: str
    asks: str
    facts: list[str] = []
    by: str = ""
    study: bool = False


class _Checklist(BaseModel):
    """A checklist as it ships."""

    model_config = ConfigDict(extra="forbid")

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
