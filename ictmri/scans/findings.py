"""What was found about a cohort's scans: one line each, published with the cohort."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ictmri.io.files import canonical_json
from ictmri.io.states import needed
from ictmri.scans.codes import CODES, Severity

FILE_NAME: Final = "findings.json"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something odd about a case or, where ``case_id`` is empty, about a cohort or the one scan spoken of.

    Attributes:
        case_id: pseudonym of the case.
        code: its name: a key of :data:`ictmri.scans.codes.CODES`, or of a table of rules of a later step.
        severity: an error keeps the case out, a warning does not.
        text: what was found; holds no name, path or word of the source.
        next_step: what the owner can do, where it is not read from the table by the code.
    """

    case_id: str
    code: str
    severity: Severity
    text: str
    next_step: str = ""


def finding(case_id: str, code: str, text: str) -> Finding:
    """Return a finding with the severity that its code has.

    Raises:
        KeyError: there is no such code.
    """
    return Finding(case_id, code, CODES[code].severity, text)


def has_error(findings: Iterable[Finding]) -> bool:
    """Return True if a case with these findings is kept out."""
    return any(finding.severity == "error" for finding in findings)


def worst(findings: Sequence[Finding]) -> Severity | Literal["clean"]:
    """Return the worst severity of a case's findings."""
    if has_error(findings):
        return "error"
    return "warning" if findings else "clean"


def findings_text(findings: list[Finding]) -> str:
    """Return the content of ``findings.json``: the cases in order, then the cohort."""
    ordered = sorted(findings, key=lambda found: (not found.case_id, found.case_id))
    fields = ("case_id", "code", "severity", "text")
    return canonical_json([{name: getattr(found, name) for name in fields} for found in ordered])


def read_findings(root: Path) -> list[Finding]:
    """Return the findings that a build left in a cohort folder."""
    path = root / FILE_NAME
    return needed(path, _listed, "build the cohort again") if path.is_file() else []


def _listed(path: Path) -> list[Finding]:
    return [Finding(**item) for item in json.loads(path.read_bytes())]
