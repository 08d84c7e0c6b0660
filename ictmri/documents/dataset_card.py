"""The dataset card of a cohort folder, drawn from its manifest, its data, its folds and the facts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ictmri.classes import CLASSES, N_CLASSES_WORD
from ictmri.cohort import CLINICAL, PHANTOM
from ictmri.documents.card_header import CONDITIONS, card_header, pretty_name
from ictmri.documents.facts import Fact, Facts, load_facts
from ictmri.documents.facts_from_data import facts_from_data
from ictmri.documents.fold_balance import N_DRAWS, balance_table, fold_balance
from ictmri.documents.licences import spdx_id
from ictmri.documents.table_one import (
    NOTE,
    fold_table,
    read_people,
    subtype_table,
    table_one,
)
from ictmri.folds import describe_folds, read_folds
from ictmri.io.resources import shipped
from ictmri.io.tables import Table
from ictmri.io.tables import markdown_cell as cell
from ictmri.manifest import Manifest
from ictmri.pages.templating import document
from ictmri.scans.findings import read_findings
from ictmri.schema import COLUMNS, CONFIG_TITLES, Config

_HUB_DATASET: Final = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?")


def render_card(root: Path, manifest: Manifest, facts: Facts | None = None) -> str:
    """Return the card's Markdown with its YAML header.

    Args:
        root: the cohort folder; of its data only the columns without volumes are read.
        manifest: its manifest, with all files.
        facts: what is known about the cohort; what ships with the package where None.
    """
    told = facts_from_data(facts or load_facts(manifest), root, manifest)
    configs = [config for config in COLUMNS if config in manifest.configs]
    return document(shipped("card.md.j2")).render(
        header=card_header(manifest, told),
        title=cell(pretty_name(manifest, told)),
        manifest=manifest,
        said=lambda question_id: cell(told.text(question_id)),
        place=_place(manifest),
        hub_id=_hub_id(told),
        licence=_licence(told),
        splits=", ".join(manifest.files_of("default")),
        n_classes=N_CLASSES_WORD,
        classes=", ".join(f"{number} = {name}" for number, name in enumerate(CLASSES)),
        configs=[
            {"name": config, "title": CONFIG_TITLES[config], "table": _columns_table(config)}
            for config in configs
        ],
        limits=_limits(root, manifest, told),
        conditions=() if manifest.synthetic else CONDITIONS,
        generator=json.dumps(manifest.generator | manifest.steps, indent=1),
        **people_tables(read_people(root, manifest), manifest),
        **_fact_tables(told),
    )


def people_tables(people: pd.DataFrame, manifest: Manifest) -> dict[str, Any]:
    """Return the tables of people that card and datasheet show, by their names in the templates."""
    # From the digest of the folds, so that the random deals of a cohort are always the same.
    seed = int(manifest.folds_sha256[:12], 16)
    return {
        "table_one": table_one(people).markdown(),
        "subtypes": subtype_table(people).markdown(),
        "note": NOTE,
        "fold_table": fold_table(people).markdown(),
        "fold_balance": balance_table(fold_balance(people, seed)).markdown(),
        "n_draws": N_DRAWS,
    }


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


def _columns_table(config: Config) -> str:
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
    lines = tuple((fact.asked.question, fact.answer, fact.source) for fact in rows)
    return Table(("Question", "Answer", "Source"), lines, names=3).markdown()
