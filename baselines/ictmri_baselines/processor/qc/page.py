"""One offline page for a processed cohort: what was left out and why, worst first, with pictures.

It shows patients' scans, so it stands beside the cohort, never in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Final

from ictmri.pages.gallery import (
    FINDING_COLUMNS,
    WIDTH,
    Card,
    CardGroup,
    CardPicture,
    CardSize,
    Gallery,
    Key,
    Line,
    PageSection,
    Strip,
    Tone,
    write_gallery,
)
from ictmri.pages.triplanar import SIZE
from ictmri.scans.findings import Finding, worst
from ictmri_baselines.processor.qc.apply_rules import (
    BORROWED,
    FAILED,
    MEASURES,
    OTHERS,
    RULES,
    failed,
    nearness,
)
from ictmri_baselines.processor.qc.figure import MASK_INK, TEMPLATE_INK

_MARGIN: Final = 0.3
"""Share of the span from a good value to the bounds that a strip shows beyond them."""
_KNOWN: Final = {rule.code: rule for rule in (OTHERS[FAILED], *RULES, OTHERS[BORROWED])}
_RANK: Final = {code: place for place, code in enumerate(_KNOWN)}
_TONES: Final[tuple[Tone, ...]] = ("clean", "warning", "error")
_GROUPS: Final[tuple[tuple[Tone, str, str, CardSize], ...]] = (
    ("error", "left out", "Left out of processed", "large"),
    ("warning", "to be looked at", "Kept, to be looked at", "large"),
    ("clean", "nothing found", "Nothing was found", "medium"),
)
_PRIVATE: Final = (
    "This page shows patients’ scans, faces included. It is not part of the cohort; keep it with the "
    "scans."
)
_ALT: Final = (
    "axial, coronal and sagittal plane with the outlines of its brain mask and of the template"
)
_STRIPS: Final = (
    "Volumes (ml) are in the scan’s own space, not in MNI152 space. Shaded is what a bound speaks "
    "of; a value further out stands at the edge. A dot is a case:"
)


@dataclass(frozen=True, slots=True)
class ProcessedCase:
    """One case of the page; numbers are held for all cases, pictures are read one by one.

    Attributes:
        case_id: pseudonym.
        error: why it could not be processed; empty where it could.
        numbers: of :func:`.measures.measure`; empty where it could not be processed.
        findings: what they say.
        picture: file of its figure (WebP); may be missing.
    """

    case_id: str
    error: str
    numbers: Mapping[str, float]
    findings: Sequence[Finding]
    picture: Path

    @property
    def told(self) -> Sequence[Finding]:
        """What is told about it: its findings, or why it has none."""
        return [failed(self.error)] if self.error else self.findings

    @property
    def tone(self) -> Tone:
        """The worst of it: error, warning or clean."""
        return worst(self.told)

    @property
    def rank(self) -> tuple[bool, float, str]:
        """Worst first: what has no numbers, then how far the numbers are off."""
        far = nearness(self.numbers) if self.numbers else 0.0
        return bool(self.numbers), -far, self.case_id


def processing_page(
    path: Path, cases: Iterable[ProcessedCase], *, title: str, synthetic: bool
) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        cases: all cases of the cohort, in any order.
        title: name of the cohort.
        synthetic: the cohort holds no patient, which the page says first.
    """
    ordered = sorted(cases, key=lambda case: case.rank)
    groups = {tone: [case for case in ordered if case.tone == tone] for tone in _TONES}
    times = Counter(finding.code for case in ordered for finding in case.told)
    # What keeps a case out stands first, then what is found most often.
    codes = sorted(
        times, key=lambda code: (_KNOWN[code].severity != "error", -times[code], _RANK[code])
    )
    page = Gallery(
        title=f"{title}: processing",
        heading=f"{title}: what processing made of the scans",
        private="" if synthetic else _PRIVATE,
        heads=[
            (len(ordered), "case" if len(ordered) == 1 else "cases", ""),
            (len(groups["error"]), "left out of `processed`", "error"),
            (len(groups["warning"]), "kept, to be looked at", "warning"),
            (len(groups["clean"]), "kept, nothing found", "clean"),
        ],
        sections=[
            _by_finding(codes, times),
            _by_number([case for case in ordered if case.numbers]),
        ],
        legend="Pictures: the scan in MNI152 space, axial, coronal and sagittal.",
        keys=[
            Key("outline of its brain mask", [MASK_INK]),
            Key("outline of the template’s brain", [TEMPLATE_INK], dashed=True),
        ],
        choices=[(code, code, times[code]) for code in codes],
        groups=[
            CardGroup(tone, word, heading, groups[tone], _card, size)
            for tone, word, heading, size in _GROUPS
        ],
    )
    write_gallery(path, page)


def _by_finding(codes: Sequence[str], times: Mapping[str, int]) -> PageSection:
    rows = []
    for code in codes:
        rule = _KNOWN[code]
        tag = (rule.severity, "left out" if rule.severity == "error" else "look")
        meaning = f"{rule.meaning[:1].upper()}{rule.meaning[1:]}."
        rows.append(((code, ""), tag, times[code], meaning, rule.next_step))
    return PageSection("By finding", FINDING_COLUMNS, rows)


def _by_number(cases: Sequence[ProcessedCase]) -> PageSection:
    """Return a strip for each measure that has a rule."""
    names = [name for name in MEASURES if any(rule.measure == name for rule in RULES)]
    rows = []
    for name in names if cases else ():
        values = [case.numbers[name] for case in cases]
        shown = [MEASURES[name].shown(of(values)) for of in (min, median, max)]
        summary = f"{shown[0]} to {shown[2]}, median {shown[1]}"
        strip = _strip(name, cases, summary)
        rows.append(((MEASURES[name].title, ""), strip, summary, bounds_in_words(name)))
    columns = [("Number", "name"), ("Cases", "strip"), ("Values", "text"), ("Bounds", "text")]
    dots = [(tone, word) for tone, word, *_ in _GROUPS]
    return PageSection("By number", columns, rows, before=_STRIPS, dots=dots)


def _strip(name: str, cases: Sequence[ProcessedCase], summary: str) -> Strip:
    how = MEASURES[name]
    rules = [rule for rule in RULES if rule.measure == name]
    marks = [how.good, *(rule.bound for rule in rules)]
    span = max(marks) - min(marks)
    low, high = min(marks) - _MARGIN * span, max(marks) + _MARGIN * span

    def at(value: float) -> float:
        share = (value - low) / (high - low)
        return round(WIDTH * min(max(share, 0.0), 1.0), 1) if isfinite(share) else 0.0

    # The stricter rule comes first in the table; it is drawn over the milder one.
    bands: list[tuple[Tone, float, float]] = [
        (rule.severity, at(rule.bound), round(WIDTH - at(rule.bound), 1))
        if rule.below is None
        else (rule.severity, 0.0, at(rule.bound))
        for rule in rules[::-1]
    ]
    # The worst are drawn last, above the others.
    dots = [
        (case.tone, at(case.numbers[name]), f"{case.case_id}: {how.shown(case.numbers[name])}")
        for case in sorted(cases, key=lambda case: _TONES.index(case.tone))
    ]
    beyond = sum(case.tone != "clean" for case in cases)
    alt = (
        f"{how.title}, {len(cases)} cases: {summary}; "
        f"{beyond} of these cases have a finding on some measure"
    )
    return Strip(alt, bands, dots, (how.shown(low), how.shown(high)))


def bounds_in_words(name: str) -> str:
    """Return the bounds of a measure in words, the milder first."""
    words = []
    for severity, verb in (("warning", "looked at"), ("error", "left out")):
        rules = [r for r in RULES if r.measure == name and r.severity == severity]
        bounds = [rule.in_words() for rule in sorted(rules, key=lambda rule: rule.below is None)]
        if bounds:
            words.append(f"{verb} {' or '.join(bounds)}")
    return "; ".join(words)


def _card(case: ProcessedCase) -> Card:
    return Card(
        case_id=case.case_id,
        pictures=[CardPicture(case.picture, SIZE, f"{case.case_id}: {_ALT}")],
        blank="No picture: no step could make anything of the scan.",
        lines=[
            Line(
                found.severity,
                f"{found.code} (left out):" if found.severity == "error" else f"{found.code}:",
                f"{found.text}.",
            )
            for found in case.told
        ],
        advice=" ".join(dict.fromkeys(found.next_step for found in case.told)),
        numbers={
            how.title: how.shown(case.numbers[name])
            for name, how in MEASURES.items()
            if name in case.numbers
        },
        folded=True,
        codes=[found.code for found in case.told],
    )
