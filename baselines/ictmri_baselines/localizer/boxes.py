"""Boxes on axial slices: what a detector gives, and the JSONL file that it is published as."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ictmri.files import write_text
from ictmri_baselines.processor import Processed


@dataclass(frozen=True, slots=True)
class Box:
    """A box in voxels of the processed grid, half open: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int
    score: float


@dataclass(frozen=True, slots=True)
class SliceBoxes:
    """The boxes of one axial slice, made by a detector."""

    slice: int
    boxes: tuple[Box, ...]
    detector: str


class Detector(Protocol):
    """Finds tumours on axial slices [equations 2 and 3]; it sees the volume, never a label."""

    name: str
    version: str

    def detect(self, case: Processed) -> list[SliceBoxes]:
        """Return the slices that show something, in order."""


def write_boxes(path: Path, case_id: str, rows: Sequence[SliceBoxes]) -> None:
    """Write one line a slice."""
    lines = [json.dumps({"case_id": case_id, **asdict(row)}) + "\n" for row in rows]
    write_text(path, "".join(lines))


def read_boxes(path: Path) -> dict[str, list[SliceBoxes]]:
    """Return the slices of each case of a JSONL file."""
    cases: dict[str, list[SliceBoxes]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        boxes = tuple(Box(**box) for box in row["boxes"])
        found = SliceBoxes(row["slice"], boxes, row["detector"])
        cases.setdefault(row["case_id"], []).append(found)
    return cases
