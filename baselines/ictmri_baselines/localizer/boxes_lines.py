"""The lines of a boxes file: their schema, and a reader that names every line it cannot use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictmri.errors import InputError, nearest, validation_problems
from ictmri_baselines.localizer.grid import FULL_SHAPE, Grid

SCHEMA: Final = "ictmri/boxes/1"
MAX_LINE_BYTES: Final = 1024 * 1024
"""An answer of 4,096 tokens has at most some 30 kB; a line beyond this limit is no slice's."""
MAX_PROBLEMS: Final = 200
"""After which the rest of a file is not read."""
MAX_HINTS: Final = 20
"""Problems that are shown, and told with a guess at what was meant."""
_SAME_MM: Final = 0.01

_Index = Annotated[int, Field(ge=0, le=max(FULL_SHAPE))]
_Count = Annotated[int, Field(ge=0, le=10**9)]
_Millimetre = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
_Score = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BoxLine(_Line):
    """A box: ``voxels`` half open (x0, y0, x1, y1), ``mm`` the same four edges in MNI mm."""

    voxels: tuple[_Index, _Index, _Index, _Index]
    mm: tuple[_Millimetre, _Millimetre, _Millimetre, _Millimetre]
    score: _Score | None = None


class TokensLine(_Line):
    """What the answer cost."""

    prompt: _Count
    completion: _Count


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
        InputError: lines that cannot be used, with number and reason; the first 200 of them.
    """
    next_step = "see docs/detectors.md for the format; ictmri localize writes such a file"
    found = _Found(case_ids)
    try:
        if path.exists() and not path.is_file():
            raise InputError(str(path), ["not a regular file"], next_step)
        with path.open("rb") as stream:
            _read(stream, found)
    except OSError as error:
        raise InputError(str(path), [error.strerror or str(error)], next_step) from None
    if found.problems:
        raise InputError(str(path), found.problems, next_step)
    return found.lines


@dataclass(slots=True)
class _Found:
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


def _read(stream: BinaryIO, found: _Found) -> None:
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
    return SliceLine.model_validate_json(raw)


def _reasons(error: ValueError) -> list[str]:
    if not isinstance(error, ValidationError):
        return [str(error)]
    return validation_problems(error)[:MAX_HINTS]


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
