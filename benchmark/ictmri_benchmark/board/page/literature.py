"""What others found on other patients, and how this work is cited: from files that ship with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from ictmri.io.resources import shipped


def literature() -> dict[str, Any]:
    """Return the content of context.yaml: ``rows``, ``reading``, ``human_rows``."""
    content: dict[str, Any] = yaml.safe_load(shipped("context.yaml").read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True, slots=True)
class Citation:
    """How to cite, as text and as BibTeX."""

    message: str
    texts: tuple[str, ...]
    bibtex: str


def citation() -> Citation:
    """Return how the software and the preprint are cited, from CITATION.cff."""
    cff = yaml.safe_load(shipped("CITATION.cff").read_text(encoding="utf-8"))
    works = [cff, *cff.get("references", [])]
    return Citation(cff["message"], tuple(map(_text, works)), "\n".join(map(_bibtex, works)))


def _names(work: dict[str, Any]) -> list[str]:
    return [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in work["authors"]]


def _identifier(work: dict[str, Any]) -> str:
    if work.get("doi"):
        return f"doi:{work['doi']}"
    return next((str(found["value"]) for found in work.get("identifiers", [])), "")


def _text(work: dict[str, Any]) -> str:
    version = f"version {work['version']}" if work.get("version") else ""
    parts = ["; ".join(_names(work)), work["title"], version, _identifier(work), work.get("year")]
    return ". ".join(str(part) for part in parts if part) + "."


def _bibtex(work: dict[str, Any]) -> str:
    kind, key = (
        ("article", "virtualbiopsy") if work["type"] == "article" else ("software", "ictmri")
    )
    fields = {
        "title": f"{{{work['title']}}}",
        "author": " and ".join(a if "," in a else f"{{{a}}}" for a in _names(work)),
        "year": work.get("year"),
        "version": work.get("version"),
        "note": _identifier(work),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
