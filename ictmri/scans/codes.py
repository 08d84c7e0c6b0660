"""Everything that can be found about a scan or a cohort, by name: ``codes.yaml`` is the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ictmri.io.yamlfile import own_table

Severity = Literal["error", "warning"]


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
    content = own_table(Path(__file__).with_suffix(".yaml"))
    severities: tuple[Severity, ...] = ("error", "warning")
    return {name: Code(word, **row) for word in severities for name, row in content[word].items()}


CODES: Final = _codes()
"""Code -> what it is; the worst first, which is the order in which the page tells them."""
