"""Which ids of a table mean which images: found by trying, believed only where one means one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ictmri.build.clinical.images import Image
from ictmri.build.clinical.survey import without_ending

IN_CLASS: Final = "\x1f"
"""Between a class and a number that counts inside that class: ``glioma<sep>007``."""


@dataclass(frozen=True, slots=True)
class Match:
    """Images by id.

    Attributes:
        images: the images of each id that has any.
        how: how ids and images were compared, for a person to read.
        tolerance: how tolerantly, 0 strictly.
        rivals: other ways that find as many ids, and other images for them.
    """

    images: dict[str, list[Image]]
    how: str
    tolerance: int = 0
    rivals: tuple[str, ...] = ()


def _exact(text: str) -> str:
    return unicodedata.normalize("NFKC", without_ending(text.strip())).casefold()


def _joined(text: str) -> str:
    return "".join(re.findall(r"[^\W_]+", _exact(text)))


def _unpadded(text: str) -> str:
    return " ".join(
        re.sub(r"^0+(?=\d)", "", run) for run in re.findall(r"\d+|[^\W\d_]+", _exact(text))
    )


def _numbers(text: str) -> str:
    return " ".join(run.lstrip("0") or "0" for run in re.findall(r"\d+", _exact(text)))


def _last_number(text: str) -> str:
    return _numbers(text).rpartition(" ")[2]


_FORMS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("as they are", _exact),
    ("without separators", _joined),
    ("without leading zeros", _unpadded),
    ("by their numbers alone", _numbers),
    ("by their last number alone", _last_number),
)
"""Ways to compare, the strictest first."""


def _levels(image: Image) -> Iterator[tuple[str, str]]:
    if image.given_id is not None:
        yield "the pattern", image.given_id
        return
    yield "the file name", image.stem
    yield "the file name without its kind", image.patient_part
    for up, folder in enumerate(reversed(image.folders[-3:]), start=1):
        yield f"the folder {up} above" if up > 1 else "the folder", folder
    word = image.class_word
    if word and word.label:
        yield "class and file name", f"{word.label}{IN_CLASS}{image.patient_part}"
        yield "class and file name", f"{word.label}{IN_CLASS}{image.stem}"


def match_ids(ids: Sequence[str], images: Sequence[Image]) -> Match:
    """Return the images that each id means.

    Ids are compared with file names and folder names, strictly first and then more tolerantly; the way
    that finds most ids is taken. A way that would make two ids equal is no way.

    Args:
        ids: different from each other.
        images: images that can be a T1-CE.
    """
    tried: list[tuple[int, int, str, dict[str, list[Image]]]] = []
    for rank, (form_name, form) in enumerate(_FORMS):
        keyed = {key: text for text in ids if (key := _key(form, text))}
        if len(keyed) < len(set(ids)):
            continue
        for level, by_key in _by_level(form, images).items():
            found = {text: by_key[key] for key, text in keyed.items() if key in by_key}
            if found:
                tried.append((len(found), -rank, f"{level}, {form_name}", found))
    within = _contained(ids, images)
    if within:
        tried.append((len(within), -len(_FORMS), "found inside the file names", within))
    if not tried:
        return Match({}, "no way")
    tried.sort(key=lambda way: (-way[0], -way[1]))
    best = tried[0]
    rivals = [
        how
        for count, rank, how, found in tried[1:]
        if count == best[0] and rank == best[1] and not _agree(found, best[3])
    ]
    return Match(best[3], best[2], -best[1], tuple(rivals))


def _key(form: Callable[[str], str], text: str) -> str:
    label, mark, number = text.rpartition(IN_CLASS)
    key = form(number)
    return f"{label}{mark}{key}" if key else ""


def _by_level(
    form: Callable[[str], str], images: Sequence[Image]
) -> dict[str, dict[str, list[Image]]]:
    levels: dict[str, dict[str, list[Image]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        for level, text in _levels(image):
            key = _key(form, text)
            if key and image not in levels[level][key]:
                levels[level][key].append(image)
    return {level: dict(by_key) for level, by_key in levels.items()}


def _contained(ids: Sequence[str], images: Sequence[Image]) -> dict[str, list[Image]]:
    """Return the images whose own names hold an id whole: the longest, where one holds two."""
    runs = {text: f" {_unpadded(text)} " for text in ids if _joined(text)}
    if len(set(runs.values())) < len(ids):
        return {}
    found: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        if image.given_id is not None:
            continue
        name = f" {_unpadded(image.stem)} "
        held = sorted((text for text, run in runs.items() if run in name), key=lambda t: -len(t))
        if held and (len(held) == 1 or runs[held[1]] in runs[held[0]]):
            found[held[0]].append(image)
    return dict(found)


def _agree(first: dict[str, list[Image]], second: dict[str, list[Image]]) -> bool:
    return (
        all(
            {image.name for image in first[text]} & {image.name for image in second[text]}
            for text in first.keys() & second.keys()
        )
        and first.keys() == second.keys()
    )


def match_files(
    cells: Sequence[str], images: Sequence[Image], table: str
) -> dict[str, list[Image]]:
    """Return the image that each cell of a column of file names means; cells that mean none are left out.

    Args:
        cells: paths: below the table's folder, below the source, or the end of a path in it.
        images: images of the source, of any kind.
        table: name of the table's file in the source.
    """
    by_end: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        parts = image.name.casefold().split("/")
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            by_end[end].append(image)
            by_end[without_ending(end)].append(image)
    folder = table.rpartition("/")[0]
    exact = {image.name.casefold(): image for image in images}
    found = {}
    for cell in cells:
        path = [p for p in cell.replace("\\", "/").casefold().split("/") if p not in ("", ".")]
        beside = exact.get("/".join([*folder.casefold().split("/"), *path]).strip("/"))
        if beside:
            found[cell] = [beside]
            continue
        ends = ("/".join(path[start:]) for start in range(len(path)))
        hits = next((by_end[end] for end in ends if end in by_end), [])
        if len({image.name for image in hits}) == 1:
            found[cell] = hits[:1]
    return found
