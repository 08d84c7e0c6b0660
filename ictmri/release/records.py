"""What a release says of boxes and of the steps that made it: numbers, settings and codes.

A model that reads words burned into a slice writes them into its reply; names of models, servers, files
and folders are words of the owner. None of them leave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError

from ictmri.errors import InputError

DETECTORS: Final = ("boxes", "masks", "openai", "qwen3-vl", "saliency", "synthetic")
"""Detectors by the names that this project gave them."""
SCHEMA: Final = "ictmri/boxes/1"
_CODES: Final = re.compile(r"[a-z0-9-]+(, [a-z0-9-]+)*")
_SETTINGS: Final = {
    "detector": re.compile("|".join(DETECTORS)),
    "model": re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}"),
    "prompt": re.compile(r"expert-\d+"),
}
"""Settings of the localizer that hold words, and which of them may leave: a model on the Hub, say."""
# Larger numbers may be ids.
Number = Annotated[
    Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)],
    Field(ge=-1e6, le=1e6),
]


class ReleasedBox(BaseModel):
    """A box on a slice."""

    voxels: list[Number]
    mm: list[Number]
    score: Number | None = None


class ReleasedSlice(BaseModel):
    """The boxes of one slice; whatever else its line holds stays with the owner."""

    case_id: str
    spacing_mm: Number
    slice: Number
    slice_mm: list[Number]
    boxes: list[ReleasedBox]
    detector: Any


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
            found = ReleasedSlice.model_validate(json.loads(raw)).model_dump()
        except (ValidationError, ValueError, RecursionError):
            found = {}
        if found.get("case_id") not in case_ids:
            problems.append(f"line {number}: not the boxes of a slice of a case of this cohort")
            continue
        if found["detector"] not in DETECTORS:
            found["detector"] = "boxes"
        lines.append(json.dumps({"schema": SCHEMA} | found) + "\n")
    if problems:
        raise InputError(f"boxes/{path.name}", problems, "run ictmri localize again")
    return "".join(lines)


def released_steps(steps: dict[str, Any], case_ids: Collection[str]) -> dict[str, Any]:
    """Return the steps of a manifest without names of files, models and prompts of the owner."""
    done = dict(steps)
    if "process" in done:
        done["process"] = _process(done["process"], case_ids)
    if "localize" in done:
        settings = {
            key: value
            for key, value in done["localize"].get("settings", {}).items()
            if key not in _SETTINGS or _SETTINGS[key].fullmatch(str(value))
        }
        done["localize"] = done["localize"] | {"settings": settings}
    return done


def _process(step: dict[str, Any], case_ids: Collection[str]) -> dict[str, Any]:
    settings = dict(step.get("settings", {}))
    if "own_masks" in settings:
        settings["own_masks"] = {
            name: digest
            for name, digest in settings["own_masks"].items()
            if name.removesuffix(".nii.gz") in case_ids
        }
    left_out = {
        case_id: why if _CODES.fullmatch(why) else "not processed"
        for case_id, why in step.get("left_out", {}).items()
    }
    return step | {"settings": settings, "left_out": left_out}
