"""``datasheet.md``: the questions of Datasheets for Datasets, and of STANDING Together, answered.

Sources: Gebru et al. 2021, doi:10.1145/3458723, and the STANDING Together recommendations,
https://www.datadiversity.org. Their order and topics are kept; the questions are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.documents.card_header import pretty_name
from ictmri.documents.facts import Facts
from ictmri.documents.fold_balance import evenness, evenness_table
from ictmri.documents.table_one import (
    NOTE,
    cell,
    fold_detail,
    read_people,
    subtype_table,
    table_one,
)
from ictmri.io.resources import shipped
from ictmri.manifest import Manifest
from ictmri.pages.templating import document
from ictmri.schema import CONFIG_TITLES


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the datasheet: its title and the questions whose answers it holds."""

    title: str
    questions: tuple[str, ...]


SECTIONS: Final = (
    Section("Motivation", ("purpose", "authors", "institution", "funding", "conflicts")),
    Section(
        "Composition",
        ("demography", "class_counts", "site", "rare_class", "other_sequences", "limitations"),
    ),
    Section(
        "Collection",
        (
            *("setting", "collection_period", "inclusion", "exclusion", "series", "size"),
            *("prior_treatment", "sequence", "scanners", "field_strength", "voxel_size"),
            *("contrast_agent", "reference_standard", "reference_rationale", "who_edition"),
            *("markers", "pathologists", "interval", "sampling_error", "adverse_events"),
            *("ethics_review", "ethics_number", "consent", "minors", "cross_border", "protocol"),
        ),
    ),
    Section(
        "Preprocessing, cleaning, labelling",
        (
            *("preprocessing", "deidentification", "faces", "annotation", "annotators"),
            *("agreement", "label_visible"),
        ),
    ),
    Section("Uses", ("uses", "misuses", "social_impact")),
    Section(
        "Distribution",
        (
            *("title", "distribution", "homepage", "licence", "licence_name", "licence_link"),
            *("doi", "date_published", "citation"),
        ),
    ),
    Section("Maintenance", ("maintenance", "contact", "withdrawal")),
    Section("Who is represented", ("ethnicity", "missing_people", "biases", "involvement")),
)
"""Every question stands in exactly one section."""


def render_datasheet(root: Path, manifest: Manifest, facts: Facts) -> str:
    """Return the datasheet's Markdown.

    Args:
        root: the cohort folder; of its data only the columns without volumes are read.
        manifest: its manifest.
        facts: what is known about the cohort.
    """
    template = document(shipped("datasheet.md.j2"))
    return str(template.render(**_context(root, manifest, facts)))


def _context(root: Path, manifest: Manifest, facts: Facts) -> dict[str, Any]:
    from ictmri.documents.dataset_card import seed_of

    people = read_people(root, manifest)
    subtypes = subtype_table(people)
    return {
        "title": cell(pretty_name(manifest, facts)),
        "manifest": manifest,
        "configs": [
            (name, CONFIG_TITLES[name]) for name in CONFIG_TITLES if name in manifest.configs
        ],
        "sections": [(section.title, _answers(facts, section.questions)) for section in SECTIONS],
        "table_one": table_one(people).markdown(),
        "subtypes": subtypes.markdown() if subtypes.rows else "",
        "fold_detail": fold_detail(people).markdown(),
        "evenness": evenness_table(evenness(people, seed_of(manifest))).markdown(),
        "note": NOTE,
        "n_unknown": len(facts.of("unknown")),
    }


def _answers(facts: Facts, question_ids: Sequence[str]) -> list[tuple[str, str]]:
    return [(facts[name].asked.question, _answer(facts, name)) for name in question_ids]


def _answer(facts: Facts, name: str) -> str:
    fact = facts[name]
    if fact.status == "unknown":
        return f"**Unknown**; {fact.who} can answer."
    assumed = "**Assumed:** " if fact.status == "assumed" else ""
    return f"{assumed}{cell(fact.answer)} [{cell(fact.source)}]"
