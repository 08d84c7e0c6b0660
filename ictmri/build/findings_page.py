"""``<out>.findings.html``: what was found about the scans, with pictures, for the owner alone.

It stands beside the cohort folder, never in it: it shows faces and the owner's own file names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from ictmri.build.duplicates import Pair
from ictmri.classes import CLASS_TITLES
from ictmri.io.lock import beside
from ictmri.pages.gallery import (
    FINDING_COLUMNS,
    Card,
    CardGroup,
    CardPicture,
    CardSize,
    Gallery,
    Line,
    PageSection,
    Tone,
    write_gallery,
)
from ictmri.pages.triplanar import SMALL_SIZE
from ictmri.scans.findings import CODES, Finding, worst

_RANK: Final = {code: place for place, code in enumerate(CODES)}
_ALT: Final = "Axial, coronal and sagittal plane through the middle of the head"
_PRIVATE: Final = (
    "This page shows faces, and the names that you gave patients and files. It is not part of the "
    "cohort; keep it with the scans."
)
_LEGEND: Final = (
    "Pictures: axial, coronal and sagittal plane through the middle of the brain, at one scale; "
    "the frame is the edge of the field of view."
)
_GROUPS: Final[tuple[tuple[Tone, str, str, CardSize], ...]] = (
    ("error", "errors", "Left out", "large"),
    ("warning", "warnings", "In the cohort, with warnings", "large"),
    ("clean", "clean", "Nothing was found", "small"),
)


@dataclass(frozen=True, slots=True)
class TableCase:
    """One row of the owner's table.

    Attributes:
        case_id: pseudonym.
        row: its row in the table.
        patient_id: the owner's name for the patient.
        image: file or folder name of the scan.
        label: class.
        fold: its fold; None where it is not in the cohort.
        findings: what was found about it.
        detail: what a library said of it.
        facts: shape, spacing, orientation and intensities in words.
        picture: file of its montage; may be missing.
    """

    case_id: str
    row: int
    patient_id: str
    image: str
    label: str
    fold: int | None
    findings: Sequence[Finding]
    detail: str
    facts: Mapping[str, str]
    picture: Path

    @property
    def severity(self) -> Tone:
        """The worst of its findings: error, warning or clean."""
        return worst(self.findings)

    @property
    def rank(self) -> tuple[int, int, str]:
        """Worst first: by its worst code, then by how much was found."""
        places = [_RANK[finding.code] for finding in self.findings]
        return min(places, default=len(_RANK)), -len(places), self.case_id


def page_path(out: Path) -> Path:
    """Return where the page of a cohort lies: beside it."""
    return beside(out, "findings.html")


def write_page(
    path: Path,
    name: str,
    cases: Sequence[TableCase],
    cohort: Sequence[Finding],
    pairs: Sequence[Pair],
) -> None:
    """Write the page, readable by the owner alone; pictures are read one by one.

    Args:
        path: the file.
        name: dataset name.
        cases: all rows of the table.
        cohort: findings that concern no single case.
        pairs: cases that show the same head.
    """
    ordered = sorted(cases, key=lambda case: case.rank)
    groups = {word: [c for c in ordered if c.severity == word] for word, *_ in _GROUPS}
    counts = _counts([*chain.from_iterable(case.findings for case in cases), *cohort])
    by_id = {case.case_id: case for case in cases}
    alike = [by_id[case_id] for pair in pairs for case_id in pair]
    page = Gallery(
        title=f"{name}: findings",
        heading=f"{name}: what was found about the scans",
        private=_PRIVATE,
        heads=[
            (len(cases), f"{'scan' if len(cases) == 1 else 'scans'} in the table", ""),
            (sum(case.fold is not None for case in cases), "in the cohort", "clean"),
            (len(groups["error"]), "with an error, left out", "error"),
            (len(groups["warning"]), "with a warning, kept", "warning"),
        ],
        sections=_sections(counts, cohort),
        legend=_LEGEND,
        legend_after="A question mark: the header does not say which side is which.",
        choices=[(code, CODES[code].title, n) for code, n in counts if n],
        groups=[
            CardGroup("", "", "Pairs that look like the same head", alike, _mention, counted=False),
            *(
                CardGroup(word, box, title, groups[word], _card, size)
                for word, box, title, size in _GROUPS
            ),
        ],
    )
    write_gallery(path, page)


def _counts(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    """Return by code, worst first: the code, and how many cases it concerns."""
    cases: dict[str, set[str]] = {code: set() for code in CODES}
    for found in findings:
        cases[found.code].add(found.case_id)
    return [(code, len(ids - {""})) for code, ids in cases.items() if ids]


def _sections(counts: Sequence[tuple[str, int]], cohort: Sequence[Finding]) -> list[PageSection]:
    rows = []
    for code, n_cases in counts:
        what = CODES[code]
        tag = (what.severity, what.severity)
        rows.append(((what.title, code), tag, n_cases or "cohort", what.meaning, what.next_step))
    table = PageSection("By finding", FINDING_COLUMNS, rows)
    lines = [Line(found.severity, "", _sentence(found.text)) for found in cohort]
    return [table, PageSection("About the cohort", lines=lines)]


def _mention(case: TableCase) -> Card:
    where = "not in the cohort" if case.fold is None else f"fold {case.fold}"
    return Card(
        case_id=case.case_id,
        pictures=[CardPicture(case.picture, SMALL_SIZE, f"{case.case_id}. {_ALT}")],
        blank="No picture: the scan could not be read.",
        aside=f"{CLASS_TITLES[case.label]}, {where}",
        source=[f"row {case.row}", case.patient_id, case.image],
    )


def _card(case: TableCase) -> Card:
    return replace(
        _mention(case),
        lines=[_line(f) for f in sorted(case.findings, key=lambda f: (_RANK[f.code], f.text))],
        quoted=case.detail,
        numbers=case.facts,
        codes=[found.code for found in case.findings],
    )


def _line(found: Finding) -> Line:
    what = CODES[found.code]
    named = found.text.lower().startswith(what.title.lower())
    lead = f"{found.severity}:" if named else f"{found.severity}: {what.title}."
    step = "" if what.next_step == "Nothing." else what.next_step
    return Line(found.severity, lead, _sentence(found.text), step)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")
