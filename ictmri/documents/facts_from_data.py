"""Answers that a cohort folder itself gives, where nobody has answered: scanners, sequence, faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd

from ictmri.cohort import ACQUISITION, read_acquisition
from ictmri.documents.facts import Facts
from ictmri.documents.suppression import SMALL, K
from ictmri.documents.table_one import UNKNOWN
from ictmri.manifest import Manifest

_COUNTED: Final = (
    "counted from the data: see the table of who is in it",
    "data/default, folds.csv",
)
_TIMINGS: Final = (
    ("repetition_time_ms", "TR", "ms"),
    ("echo_time_ms", "TE", "ms"),
    ("inversion_time_ms", "TI", "ms"),
    ("flip_angle_deg", "flip angle", "degrees"),
)


def facts_from_data(facts: Facts, root: Path, manifest: Manifest) -> Facts:
    """Return the facts with what the folder tells; an answer that is there already stays.

    Args:
        facts: what is known about the cohort.
        root: the cohort folder; only its small files are read.
        manifest: its manifest.
    """
    told = {"faces": _faces(manifest), "class_counts": _COUNTED, "demography": _COUNTED}
    return facts.completed(told | acquisition_facts(root))


def _faces(manifest: Manifest) -> tuple[str, str]:
    done = manifest.steps.get("release", {}).get("faces")
    if not isinstance(done, dict):
        return "not removed in this folder: it is as private as the scans", "ictmri build"
    parts = [f"removed from {_scans(done.get('removed', 0))}"]
    if done.get("extracted_before"):
        parts.append(f"only the brain was in {_scans(done['extracted_before'])} before")
    if done.get("looked_at"):
        parts.append(f"{done['looked_at']} looked at by a person")
    return "; ".join(parts), "manifest.json, steps"


def _scans(count: int) -> str:
    return f"{count} scan{'' if count == 1 else 's'}"


def acquisition_facts(root: Path) -> dict[str, tuple[str, str]]:
    """Return what ``acquisition.csv`` tells, question id -> (answer, source); empty without it."""
    table = pd.DataFrame.from_dict(read_acquisition(root), orient="index")
    timings = [_spread(table, *column) for column in _TIMINGS]
    told = {
        "scanners": _named(table, "vendor", ""),
        "field_strength": _named(table, "field_strength_t", " T"),
        "sequence": "; ".join(filter(None, (_named(table, "acquisition", ""), *timings))),
        "voxel_size": _spread(table, "slice_thickness_mm", "slice thickness", "mm"),
    }
    source = f"computed from {ACQUISITION}"
    return {key: (text, source) for key, text in told.items() if text}


def _known(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    cells = table.get(column, pd.Series(dtype=str))
    return cells[cells != ""]


def _named(table: pd.DataFrame, column: str, unit: str) -> str:
    """Return how often each value of a column occurs, the most frequent first, unknown last."""
    known = _known(table, column)
    counts = known.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if counts.empty:
        return ""
    named = [(f"{name}{unit}", count) for name, count in counts.items()]
    if len(known) < len(table):
        named.append((UNKNOWN, len(table) - len(known)))
    return ", ".join(f"{name}: {SMALL if count < K else count}" for name, count in named)


def _spread(table: pd.DataFrame, column: str, title: str, unit: str) -> str:
    """Return median and range of a column's numbers and for how many cases they are known."""
    values = _known(table, column).astype(float)
    if values.empty:
        return ""
    known = "" if len(values) == len(table) else f", known for {len(values)} of {len(table)}"
    low, middle, high = values.min(), values.median(), values.max()
    return f"{title} {middle:.4g} {unit} (from {low:.4g} to {high:.4g}{known})"
