"""Boxes on axial slices: what a detector gives, and the JSONL file that it is published as.

The classes hold what the file holds, and its bounds; the reader names every line that it cannot use.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ictmri.errors import MAX_PROBLEMS, InputError, nearest, validation_problems
from ictmri.io.files import replacing, unique_keys
from ictmri_baselines.localizer.grid import FULL_SHAPE, Grid
from ictmri_baselines.registry import DETECTORS

SCHEMA: Final = "ictmri/boxes/1"
MAX_LINE_BYTES: Final = 1024 * 1024
"""An answer of 4,096 tokens has at most some 30 kB; a line beyond this limit is no slice's."""
MAX_HINTS: Final = 20
"""Problems that are shown, and told with a guess at what was meant."""
_SAME_MM: Final = 0.01
_WORDS: Final = {"unexpected_keyword_argument": "is no part of a line"}
_NEXT_STEP: Final = "see docs/detectors.md for the format; ictmri localize writes such a file"

Count = Annotated[int, Field(ge=0, le=10**9)]
_Index = Annotated[int, Field(ge=0, le=max(FULL_SHAPE))]
_Millimetre = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
_Score = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_STRICT: Final = ConfigDict(extra="forbid", strict=True)


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=_STRICT)
class Box:
    """A box in voxels of the processed grid, half open: x0 <= x < x1, y0 <= y < y1.

    ``score`` is what the detector gave: comparable within one detector only, None where it gave none.
    """

    x0: _Index
    y0: _Index
    x1: _Index
    y1: _Index
    score: _Score | None = None


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=_STRICT)
class Tokens:
    """What an answer cost: tokens read (picture and prompt) and written."""

    prompt: Count
    completion: Count


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _Origin:
    """Where the boxes of a slice are from.

    Attributes:
        model: which weights answered, where there are any: name and, where it is known, revision.
        prompt_sha256: of the text that was sent with the picture.
        reply: the answer as it came.
        problems: what was wrong with the answer, codes of
            :data:`ictmri_baselines.localizer.vlm.replies.PROBLEMS`.
        tokens: None where nobody counted.
    """

    model: str | None = None
    prompt_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    reply: str | None = None
    problems: tuple[str, ...] = ()
    tokens: Tokens | None = None


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=_STRICT)
class SliceBoxes(_Origin):
    """The boxes of one axial slice, made by a detector.

    Attributes:
        slice: index along the third axis.
        boxes: none where the detector looked and found nothing.
        detector: its name.
    """

    slice: _Index
    boxes: tuple[Box, ...]
    detector: Annotated[str, Field(min_length=1, max_length=100)]


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LineBox:
    """A box in the file: ``voxels`` half open (x0, y0, x1, y1), ``mm`` the same four edges in MNI mm."""

    voxels: tuple[_Index, _Index, _Index, _Index]
    mm: tuple[_Millimetre, _Millimetre, _Millimetre, _Millimetre]
    score: _Score | None = None


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SliceLine(_Origin):
    """One line of the file: the boxes of one axial slice of one case."""

    schema_: Literal["ictmri/boxes/1"] = Field(default=SCHEMA, alias="schema")
    case_id: Annotated[str, Field(min_length=1, max_length=200)]
    spacing_mm: Annotated[int, Field(ge=1, le=8)]
    slice: _Index
    slice_mm: tuple[_Millimetre, _Millimetre]
    boxes: Annotated[tuple[LineBox, ...], Field(max_length=1000)]
    detector: Annotated[str, Field(min_length=1, max_length=100)]

    @property
    def row(self) -> SliceBoxes:
        """What the line says of its slice."""
        boxes = tuple(Box(*box.voxels, box.score) for box in self.boxes)
        origin = {name: getattr(self, name) for name in _Origin.__dataclass_fields__}
        return SliceBoxes(self.slice, boxes, self.detector, **origin)


LINE: Final = TypeAdapter(SliceLine)
"""Reads a line; its ``json_schema()`` is that of the file's lines."""


def numbers_only(row: SliceBoxes, detector: str) -> SliceBoxes:
    """Return what a cohort holds of a row: numbers, and which detector they are from.

    What a model said, how it is called and what a file from elsewhere says of itself are words, in which a
    name that is burned into a picture may stand; they stay with the owner.

    Args:
        row: of any detector, or of a file.
        detector: named where the row's own is none of ours.
    """
    known = row.detector if row.detector in DETECTORS else detector
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
    lines = (json.dumps(_line(case_id, row, grid)) + "\n" for row in rows)
    with replacing(path, mode=mode) as part:
        part.write_text("".join(lines), encoding="utf-8", newline="")


def _line(case_id: str, row: SliceBoxes, grid: Grid) -> dict[str, Any]:
    """Return a :class:`SliceLine` as it is written: always in this order."""
    said = asdict(row)
    boxes = [(box.x0, box.y0, box.x1, box.y1) for box in row.boxes]
    return {
        "schema": SCHEMA,
        "case_id": case_id,
        "spacing_mm": grid.spacing_mm,
        "slice": row.slice,
        "slice_mm": _slice_mm(grid, row.slice),
        "boxes": [
            {"voxels": voxels, "mm": _edges_mm(grid, voxels), "score": box.score}
            for voxels, box in zip(boxes, row.boxes, strict=True)
        ],
        "detector": row.detector,
        **{name: said[name] for name in _Origin.__dataclass_fields__},
    }


def _slice_mm(grid: Grid, index: int) -> list[float]:
    return [grid.edge_mm(2, index), grid.edge_mm(2, index + 1)]


def _edges_mm(grid: Grid, voxels: Sequence[int]) -> list[float]:
    return [grid.edge_mm(axis % 2, index) for axis, index in enumerate(voxels)]


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
    lines = _parse_lines(path, case_ids)
    cases: dict[str, list[SliceBoxes]] = {}
    for line in lines:
        cases.setdefault(line.case_id, []).append(line.row)
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
        moved.append(
            replace(
                found[0],
                slice=z,
                boxes=tuple(boxes),
                problems=tuple(problems),
                reply=None,
                tokens=None,
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


def _parse_lines(path: Path, case_ids: Collection[str] | None) -> list[SliceLine]:
    """Return the lines of a boxes file, in order; :data:`MAX_PROBLEMS` are told at most."""
    found = _LinesRead(case_ids)
    try:
        if path.exists() and not path.is_file():
            raise InputError(str(path), ["not a regular file"], _NEXT_STEP)
        with path.open("rb") as stream:
            if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise InputError(str(path), ["UTF-16, not UTF-8 text"], "save it as UTF-8")
            _read(stream, found)
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], _NEXT_STEP) from None
    if found.problems:
        raise InputError(str(path), found.problems, _NEXT_STEP)
    return found.lines


@dataclass(slots=True)
class _LinesRead:
    """Lines and problems so far."""

    case_ids: Collection[str] | None
    lines: list[SliceLine] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def most(self) -> int | None:
        """Lines that the cases can have: one a slice, and some that are empty."""
        if self.case_ids is None:
            return None
        return len(self.case_ids) * FULL_SHAPE[2] + MAX_PROBLEMS

    def tell(self, number: int, what: Iterable[str]) -> None:
        self.problems.extend(f"line {number}: {problem}" for problem in what)

    def take(self, number: int, raw: bytes) -> None:
        try:
            line = _parsed(raw)
        except ValueError as error:
            self.tell(number, _reasons(error))
            return
        hinted = len(self.problems) < MAX_HINTS
        self.tell(number, _conflicts(line, self.lines[:1], self.case_ids, hinted=hinted))
        first = self.seen.setdefault((line.case_id, line.slice), number)
        if first != number:
            self.tell(number, [f"slice {line.slice} of {line.case_id}, as line {first}"])
        self.lines.append(line)


def _read(stream: BinaryIO, found: _LinesRead) -> None:
    for number in count(1):
        raw = stream.readline(MAX_LINE_BYTES + 1)
        if not raw:
            return
        if found.most is not None and number > found.most:
            cases = len(found.case_ids or ())
            found.tell(
                number, [f"more lines than {cases} cases have slices; the rest was not read"]
            )
            return
        if len(found.problems) >= MAX_PROBLEMS:
            found.tell(number, ["the rest was not read"])
            return
        if raw.strip():
            found.take(number, raw)
        if len(raw) > MAX_LINE_BYTES and not _passed_over(stream):
            return


def _passed_over(stream: BinaryIO) -> bool:
    """Go on behind the end of a line that is too long; False where the file ends before."""
    while raw := stream.readline(MAX_LINE_BYTES):
        if raw.endswith(b"\n"):
            return True
    return False


def _parsed(raw: bytes) -> SliceLine:
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"more than {MAX_LINE_BYTES} bytes")
    line = LINE.validate_json(raw)
    # pydantic takes the last of equal keys; which of them is meant is not for us to say.
    json.loads(raw, object_pairs_hook=unique_keys)
    return line


def _reasons(error: ValueError) -> list[str]:
    if not isinstance(error, ValidationError):
        return [str(error)]
    return validation_problems(error, words=_WORDS)[:MAX_HINTS]


def _conflicts(
    line: SliceLine,
    before: list[SliceLine],
    case_ids: Collection[str] | None,
    *,
    hinted: bool,
) -> Iterator[str]:
    """Yield what is wrong with a line that has the right form."""
    grid = Grid(line.spacing_mm)
    if case_ids is not None and line.case_id not in case_ids:
        hint = nearest(line.case_id, case_ids) if hinted else ""
        yield f"unknown case {line.case_id!r}{hint}"
    if before and before[0].spacing_mm != line.spacing_mm:
        yield f"a grid of {line.spacing_mm} mm; the lines before are of {before[0].spacing_mm} mm"
    if line.slice >= grid.shape[2]:
        yield f"slice {line.slice} of a grid with slices 0 to {grid.shape[2] - 1}"
    if not _same(_slice_mm(grid, line.slice), line.slice_mm):
        yield f"slice {line.slice} does not lie at {_told(line.slice_mm)} mm"
    for index, box in enumerate(line.boxes):
        yield from (f"box {index}: {what}" for what in _box_conflicts(box, grid))


def _box_conflicts(box: LineBox, grid: Grid) -> Iterator[str]:
    x0, y0, x1, y1 = box.voxels
    if x0 >= x1 or y0 >= y1:
        yield f"voxels {_told(box.voxels)} hold nothing (x0 < x1 and y0 < y1 is needed)"
    if x1 > grid.shape[0] or y1 > grid.shape[1]:
        yield f"voxels {_told(box.voxels)} of a slice of {grid.shape[0]} x {grid.shape[1]}"
    if not _same(_edges_mm(grid, box.voxels), box.mm):
        yield f"{_told(box.mm)} mm are not the voxels {_told(box.voxels)}"


def _same(expected: Collection[float], given: Collection[float]) -> bool:
    return all(abs(a - b) <= _SAME_MM for a, b in zip(expected, given, strict=True))


def _told(numbers: Collection[float]) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"
