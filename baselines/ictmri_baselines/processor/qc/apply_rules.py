"""QC of the MRI-Processor: what a case's numbers say by the table of thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ictmri_baselines.processor.qc.measures import measure
from ictmri_baselines.processor.qc.rules import MEASURES, RULES, Rule, Severity

__all__ = [
    "BORROWED",
    "FAILED",
    "MEASURES",
    "RULES",
    "Finding",
    "Rule",
    "borrowed",
    "excluded",
    "failed",
    "judge",
    "measure",
    "nearness",
]

BORROWED: Final = "template-mask"
"""Code of a scan with its skull whose brain was not looked for."""
FAILED: Final = "not-processed"
"""Code of a case that no step could make anything of; it has a message and no numbers."""


_EXTRACT: Final = "Use --brain deepbet or hd-bet, or bring a brain mask of your own."


@dataclass(frozen=True, slots=True)
class Finding:
    """A number beyond a bound, or a case that could not be processed.

    Attributes:
        code: of the rule, or :data:`FAILED`.
        severity: ``exclude`` keeps the case out of ``processed``, ``look`` does not.
        text: value, bound and meaning in one line, free of names and paths.
        next_step: what the owner can do.
    """

    code: str
    severity: Severity
    text: str
    next_step: str


def judge(numbers: Mapping[str, float], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return what a case's numbers say, what excludes first: one finding for each measure at most.

    Args:
        numbers: of :func:`measure`, or none; a NaN is beyond every bound.
        rules: the table; of two on one measure the first counts.
    """
    found: dict[str, Finding] = {}
    for rule in rules if numbers else ():
        bound = rule.broken_by(numbers[rule.measure])
        if bound is None or rule.measure in found:
            continue
        how = MEASURES[rule.measure]
        side = "below" if bound == rule.low else "above"
        value = f"{how.title} {how.shown(numbers[rule.measure])}, {side} {how.shown(bound)}"
        text = f"{value}: {rule.meaning}"
        found[rule.measure] = Finding(rule.code, rule.severity, text, rule.next_step)
    return sorted(found.values(), key=lambda finding: finding.severity != "exclude")


def failed(reason: str) -> Finding:
    """Return the finding of a case that no step could make anything of."""
    step = "Open the scan in a viewer; mend it, or leave it out."
    return Finding(FAILED, "exclude", reason, step)


def borrowed() -> Finding:
    """Return the finding of a scan with its skull under the template's mask: one affine, no extraction."""
    text = "the brain was not looked for: the mask is the template's own and may cut off part of a lesion"
    return Finding(BORROWED, "look", text, _EXTRACT)


def excluded(findings: Sequence[Finding]) -> bool:
    """Return True if a case must be kept out of ``processed``."""
    return any(finding.severity == "exclude" for finding in findings)


def nearness(numbers: Mapping[str, float]) -> float:
    """Return how far a case has gone towards the bounds that exclude: 1 and more is beyond one.

    Each number's distance from a good value is taken as a share of the way to its bound; bounds of what
    is only looked at count half. It orders the page.
    """
    return max((_gone(rule, numbers[rule.measure]) for rule in RULES), default=0.0)


def _gone(rule: Rule, value: float) -> float:
    good = MEASURES[rule.measure].good
    weight = 1.0 if rule.severity == "exclude" else 0.5
    ways = [bound - good for bound in (rule.low, rule.high) if bound is not None]
    return weight * max([(value - good) / way for way in ways if way], default=0.0)
