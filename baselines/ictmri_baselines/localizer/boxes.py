"""Boxes on axial slices: what a detector gives, and the JSONL file that it is published as."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ictmri.io.files import replacing
from ictmri_baselines.localizer.boxes_lines import BoxLine, SliceLine, TokensLine, parse_lines
from ictmri_baselines.localizer.grid import Grid

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain


DETECTOR_NAMES: Final = ("saliency", "qwen3-vl", "openai", "boxes")
"""The detectors by the names that they have here."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box in voxels of the processed grid, half open: x0 <= x < x1, y0 <= y < y1.

    ``score`` is what the detector gave: comparable within one detector only, None where it gave none.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an answer cost: tokens read (picture and prompt) and written."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class SliceBoxes:
    """The boxes of one axial slice, made by a detector.

    Attributes:
        slice: index along the third axis.
        boxes: none where the detector looked and found nothing.
        detector: its name.
        model: which weights answered, where there are any: name and, where it is known, revision.
        prompt_sha256: of the text that was sent with the picture.
        reply: the answer as it came.
        problems: what was wrong with the answer, codes of
            :data:`ictmri_baselines.localizer.vlm.replies.PROBLEMS`.
        tokens: None where nobody counted.
    """

    slice: int
    boxes: tuple[Box, ...]
    detector: str
    model: str | None = None
    prompt_sha256: str | None = None
    reply: str | None = None
    problems: tuple[str, ...] = ()
    tokens: Tokens | None = None


class Detector(Protocol):
    """Finds tumours on axial slices [equations 2 and 3]; it sees the brain, never a label or an id."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def version(self) -> str:
        """Changes whenever the same brain may give other boxes."""

    def detect(self, brain: Brain) -> list[SliceBoxes]:
        """Return the slices that were looked at, in order; those without a box may be left out."""


def numbers_only(row: SliceBoxes, detector: str) -> SliceBoxes:
    """Return what a cohort holds of a row: numbers, and which detector they are from.

    What a model said, how it is called and what a file from elsewhere says of itself are words, in which a
    name that is burned into a picture may stand; they stay with the owner.

    Args:
        row: of any detector, or of a file.
        detector: named where the row's own is none of ours.
    """
    known = row.detector if row.detector in DETECTOR_NAMES else detector
    return SliceBoxes(row.slice, row.boxes, known)


def write_boxes(
    path: Path,
    case_id: str,
    rows: Sequence[SliceBoxes],
    *,
    spacing_mm: float,
    detector: str,
    mode: int = 0o666,
) -> None:
    """Write one line a slice, coordinates in voxels of the grid of ``spacing_mm`` and in MNI mm.

    A case without any row gets one line without boxes, of the middle slice and by ``detector``: the file
    says of each case that it was looked at.
    """
    grid = Grid(_whole(spacing_mm))
    rows = rows or [SliceBoxes(grid.shape[2] // 2, (), detector)]
    # ASCII, so that no reader takes a rare line separator in a reply for the end of the line.
    lines = (json.dumps(_line(case_id, row, grid).model_dump(mode="json")) + "\n" for row in rows)
    with replacing(path, mode=mode) as part:
        part.write_text("".join(lines), encoding="utf-8", newline="")


def read_boxes(
    path: Path, *, spacing_mm: float | None = None, case_ids: Collection[str] | None = None
) -> dict[str, list[SliceBoxes]]:
    """Return the slices of each case of a JSONL file, sorted.

    Args:
        path: the file.
        spacing_mm: of the grid that the boxes are wanted on; as in the file where None.
        case_ids: the cases that may occur; any where None.

    Raises:
        InputError: lines that cannot be used, all of them, with number and reason.
    """
    lines = parse_lines(path, case_ids)
    cases: dict[str, list[SliceBoxes]] = {}
    for line in lines:
        cases.setdefault(line.case_id, []).append(_row(line))
    for rows in cases.values():
        rows.sort(key=lambda row: row.slice)
    if spacing_mm is None or not lines or lines[0].spacing_mm == spacing_mm:
        return cases
    source, target = Grid(lines[0].spacing_mm), Grid(_whole(spacing_mm))
    return {case_id: regrid(rows, source, target) for case_id, rows in cases.items()}


def regrid(rows: Sequence[SliceBoxes], source: Grid, target: Grid) -> list[SliceBoxes]:
    """Return the rows on another grid, so that nothing is lost.

    A slice takes over the boxes of all slices whose centre is at most half the coarser spacing away; boxes
    grow to whole voxels; equal ones are kept once. Answers and tokens stay with the original file.
    """
    reach = max(source.spacing_mm, target.spacing_mm) / 2
    by_slice = {row.slice: row for row in rows}
    moved = []
    for z in range(target.shape[2]):
        centre = (z * target.spacing_mm) / source.spacing_mm
        span = reach / source.spacing_mm
        near = range(math.ceil(centre - span), math.floor(centre + span) + 1)
        found = [by_slice[k] for k in near if k in by_slice]
        if not found:
            continue
        boxes = dict.fromkeys(_moved(box, source, target) for row in found for box in row.boxes)
        problems = sorted({problem for row in found for problem in row.problems})
        first = found[0]
        moved.append(
            SliceBoxes(
                z,
                tuple(boxes),
                first.detector,
                model=first.model,
                prompt_sha256=first.prompt_sha256,
                problems=tuple(problems),
            )
        )
    return moved


def _moved(box: Box, source: Grid, target: Grid) -> Box:
    def edge(axis: int, index: int) -> float:
        return target.edge_index(axis, source.edge_mm(axis, index))

    # The edges of one grid halve the voxels of the other, so they are exact in binary.
    return Box(
        max(math.floor(edge(0, box.x0)), 0),
        max(math.floor(edge(1, box.y0)), 0),
        min(math.ceil(edge(0, box.x1)), target.shape[0]),
        min(math.ceil(edge(1, box.y1)), target.shape[1]),
        box.score,
    )


def _whole(spacing_mm: float) -> int:
    if spacing_mm != round(spacing_mm) or spacing_mm < 1:
        raise ValueError(f"grids of the template have whole millimetres, not {spacing_mm}")
    return round(spacing_mm)


def _line(case_id: str, row: SliceBoxes, grid: Grid) -> SliceLine:
    boxes = [
        BoxLine(
            voxels=(box.x0, box.y0, box.x1, box.y1),
            mm=(
                grid.edge_mm(0, box.x0),
                grid.edge_mm(1, box.y0),
                grid.edge_mm(0, box.x1),
                grid.edge_mm(1, box.y1),
            ),
            score=box.score,
        )
        for box in row.boxes
    ]
    tokens = row.tokens
    return SliceLine(
        case_id=case_id,
        spacing_mm=grid.spacing_mm,
        slice=row.slice,
        slice_mm=(grid.edge_mm(2, row.slice), grid.edge_mm(2, row.slice + 1)),
        boxes=boxes,
        detector=row.detector,
        model=row.model,
        prompt_sha256=row.prompt_sha256,
        reply=row.reply,
        problems=list(row.problems),
        tokens=TokensLine(prompt=tokens.prompt, completion=tokens.completion) if tokens else None,
    )


def _row(line: SliceLine) -> SliceBoxes:
    tokens = line.tokens
    return SliceBoxes(
        line.slice,
        tuple(Box(*box.voxels, box.score) for box in line.boxes),
        line.detector,
        model=line.model,
        prompt_sha256=line.prompt_sha256,
        reply=line.reply,
        problems=tuple(line.problems),
        tokens=Tokens(tokens.prompt, tokens.completion) if tokens else None,
    )
