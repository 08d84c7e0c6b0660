"""What was found about a cohort's scans, one line each, and everything that can be: ``codes.yaml``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ictmri.io.files import canonical_json
from ictmri.io.states import needed
from ictmri.io.yamlfile import own_table

Severity = Literal["error", "warning"]
FILE_NAME: Final = "findings.json"


class Note(NamedTuple):
    """Something found about a scan, before it is known whose scan it is.

    Attributes:
        code: a key of :data:`CODES`.
        text: what was found; holds no name, path or word of the source.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """What a named finding is.

    Attributes:
        severity: an error keeps the case out of the cohort, a warning does not.
        title: the finding in a few words.
        meaning: what it means for the data.
        next_step: what the owner can do.
    """

    severity: Severity
    title: str
    meaning: str
    next_step: str


def _codes() -> dict[str, Code]:
    content = own_table(Path(__file__).with_name("codes.yaml"))
    severities: tuple[Severity, ...] = ("error", "warning")
    return {name: Code(word, **row) for word in severities for name, row in content[word].items()}


CODES: Final = _codes()
"""Code -> what it is; the worst first, which is the order in which the page tells them."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something odd about a case or, where ``case_id`` is empty, about a cohort or the one scan spoken of.

    Attributes:
        case_id: pseudonym of the case.
        code: its name: a key of :data:`CODES`, or of a table of rules of a later step.
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
