"""Answers that a cohort folder itself gives, where nobody has answered: scanners, sequence, faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ictmri.documents.facts import Facts
from ictmri.documents.table_one import acquisition_facts
from ictmri.manifest import Manifest

_STEPS: Final = "manifest.json, steps"


def informed(facts: Facts, root: Path, manifest: Manifest) -> Facts:
    """Return the facts with what the folder tells; an answer that is there already stays.

    Args:
        facts: what is known about the cohort.
        root: the cohort folder; only its small files are read.
        manifest: its manifest.
    """
    counted = ("counted from the data: see the table of who is in it", "data/default, folds.csv")
    told = {"faces": _faces(manifest), "class_counts": counted, "demography": counted}
    return facts.completed(told | acquisition_facts(root))


def _faces(manifest: Manifest) -> tuple[str, str]:
    done = manifest.steps.get("release", {}).get("faces")
    if not isinstance(done, dict):
        return "not removed in this folder: it is as private as the scans", "ictmri build"
    return "; ".join(_face_parts(done)), _STEPS


def _face_parts(done: dict[str, Any]) -> list[str]:
    parts = [f"removed from {_scans(done.get('removed', 0))}"]
    if done.get("extracted_before"):
        parts.append(f"only the brain was in {_scans(done['extracted_before'])} before")
    if done.get("looked_at"):
        parts.append(f"{done['looked_at']} looked at by a person")
    return parts


def _scans(count: int) -> str:
    return f"{count} scan{'' if count == 1 else 's'}"
