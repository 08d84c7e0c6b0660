"""Boxes as a release carries them: numbers. What a model said, and how it is called, stays with the owner.

A model that reads words burned into a slice writes them into its reply; names of models, servers and
folders are words of the owner.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError

DETECTORS: Final = ("boxes", "openai", "qwen3-vl", "saliency")
"""Detectors by the names that this project gave them."""
SCHEMA: Final = "ictmri/boxes/1"
_LARGEST: Final = 1e6
_NEXT: Final = "run ictmri localize again"


def released_boxes(path: Path, case_ids: Collection[str]) -> str:
    """Return a boxes file with its numbers only.

    Args:
        path: JSON lines, one a slice.
        case_ids: the cases of the cohort.

    Raises:
        InputError: a line holds something else where a number belongs; every such line is named.
    """
    lines: list[str] = []
    problems: list[str] = []
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            lines.append(json.dumps(_numbers(json.loads(raw), case_ids)) + "\n")
        except (KeyError, TypeError, ValueError, RecursionError):
            problems.append(f"line {number}: not the boxes of a slice of a case of this cohort")
    if problems:
        raise InputError(f"boxes/{path.name}", problems, _NEXT)
    return "".join(lines)


def _numbers(line: dict[str, Any], case_ids: Collection[str]) -> dict[str, Any]:
    if line["case_id"] not in case_ids:
        raise ValueError("unknown case")
    detector = line["detector"]
    return {
        "schema": SCHEMA,
        "case_id": line["case_id"],
        "spacing_mm": _number(line["spacing_mm"]),
        "slice": _number(line["slice"]),
        "slice_mm": [_number(value) for value in line["slice_mm"]],
        "boxes": [
            {
                "voxels": [_number(value) for value in box["voxels"]],
                "mm": [_number(value) for value in box["mm"]],
                "score": None if box.get("score") is None else _number(box["score"]),
            }
            for box in line["boxes"]
        ],
        "detector": detector if detector in DETECTORS else "boxes",
    }


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or not abs(value) <= _LARGEST:
        raise ValueError("no number")
    number: int | float = value
    return number
