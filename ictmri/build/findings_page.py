"""``<out>.findings.html``: what was found about the scans, with pictures, for the owner alone.

It stands beside the cohort folder, never in it: it shows faces and the owner's own file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.build.duplicates import Pair
from ictmri.classes import CLASS_TITLES
from ictmri.io.files import replacing
from ictmri.pages.letters import LETTERS
from ictmri.pages.montage import SIZE
from ictmri.pages.templating import pages, webp_uri
from ictmri.scans.codes import CODES
from ictmri.scans.findings import Finding

_TEMPLATES: Final = Path(__file__).parent / "templates"
_RANK: Final = {code: place for place, code in enumerate(CODES)}
_ALT: Final = "Axial, coronal and sagittal plane through the middle of the head"


@dataclass(frozen=True, slots=True)
class PageCase:
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
    def severity(self) -> str:
        """The worst of its findings: error, warning or clean."""
        found = {finding.severity for finding in self.findings}
        return next((word for word in ("error", "warning") if word in found), "clean")

    @property
    def rank(self) -> tuple[int, int, str]:
        """Worst first: by its worst code, then by how much was found."""
        places = [_RANK[finding.code] for finding in self.findings]
        return min(places, default=len(_RANK)), -len(places), self.case_id


def page_path(out: Path) -> Path:
    """Return where the page of a cohort lies: beside it."""
    return out.with_name(out.name + ".findings.html")


def write_page(
    path: Path,
    name: str,
    cases: Sequence[PageCase],
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
    by_id = {case.case_id: case for case in cases}
    groups = {
        word: [case for case in ordered if case.severity == word]
        for word in ("error", "warning", "clean")
    }
    stream = _template().stream(
        name=name,
        groups=groups,
        n_scans=len(cases),
        n_kept=sum(case.fold is not None for case in cases),
        counts=_counts([*(f for case in cases for f in case.findings), *cohort]),
        codes=CODES,
        cohort=cohort,
        pairs=[(by_id[first], by_id[second]) for first, second in pairs],
        titles=CLASS_TITLES,
        picture=_picture,
        ranked=_ranked,
        sentence=_sentence,
        size=SIZE,
        letters=LETTERS,
        alt=_ALT,
    )
    with replacing(path, mode=0o600) as part, part.open("w", encoding="utf-8") as file:
        stream.dump(file)


def _counts(findings: Sequence[Finding]) -> list[tuple[str, int, int]]:
    """Return by code, worst first: the code, how many cases it concerns, how often it was found."""
    cases = Counter(code for code, _ in {(f.code, f.case_id) for f in findings if f.case_id})
    times = Counter(finding.code for finding in findings)
    return [(code, cases[code], times[code]) for code in sorted(times, key=_RANK.__getitem__)]


def _ranked(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda found: (_RANK[found.code], found.text))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")


def _picture(case: PageCase) -> str:
    """Return a case's montage as a data URI, empty where it has none."""
    return webp_uri(case.picture)


def _template() -> Any:
    return pages(_TEMPLATES).get_template("findings.html.j2")
