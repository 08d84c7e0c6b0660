"""Subtypes as a release names them: those on the list of tumours that enough patients share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.documents.facts import Facts, load_facts
from ictmri.documents.public_table import PublicRow
from ictmri.documents.suppression import K
from ictmri.tumours import mentions, tumour_name
from ictmri.verify.privacy import own_subtypes

_CLASS_WORDS: Final = {tumour_name(name) for name in CLASSES}
"""Names that are classes as well: they stand in every release."""


@dataclass(frozen=True, slots=True)
class Subtypes:
    """The subtypes of a release.

    Attributes:
        of_case: the subtype by case id; empty where unknown or withheld.
        added: names in it that the owner added to the list.
        few: names that are withheld, since fewer than k patients share them.
        unlisted: number of cases whose subtype is on no list.
    """

    of_case: Mapping[str, str]
    added: tuple[str, ...]
    few: tuple[str, ...]
    unlisted: int


def released_subtypes(
    cohort: Cohort, facts: Facts, public: Sequence[PublicRow], *, gated: bool
) -> Subtypes:
    """Return the subtypes that may be named.

    A subtype is named where at least k patients share it and their class; without a gate also their sex.
    """
    added = {*own_subtypes(cohort.manifest), *facts.subtypes}
    rows = list(cohort.rows("default", ["case_id", "subtype"]))
    names = {row["case_id"]: tumour_name(row["subtype"] or "", added) for row in rows}
    shared = {row.case_id: (row.label, "" if gated else row.sex) for row in public}
    counts = Counter((names[case_id], values) for case_id, values in shared.items())
    kept = {
        case_id: name if counts[name, shared[case_id]] >= K else ""
        for case_id, name in names.items()
    }
    named = set(kept.values())
    return Subtypes(
        kept,
        added=tuple(sorted(named & added)),
        few=tuple(sorted({*names.values()} - named - {""})),
        unlisted=sum(bool(row["subtype"]) and not names[row["case_id"]] for row in rows),
    )


def named_in_words(cohort: Cohort, facts: Facts, few: Sequence[str]) -> Iterator[str]:
    """Yield a line for each text of the owner that names a subtype that is withheld."""
    shipped = load_facts(cohort.manifest)
    texts = {
        f"the answer to {row.id}": f"{row.answer} {row.source}"
        for row in facts.rows
        if row != shipped[row.id]
    }
    texts |= {f"version {entry['version']}": entry["change"] for entry in cohort.manifest.history}
    for place, text in texts.items():
        for name in set(few) - _CLASS_WORDS:
            if mentions(text, name):
                yield f"{place} names {name!r}, which fewer than {K} patients have"
