"""The lines of a boxes file: their schema, and a reader that names every line it cannot use."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError, nearest
from ictmri_baselines.localizer.grid import Grid

SCHEMA: Final = "ictmri/boxes/1"
MAX_LINE_BYTES: Final = 1024 * 1024
"""An answer of 4,096 tokens has at most some 30 kB; a line beyond this limit is no slice's."""
_SAME_MM: Final = 0.01

_Index = Annotated[int, Field(ge=0)]
_Millimetre = Annotated[float, Field(allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BoxLine(_Line):
    """A box: ``voxels`` half open (x0, y0, x1, y1), ``mm`` the same four edges in MNI mm."""

    voxels: tuple[_Index, _Index, _Index, _Index]
    mm: tuple[_Millimetre, _Millimetre, _Millimetre, _Millimetre]
    score: _Millimetre | None = None


class TokensLine(_Line):
    """What the answer cost."""

    prompt: _Index
    completion: _Index


class SliceLine(_Line):
    """One line: the boxes of one axial slice of one case."""

    schema_: Literal["ictmri/boxes/1"] = Field(default=SCHEMA, alias="schema")
    case_id: Annotated[str, Field(min_length=1, max_length=200)]
    spacing_mm: Annotated[int, Field(ge=1, le=8)]
    slice: _Index
    slice_mm: tuple[_Millimetre, _Millimetre]
    boxes: Annotated[list[BoxLine], Field(max_length=1000)]
    detector: Annotated[str, Field(min_length=1, max_length=100)]
    model: str | None = None
    prompt_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    reply: str | None = None
    problems: list[str] = []
    tokens: TokensLine | None = None

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, serialize_by_alias=True, validate_by_alias=True
    )


def boxes_schema() -> dict[str, Any]:
    """Return the JSON schema of one line."""
    return SliceLine.model_json_schema()


def parse_lines(path: Path, case_ids: Collection[str] | None = None) -> list[SliceLine]:
    """Return the lines of a boxes file, in order.

    Args:
        path: the file.
        case_ids: the cases that may occur; any where None.

    Raises:
        InputError: lines that cannot be used, all of them, with number and reason.
    """
    next_step = "see docs/detectors.md for the format; ictmri localize writes such a file"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], next_step) from None
    lines: list[SliceLine] = []
    problems: list[str] = []
    seen: dict[tuple[str, int], int] = {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            line = _parsed(raw)
        except ValueError as error:
            problems.extend(f"line {number}: {what}" for what in _reasons(error))
            continue
        problems.extend(f"line {number}: {what}" for what in _conflicts(line, lines, case_ids))
        first = seen.setdefault((line.case_id, line.slice), number)
        if first != number:
            problems.append(f"line {number}: slice {line.slice} of {line.case_id}, as line {first}")
        lines.append(line)
    if problems:
        raise InputError(str(path), problems, next_step)
    return lines


def _parsed(raw: bytes) -> SliceLine:
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"more than {MAX_LINE_BYTES} bytes")
    return SliceLine.model_validate_json(raw)


def _reasons(error: ValueError) -> list[str]:
    if not isinstance(error, ValidationError):
        return [str(error)]
    reasons = []
    for found in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in found["loc"])
        reasons.append(f"{place}: {found['msg']}" if place else str(found["msg"]))
    return reasons


def _conflicts(
    line: SliceLine, before: list[SliceLine], case_ids: Collection[str] | None
) -> Iterator[str]:
    """Yield what is wrong with a line that has the right form."""
    grid = Grid(line.spacing_mm)
    if case_ids is not None and line.case_id not in case_ids:
        yield f"unknown case {line.case_id!r}{nearest(line.case_id, case_ids)}"
    if before and before[0].spacing_mm != line.spacing_mm:
        yield f"a grid of {line.spacing_mm} mm; the lines before are of {before[0].spacing_mm} mm"
    if line.slice >= grid.shape[2]:
        yield f"slice {line.slice} of a grid with slices 0 to {grid.shape[2] - 1}"
    if not _same((grid.edge_mm(2, line.slice), grid.edge_mm(2, line.slice + 1)), line.slice_mm):
        yield f"slice {line.slice} does not lie at {_told(line.slice_mm)} mm"
    for index, box in enumerate(line.boxes):
        yield from (f"box {index}: {what}" for what in _box_conflicts(box, grid))


def _box_conflicts(box: BoxLine, grid: Grid) -> Iterator[str]:
    x0, y0, x1, y1 = box.voxels
    if x0 >= x1 or y0 >= y1:
        yield f"voxels {_told(box.voxels)} hold nothing (x0 < x1 and y0 < y1 is needed)"
    if x1 > grid.shape[0] or y1 > grid.shape[1]:
        yield f"voxels {_told(box.voxels)} of a slice of {grid.shape[0]} x {grid.shape[1]}"
    expected = [grid.edge_mm(axis % 2, index) for axis, index in enumerate(box.voxels)]
    if not _same(expected, box.mm):
        yield f"{_told(box.mm)} mm are not the voxels {_told(box.voxels)}"


def _same(expected: Collection[float], given: Collection[float]) -> bool:
    return all(abs(a - b) <= _SAME_MM for a, b in zip(expected, given, strict=True))


def _told(numbers: Collection[float]) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"
