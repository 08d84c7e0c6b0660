"""``datasheet.md``: the questions of Datasheets for Datasets, and of STANDING Together, answered.

Sources: Gebru et al. 2021, doi:10.1145/3458723, and the STANDING Together recommendations,
https://www.datadiversity.org. Their order and topics are kept (``datasheet.yaml``); the questions are this
project's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ictmri.documents.card_header import pretty_name
from ictmri.documents.dataset_card import people_tables
from ictmri.documents.facts import Facts
from ictmri.documents.table_one import fold_detail, read_people
from ictmri.io.resources import shipped
from ictmri.io.tables import markdown_cell as cell
from ictmri.io.yamlfile import own_table
from ictmri.manifest import Manifest
from ictmri.pages.templating import document
from ictmri.schema import CONFIG_TITLES

SECTIONS: Final[dict[str, list[str]]] = own_table(Path(__file__).with_suffix(".yaml"))
"""Titles of the sections, and the questions of each."""


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
