"""From a model's words to boxes: what is read is read exactly, and whatever was wrong has a name.

A reply never stops a run. It gives boxes inside the slice, maybe none, and codes of :data:`PROBLEMS`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ictmri_baselines.localizer.boxes import Box
from ictmri_baselines.localizer.vlm.prompts import Coordinates
from ictmri_baselines.localizer.vlm.slices import View

PROBLEMS: Final = {
    "empty": "no words at all: no box",
    "refusal": "the model declined to answer: no box",
    "no-json": "words without a list of boxes: no box",
    "too-long": "longer than is read: the rest was left out",
    "truncated": "cut off: the boxes before the cut count",
    "broken-json": "no valid JSON: repaired",
    "several-answers": "more than one list of boxes: all of them count",
    "fenced": "inside a code fence",
    "prose": "words before or after the JSON",
    "other-form": "a list, a single box or another key where an object with lesions was asked for",
    "not-a-box": "an entry without four coordinates: left out",
    "wrong-length": "fewer or more than four coordinates: left out",
    "not-numbers": "coordinates that are no finite numbers: left out",
    "text-numbers": "coordinates written as text: read as numbers",
    "swapped": "left and right, or top and bottom, the wrong way round: put in order",
    "fractions": "coordinates that are all between 0 and 1, as none was asked for: left out",
    "no-area": "a box without width or height: left out",
    "outside": "a box beside the slice: left out",
    "clipped": "a box over the edge of the picture or of the slice: cut there",
    "duplicate": "a box that was there before: left out",
    "too-many": "more boxes than a slice can hold: the first ones count",
    "bad-likelihood": "a likelihood that is no number from 0 to 1: the box has no score",
    "copied": "this slice was not looked at: boxes of the nearest one that was",
}
"""Every code, and what was done about it."""

MAX_CHARACTERS: Final = 20_000
"""An answer of a hundred boxes has 6,000."""
MAX_BOXES: Final = 32
_MOST_REPAIRED: Final = 3000
"""Characters of damaged JSON that are read; 32 boxes have 2,400. Repairing takes their square."""
_DEEPEST: Final = 8
_SCALE: Final = 1000.0
_LIST_KEYS: Final = ("lesions", "boxes", "bboxes", "objects", "detections", "results")
_BOX_KEYS: Final = ("bbox_2d", "bbox", "box", "box_2d")
_SCORE_KEYS: Final = ("likelihood", "score", "confidence")
_THOUGHT: Final = re.compile(r"\A.*</think>", re.DOTALL)
_UNFINISHED_THOUGHT: Final = "<think>"
_FENCE: Final = re.compile(r"```[A-Za-z0-9]*")
_REFUSAL: Final = re.compile(
    r"\b(can\s?not|can[’']t|unable to|not able to|won[’']t|must decline|decline to)\b.{0,60}?"
    r"\b(help|assist|provide|analy[sz]e|diagnos|interpret|answer|comply|do that|give|identify|review)"
    r"|\b(as an ai|not a (doctor|medical professional|radiologist))\b",
    re.IGNORECASE | re.DOTALL,
)
_DECODER: Final = json.JSONDecoder()
_START: Final = re.compile(r"[\[{]")
_BRACKET: Final = re.compile(r"[\[\]{}]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: boxes in voxels, and codes of :data:`PROBLEMS`, each once, in their order."""

    boxes: tuple[Box, ...]
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Notes:
    codes: set[str] = field(default_factory=set)

    def add(self, code: str) -> None:
        self.codes.add(code)

    def ordered(self) -> tuple[str, ...]:
        return tuple(code for code in PROBLEMS if code in self.codes)


def read_reply(
    text: str,
    view: View,
    *,
    coordinates: Coordinates = "relative",
    refused: bool = False,
    cut: bool = False,
) -> Reading:
    """Return the boxes that a reply names.

    Args:
        text: the reply.
        view: how the slice lay in the picture that was sent.
        coordinates: thousandths of the picture, or its pixels.
        refused: the server said that the model declined.
        cut: the model stopped because it had reached its limit of tokens.
    """
    notes = _Notes()
    if cut:
        notes.add("truncated")
    entries = _entries(text, notes)
    if entries is None:
        if refused or _REFUSAL.search(text[:MAX_CHARACTERS]):
            notes.add("refusal")
        else:
            notes.add("no-json" if text.strip() else "empty")
        return Reading((), notes.ordered())
    if refused:
        notes.add("refusal")
    scale = view.pixels / _SCALE if coordinates == "relative" else 1.0
    return Reading(_boxes(entries, view, scale, notes), notes.ordered())


def _boxes(entries: list[Any], view: View, scale: float, notes: _Notes) -> tuple[Box, ...]:
    """Return the boxes of the entries, each once."""
    boxes: dict[tuple[int, int, int, int], Box] = {}
    for entry in entries:
        box = _box(entry, view, scale, notes)
        if box is None:
            continue
        place = (box.x0, box.y0, box.x1, box.y1)
        if place in boxes:
            notes.add("duplicate")
        elif len(boxes) == MAX_BOXES:
            notes.add("too-many")
        else:
            boxes[place] = box
    return tuple(boxes.values())


def _entries(text: str, notes: _Notes) -> list[Any] | None:
    """Return what stands in the list of boxes; None where there is no such list."""
    if len(text) > MAX_CHARACTERS:
        notes.add("too-long")
        text = text[:MAX_CHARACTERS]
    text = _THOUGHT.sub("", text)
    if _UNFINISHED_THOUGHT in text:
        notes.add("truncated")
        return None
    if _FENCE.search(text):
        notes.add("fenced")
        text = _FENCE.sub(" ", text)
    values, broken = _values(text)
    whole = [value for value in values if any(_wholes(value.content))]
    if broken and not any(not value.repaired for value in whole):
        notes.add(broken)
        lists = whole or [value for value in values if _may_answer(value.content)]
        if not lists:
            return [] if broken == "truncated" else None
        return [entry for value in lists for entry in _listed(value.content, _Notes())]
    lists = whole or [value for value in values if _may_answer(value.content)]
    if not lists:
        return None
    if len(lists) > 1:
        notes.add("several-answers")
    if text[: lists[0].start].strip() or text[lists[-1].stop :].strip():
        notes.add("prose")
    return [entry for value in lists for entry in _listed(value.content, notes)]


@dataclass(frozen=True, slots=True)
class _Value:
    start: int
    stop: int
    content: Any
    repaired: bool


def _values(text: str) -> tuple[list[_Value], str | None]:
    """Return the JSON values in a text, and what is wrong with the first that had to be repaired."""
    found: list[_Value] = []
    broken = None
    place = 0
    while start := _START.search(text, place):
        begin = start.start()
        try:
            content, place = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            piece, closed = _piece(text[begin:])
            broken = broken or ("broken-json" if closed else "truncated")
            content, place = _repaired(piece), begin + max(len(piece), 1) if closed else len(text)
            found.append(_Value(begin, place, content, repaired=True))
        else:
            found.append(_Value(begin, place, content, repaired=False))
    return found, broken


def _piece(text: str) -> tuple[str, bool]:
    """Return a value up to its closing bracket, and whether it has one; else up to the last of any.

    What stands behind the last bracket of a value that was cut may be half a number.
    """
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += 1 if found[0] in "[{" else -1
        if depth == 0:
            return text[: found.end()], True
    return text[: max(text.rfind("]"), text.rfind("}")) + 1], False


def _repaired(piece: str) -> Any:
    """Return what is meant by damaged JSON; the empty string where nobody can tell."""
    import json_repair

    kept = piece[:_MOST_REPAIRED]
    if len(kept) < len(piece):
        kept = kept[: max(kept.rfind("]"), kept.rfind("}")) + 1]
    try:
        return json_repair.loads(kept, skip_json_loads=True)
    except (ValueError, RecursionError):
        return ""


def _wholes(content: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the answers of the form that was asked for, also where something is wrapped around them."""
    if _is_whole(content):
        yield content
    elif depth < _DEEPEST and isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _wholes(inner, depth + 1)


def _is_whole(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("lesions"), list)


def _may_answer(content: Any) -> bool:
    if isinstance(content, dict):
        return any(key in content for key in (*_LIST_KEYS, *_BOX_KEYS))
    return isinstance(content, list) and (
        not content or all(isinstance(entry, dict | list) for entry in content) or _is_box(content)
    )


def _is_box(content: Any) -> bool:
    return (
        isinstance(content, list)
        and len(content) == 4
        and all(isinstance(n, int | float) for n in content)
    )


def _listed(content: Any, notes: _Notes) -> list[Any]:
    if not _is_whole(content):
        notes.add("other-form")
    wholes = list(_wholes(content))
    if wholes:
        return [entry for whole in wholes for entry in whole["lesions"]]
    if isinstance(content, dict):
        for key in _LIST_KEYS:
            if key in content:
                inner = content[key]
                return list(inner) if isinstance(inner, list) else [inner]
        return [content]
    return [content] if _is_box(content) else list(content)


def _box(entry: Any, view: View, scale: float, notes: _Notes) -> Box | None:
    numbers = _numbers(entry, notes)
    if numbers is None:
        return None
    if all(0 <= number <= 1 for number in numbers) and any(number % 1 for number in numbers):
        notes.add("fractions")
        return None
    left, top, right, bottom = (number * scale for number in numbers)
    if left > right or top > bottom:
        notes.add("swapped")
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
    if left == right or top == bottom:
        notes.add("no-area")
        return None
    place = view.to_voxels(left, top, right, bottom)
    shown = (max(left, 0), max(top, 0), min(right, view.pixels), min(bottom, view.pixels))
    if place is None or shown[0] >= shown[2] or shown[1] >= shown[3]:
        notes.add("outside")
        return None
    if shown != (left, top, right, bottom) or _beside(shown, view):
        notes.add("clipped")
        place = view.to_voxels(*shown)
    return Box(*place, _score(entry, notes)) if place else None


def _beside(shown: Sequence[float], view: View) -> bool:
    """Return whether a box in the picture reaches over the edge of the slice by a voxel or more."""
    left, top, right, bottom = view.to_pixels(0, 0, *view.shape)
    step = view.zoom
    return (
        shown[0] <= left - step
        or shown[1] <= top - step
        or shown[2] >= right + step
        or shown[3] >= bottom + step
    )


def _numbers(entry: Any, notes: _Notes) -> list[float] | None:
    values = entry
    if isinstance(entry, dict):
        values = next((entry[key] for key in _BOX_KEYS if key in entry), None)
    if not isinstance(values, list):
        notes.add("not-a-box")
        return None
    if len(values) != 4:
        notes.add("wrong-length")
        return None
    numbers = list(_finite(values, notes))
    if len(numbers) != 4:
        notes.add("not-numbers")
        return None
    return numbers


def _finite(values: Iterable[Any], notes: _Notes) -> Iterator[float]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except (ValueError, OverflowError):
            continue
        if isinstance(value, str):
            notes.add("text-numbers")
        if math.isfinite(number):
            yield number


def _score(entry: Any, notes: _Notes) -> float | None:
    """Return the likelihood that the model states; None where it states none."""
    if not isinstance(entry, dict):
        return None
    stated = next((entry[key] for key in _SCORE_KEYS if key in entry), None)
    if stated is None:
        return None
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= 1:
        notes.add("bad-likelihood")
        return None
    return float(stated)
