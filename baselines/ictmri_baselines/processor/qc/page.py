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
from typing import Any, Final

from ictmri.io.files import replacing
from ictmri.pages.letters import LETTERS
from ictmri.pages.templating import pages, webp_uri
from ictmri.pages.tiles import SIZE
from ictmri.scans.findings import Finding, has_error
from ictmri_baselines.processor.qc.apply_rules import (
    MEASURES,
    OTHERS,
    RULES,
    Measure,
    failed,
    nearness,
)

_TEMPLATES: Final = Path(__file__).parent / "templates"
_WIDTH: Final = 300.0
"""Units of a strip's width, see :class:`Strip`."""
_MARGIN: Final = 0.3
"""Share of the span from a good value to the bounds that a strip shows beyond them."""
_KNOWN: Final = {rule.code: rule for rule in (*RULES, *OTHERS.values())}
_RANK: Final = {code: place for place, code in enumerate(_KNOWN)}


@dataclass(frozen=True, slots=True)
class PageCase:
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


@dataclass(frozen=True, slots=True)
class _Row:
    """A case as the template shows it."""

    case: PageCase
    findings: list[Finding]

    @property
    def group(self) -> str:
        if has_error(self.findings):
            return "error"
        return "warning" if self.findings else "clean"

    @property
    def rank(self) -> tuple[bool, float, str]:
        """Worst first: what has no numbers, then how far the numbers are off."""
        far = nearness(self.case.numbers) if self.case.numbers else 0.0
        return bool(self.case.numbers), -far, self.case.case_id


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of a strip that a rule speaks of: from ``x``, so wide, in units of the strip."""

    severity: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A case on a strip."""

    case_id: str
    group: str
    x: float
    shown: str


@dataclass(frozen=True, slots=True)
class Strip:
    """All cases' values of one measure on a line, with the zones of its rules.

    Attributes:
        measure: what is measured.
        zones: where its bounds lie.
        dots: the cases; what lies further out stands at the edge.
        summary: least, middle and largest value.
    """

    measure: Measure
    zones: list[Zone]
    dots: list[Dot]
    summary: str

    @property
    def alt(self) -> str:
        """Return the strip in words."""
        beyond = sum(dot.group != "clean" for dot in self.dots)
        text = f"{len(self.dots)} cases: {self.summary}"
        return (
            f"{self.measure.title}, {text}; {beyond} of these cases have a finding on some measure"
        )


def processing_page(path: Path, cases: Iterable[PageCase], *, title: str, synthetic: bool) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        cases: all cases of the cohort, in any order.
        title: name of the cohort.
        synthetic: the cohort holds no patient, which the page says first.
    """
    rows = sorted((_row(case) for case in cases), key=lambda row: row.rank)
    groups = {word: [r for r in rows if r.group == word] for word in ("error", "warning", "clean")}
    stream = _template().stream(
        title=title,
        synthetic=synthetic,
        groups=groups,
        n_cases=len(rows),
        counts=_counts(rows),
        strips=strips(rows),
        measures=MEASURES,
        bounds=bounds_in_words,
        picture=_picture,
        size=SIZE,
        letters=LETTERS,
        width=_WIDTH,
    )
    with replacing(path, mode=0o600) as part, part.open("w", encoding="utf-8") as file:
        stream.dump(file)


def _row(case: PageCase) -> _Row:
    findings = [failed(case.error)] if case.error else list(case.findings)
    return _Row(case, findings)


def _counts(rows: Sequence[_Row]) -> list[tuple[str, str, int, str, str]]:
    """Return by code, errors first: code, severity, number of cases, meaning, next step."""
    times = Counter(finding.code for row in rows for finding in row.findings)
    found = []
    for code in times:
        rule = _KNOWN[code]
        found.append((code, rule.severity, times[code], rule.meaning, rule.next_step))
    return sorted(found, key=lambda line: (line[1] != "error", -line[2], _RANK[line[0]]))


def strips(rows: Sequence[_Row]) -> dict[str, Strip]:
    """Return a strip for each measure that has a rule."""
    measured = [row for row in rows if row.case.numbers]
    names = [name for name in MEASURES if any(rule.measure == name for rule in RULES)]
    return {name: _strip(name, measured) for name in names} if measured else {}


def _strip(name: str, rows: Sequence[_Row]) -> Strip:
    how = MEASURES[name]
    rules = [rule for rule in RULES if rule.measure == name]
    marks = [how.good, *(rule.bound for rule in rules)]
    span = max(marks) - min(marks)
    low, high = min(marks) - _MARGIN * span, max(marks) + _MARGIN * span

    def at(value: float) -> float:
        share = (value - low) / (high - low)
        return round(_WIDTH * min(max(share, 0.0), 1.0), 1) if isfinite(share) else 0.0

    zones = []
    # The stricter rule comes first in the table; it is drawn over the milder one.
    for rule in rules[::-1]:
        place = at(rule.bound)
        below = rule.below is not None
        width = place if below else round(_WIDTH - place, 1)
        zones.append(Zone(rule.severity, 0.0 if below else place, width))
    values = [row.case.numbers[name] for row in rows]
    dots = [
        Dot(row.case.case_id, row.group, at(value), how.shown(value))
        for row, value in zip(rows, values, strict=True)
    ]
    # The worst are drawn last, above the others.
    dots.sort(key=lambda dot: ("clean", "warning", "error").index(dot.group))
    least, middle, largest = (how.shown(f(values)) for f in (min, median, max))
    return Strip(how, zones, dots, f"{least} to {largest}, median {middle}")


def bounds_in_words(name: str) -> str:
    """Return the bounds of a measure in words, the milder first."""
    words = []
    for severity, verb in (("warning", "looked at"), ("error", "left out")):
        rules = [r for r in RULES if r.measure == name and r.severity == severity]
        bounds = [rule.in_words() for rule in sorted(rules, key=lambda rule: rule.below is None)]
        if bounds:
            words.append(f"{verb} {' or '.join(bounds)}")
    return "; ".join(words)


def _picture(case: PageCase) -> str:
    """Return a case's figure as a data URI, empty where it has none."""
    return webp_uri(case.picture)


def _template() -> Any:
    return pages(_TEMPLATES).get_template("processing.html.j2")
