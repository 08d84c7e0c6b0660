"""QC of the MRI-Processor: what a case's numbers say by the bounds of ``rules.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.io.yamlfile import own_table
from ictmri.scans.findings import Finding, Severity

BORROWED: Final = "template-mask"
"""Code of a scan with its skull whose brain was not looked for: one affine, no extraction."""
FAILED: Final = "not-processed"
"""Code of a case that no step could make anything of; it has a message and no numbers."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a number is shown.

    Attributes:
        title: its name.
        good: its value in a scan that is as it should be.
        digits: after the point.
        unit: after the number, may be empty.
    """

    title: str
    good: float
    digits: int
    unit: str = ""

    def shown(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Rule:
    """A bound on one measure, or what is said of a case without a number.

    Attributes:
        code: name of the finding.
        severity: an error keeps the case out of ``processed``, a warning shows it first.
        meaning: what a value beyond the bound means.
        next_step: what the owner can do.
        measure: a key of :data:`MEASURES`.
        below: a value below this breaks the rule.
        above: a value above this breaks the rule; one of the two is given.
    """

    code: str
    severity: Severity
    meaning: str
    next_step: str
    measure: str = ""
    below: float | None = None
    above: float | None = None

    @property
    def bound(self) -> float:
        """The last value that passes."""
        found = self.above if self.below is None else self.below
        return float("inf") if found is None else found

    def broken_by(self, value: float) -> bool:
        """Return True if a value is beyond the bound; a NaN is beyond every one."""
        return not (value <= self.bound if self.below is None else value >= self.bound)

    def in_words(self) -> str:
        """Return the bound and where beyond it lies."""
        side = "above" if self.below is None else "below"
        return f"{side} {MEASURES[self.measure].shown(self.bound)}"

    def finding(self, text: str = "") -> Finding:
        """Return the finding of this rule, its meaning where there is nothing more to say."""
        return Finding("", self.code, self.severity, text or self.meaning, self.next_step)


_CONTENT: Final = own_table(Path(__file__).with_name("rules.yaml"))
MEASURES: Final = {name: Measure(**row) for name, row in _CONTENT["measures"].items()}
"""What is measured, in the order in which it is shown."""
RULES: Final = tuple(Rule(**row) for row in _CONTENT["rules"])
"""Of two broken rules on one measure the first is the stricter; the second is not named beside it."""
OTHERS: Final = {row["code"]: Rule(**row) for row in _CONTENT["others"]}
"""What no number says, by code."""


def apply_rules(numbers: Mapping[str, float], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return what a case's numbers say, errors first: one finding for each measure at most.

    Args:
        numbers: of :func:`~ictmri_baselines.processor.qc.measures.measure`, or none; a NaN is beyond every
            bound.
        rules: the table; of two on one measure the first counts.
    """
    found: dict[str, Finding] = {}
    for rule in rules if numbers else ():
        value, how = numbers[rule.measure], MEASURES[rule.measure]
        if rule.measure not in found and rule.broken_by(value):
            beyond = f"{how.title} {how.shown(value)}, {rule.in_words()}"
            found[rule.measure] = rule.finding(f"{beyond}: {rule.meaning}")
    return sorted(found.values(), key=lambda finding: finding.severity != "error")


def failed(reason: str) -> Finding:
    """Return the finding of a case that no step could make anything of."""
    return OTHERS[FAILED].finding(reason)


def borrowed() -> Finding:
    """Return the finding of a scan with its skull under the template's mask."""
    return OTHERS[BORROWED].finding()


def nearness(numbers: Mapping[str, float]) -> float:
    """Return how far a case has gone towards the bounds of errors: 1 and more is beyond one.

    Each number's distance from a good value is taken as a share of the way to its bound; bounds of
    warnings count half. It orders the page.
    """
    return max((_gone(rule, numbers[rule.measure]) for rule in RULES), default=0.0)


def _gone(rule: Rule, value: float) -> float:
    good = MEASURES[rule.measure].good
    way = rule.bound - good
    weight = 1.0 if rule.severity == "error" else 0.5
    return weight * (value - good) / way if way else 0.0
