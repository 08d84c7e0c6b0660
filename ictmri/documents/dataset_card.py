"""The dataset card of a cohort folder, drawn from its manifest, its data, its folds and the facts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from ictmri.classes import CLASSES
from ictmri.cohort import CLINICAL, PHANTOM
from ictmri.documents.card_header import CONDITIONS, card_header, pretty_name
from ictmri.documents.facts import Fact, Facts, load_facts
from ictmri.documents.facts_from_data import informed
from ictmri.documents.fold_balance import N_DRAWS, evenness, evenness_table
from ictmri.documents.licences import spdx_id
from ictmri.documents.table_one import (
    NOTE,
    Person,
    Table,
    cell,
    fold_table,
    read_people,
    subtype_table,
    table_one,
)
from ictmri.folds import describe_folds, read_folds
from ictmri.io.resources import shipped
from ictmri.manifest import Manifest
from ictmri.pages.templating import document
from ictmri.scans.findings import read_findings
from ictmri.schema import COLUMNS, CONFIG_TITLES

_HUB_DATASET: Final = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?")


def render_card(root: Path, manifest: Manifest, facts: Facts | None = None) -> str:
    """Return the card's Markdown with its YAML header.

    Args:
        root: the cohort folder; of its data only the columns without volumes are read.
        manifest: its manifest, with all files.
        facts: what is known about the cohort; what ships with the package where None.
    """
    told = informed(facts or load_facts(manifest), root, manifest)
    template = document(shipped("card.md.j2"))
    return str(template.render(**_context(root, manifest, told)))


def _context(root: Path, manifest: Manifest, facts: Facts) -> dict[str, Any]:
    people = read_people(root, manifest)
    header = card_header(manifest, facts)
    return {
        "header": yaml.safe_dump(
            header.content(), sort_keys=False, allow_unicode=True, width=108
        ).rstrip(),
        "title": cell(pretty_name(manifest, facts)),
        "manifest": manifest,
        "said": lambda question_id: cell(facts.text(question_id)),
        "place": _place(manifest),
        "hub_id": _hub_id(facts),
        "licence": _licence(facts),
        "splits": ", ".join(manifest.files_of("default")),
        "classes": ", ".join(f"{number} = {name}" for number, name in enumerate(CLASSES)),
        "configs": [
            {"name": config, "title": CONFIG_TITLES[config], "table": _columns_table(config)}
            for config in COLUMNS
            if config in manifest.configs
        ],
        "limits": _limits(root, manifest, facts),
        "conditions": () if manifest.synthetic else CONDITIONS,
        "generator": json.dumps(manifest.generator | manifest.steps, indent=1),
        **_tables(people, manifest),
        **_fact_tables(facts),
    }


def _tables(people: Sequence[Person], manifest: Manifest) -> dict[str, Any]:
    subtypes = subtype_table(people)
    return {
        "table_one": table_one(people).markdown(),
        "subtypes": subtypes.markdown() if subtypes.rows else "",
        "note": NOTE,
        "fold_table": fold_table(people).markdown(),
        "evenness": evenness_table(evenness(people, seed_of(manifest))).markdown(),
        "n_draws": N_DRAWS,
    }


def seed_of(manifest: Manifest) -> int:
    """Return the seed of a cohort's random deals, from the digest of its folds."""
    return int(manifest.folds_sha256[:12], 16)


def _place(manifest: Manifest) -> str:
    if "release" in manifest.steps:
        return str(manifest.steps["release"]["repo_id"])
    known = manifest.name in (CLINICAL, PHANTOM)
    return manifest.name if known else f"path/to/{manifest.name}"


def _hub_id(facts: Facts) -> str:
    """Return ``ORG/NAME`` of an owner's cohort; the clinical source's own repository is another layout."""
    found = _HUB_DATASET.fullmatch(facts.text("homepage"))
    return found[1] if found and facts.kind == "own" else ""


def _licence(facts: Facts) -> str:
    name = facts.text("licence")
    if not name:
        return "not stated: ask the owner before any use"
    if facts.text("licence_link") and spdx_id(name) is None:
        return f"[{facts.text('licence_name')}]({facts.text('licence_link')})"
    return spdx_id(name) or name


def _columns_table(config: Any) -> str:
    rows = [(f"`{column.name}`", column.kind, column.meaning) for column in COLUMNS[config]]
    return Table(("column", "type", "meaning"), tuple(rows), names=3).markdown()


def _limits(root: Path, manifest: Manifest, facts: Facts) -> list[str]:
    """Return what a user must know before trusting a number, from the facts, the folds and the build."""
    told = [facts.text(name) for name in ("missing_people", "biases", "limitations")]
    folds = describe_folds(read_folds(root / "folds.csv", manifest.name).rows)[1:]
    lost = [
        found.text
        for found in read_findings(root)
        if not found.case_id and found.text.endswith("are not in the cohort")
    ]
    lines = map(cell, (*filter(None, told), *lost, *folds))
    return [f"{text[0].upper()}{text[1:]}." for text in lines]


def _fact_tables(facts: Facts) -> dict[str, Any]:
    known = [fact for fact in facts.of("known") if fact.applies]
    return {
        "known": _answers_table(known),
        "n_known": len(known),
        "assumed": _answers_table(facts.of("assumed")),
        "not_applicable": [fact for fact in facts.of("known") if not fact.applies],
        "unknown": Table(
            ("Question", "Who can answer"),
            tuple((fact.asked.question, fact.who) for fact in facts.of("unknown")),
            names=2,
        ).markdown(),
        "n_unknown": len(facts.of("unknown")),
    }


def _answers_table(rows: Sequence[Fact]) -> str:
    if not rows:
        return ""
    head = ("Question", "Answer", "Source")
    lines = tuple((fact.asked.question, fact.answer, fact.source) for fact in rows)
    return Table(head, lines, names=3).markdown()
