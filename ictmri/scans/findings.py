"""What was found about a cohort's scans: one line each, published with the cohort."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ictmri.io.files import canonical_json
from ictmri.io.states import needed
from ictmri.scans.codes import CODES, Severity

FILE_NAME: Final = "findings.json"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something odd about a case or, where ``case_id`` is empty, about the cohort.

    Attributes:
        case_id: pseudonym of the case; empty for the cohort.
        code: its name, a key of :data:`ictmri.scans.codes.CODES`.
        severity: an error kept the case out of the cohort, a warning did not.
        text: what was found; holds no name, path or word of the source.
    """

    case_id: str
    code: str
    severity: Severity
    text: str


def finding(case_id: str, code: str, text: str) -> Finding:
    """Return a finding with the severity that its code has.

    Raises:
        KeyError: there is no such code.
    """
    return Finding(case_id, code, CODES[code].severity, text)


def findings_text(findings: list[Finding]) -> str:
    """Return the content of ``findings.json``: the cases in order, then the cohort."""
    ordered = sorted(findings, key=lambda found: (not found.case_id, found.case_id))
    return canonical_json([asdict(found) for found in ordered])


def read_findings(root: Path) -> list[Finding]:
    """Return the findings that a build left in a cohort folder."""
    path = root / FILE_NAME
    return needed(path, _listed, "build the cohort again") if path.is_file() else []


def _listed(path: Path) -> list[Finding]:
    return [Finding(**item) for item in json.loads(path.read_bytes())]
