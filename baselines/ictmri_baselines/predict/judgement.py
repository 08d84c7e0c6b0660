"""Whether a scan's result may be shown: the findings of reading, of processing and of their QC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ictmri.builders.codes import CODES, Note
from ictmri_baselines.processor.qc import Finding
from ictmri_baselines.processor.qc_rules import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def told(notes: Iterable[Note]) -> list[Finding]:
    """Return notes on a scan as findings: an error excludes it here as it does from a cohort."""
    found = []
    for note in notes:
        code = CODES[note.code]
        severity: Severity = "exclude" if code.severity == "error" else "look"
        text = f"{note.text}. {code.meaning.rstrip('.')}"
        found.append(Finding(note.code, severity, text, code.next_step))
    return found


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings, what excludes first, each once."""
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda finding: finding.severity != "exclude"))
