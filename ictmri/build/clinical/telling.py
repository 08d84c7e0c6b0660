"""The summary of what was read, and the mapping that would say the same."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.images import Image, class_of, glob_of
from ictmri.build.clinical.mapping import FIELDS, OPEN
from ictmri.build.clinical.patients import by_sort
from ictmri.build.clinical.state import Reading

_KINDS: Final = {"t1ce": " (named T1-CE)", "processed": " (processed copies)"}
_REASONS: Final = {
    "mask": "masks, regions or priors by name",
    "sequence": "other sequences by name",
    "processed": "processed copies",
}


def tell(reading: Reading) -> None:
    """Write the summary and the proposed mapping."""
    chosen = [p.chosen[0] for p in reading.patients if len(p.chosen) == 1]
    sorts = by_sort(p for p in reading.patients if len(p.chosen) == 1).values()
    globs = [glob_of([image.name for image in images]) for images in sorts]
    reading.out.told = [
        *(
            f"  images   {len(images)}: {glob}{_KINDS.get(images[0].kind, '')}"
            for images, glob in zip(sorts, globs, strict=True)
        ),
        *(line for table in reading.tables for line in _table_lines(table)),
        *reading.out.told,
    ]
    reading.out.words = _words(reading)
    reading.out.aside += _aside(reading, chosen)
    _propose(reading, globs)


def _table_lines(table: Meaning) -> list[str]:
    columns = sorted(table.columns.items(), key=lambda item: item[1])
    shown = ", ".join(f"{table.sheet.header[place]!r} = {name}" for name, place in columns)
    lines = [
        f"  table    {table.sheet.title}, {len(table.sheet.rows)} rows: {shown or 'nothing known'}",
        f"  joined   {len(table.images)} rows by {table.how or 'nothing'}",
    ]
    if table.sheet.grid.merged:
        lines.append(
            f"  merged   {table.sheet.grid.merged} cells take the value of their merged cell"
        )
    if table.unread:
        lines.append(f"  unread   {len(table.unread)} columns that name people")
    return lines


def _words(reading: Reading) -> list[str]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for patient in reading.patients:
        label = reading.facts[patient.key].label or OPEN
        words = [table.cells("label")[row] for table, row in patient.rows]
        if patient.images[0].class_word:
            folders = [f for f in patient.images[0].folders if class_of(f, reading.classes)]
            words += folders or (["(file names)"] if not words else [])
        for word in dict.fromkeys(word for word in words if word):
            known = class_of(word, reading.classes)
            counts[word, label, known.spelled if known else ""] += 1
    return [
        f"{word!r} -> {label}: {count}" + (f" (read as {spelled!r})" if spelled else "")
        for (word, label, spelled), count in sorted(counts.items())
    ]


def _aside(reading: Reading, chosen: list[Image]) -> list[str]:
    used = {image.name for image in chosen}
    counts: Counter[str] = Counter()
    for image in [*reading.able, *reading.others]:
        if image.name in used:
            continue
        by_content = image.name in reading.masks
        reason = _REASONS.get(image.kind, "not chosen")
        counts["masks by what they hold" if by_content else reason] += 1
    left = [f"{count} images: {reason}" for reason, count in sorted(counts.items())]
    return left + [f"{count} {kind}" for kind, count in sorted(reading.found.aside.items())]


def _propose(reading: Reading, globs: list[str]) -> None:
    given, out = reading.given, reading.out
    places = [question.place for question in out.questions]
    classes, sexes = (
        {place.removeprefix(key): OPEN for place in places if place.startswith(key)}
        for key in ("classes.", "sexes.")
    )
    for table in reading.tables:
        for word, known in table.names.items():
            if known and known.label:
                classes.setdefault(word, known.label)
    images = [] if "images" in places else (given.images or None)
    out.proposal = {
        "images": images,
        "exclude": list(given.exclude),
        "id_pattern": given.id_pattern,
        "tables": [_table(table) for table in reading.tables] or None,
        "classes": dict(given.classes) | classes,
        "sexes": dict(given.sexes) | sexes,
        "labels_from": given.labels_from,
        "folds": out.proposal.get("folds"),
        "rows_without_image": given.rows_without_image,
        "images_without_row": given.images_without_row,
        "alike_ids": given.alike_ids,
        "hidden": given.hidden,
        "odd_cells": given.odd_cells,
    }
    if images is None:
        out.notes["images"] = f"found: {', '.join(globs)}"


def _table(table: Meaning) -> dict[str, Any]:
    return {
        "path": table.sheet.path,
        "sheet": table.sheet.name or None,
        "header_row": table.sheet.header_row,
        "columns": {name: table.header(name) for name in FIELDS}
        | {"age_unit": table.header("age_unit") or table.unit},
    }
