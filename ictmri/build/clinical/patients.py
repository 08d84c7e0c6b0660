"""The patients of a source: which images and rows of tables are about one, and which image is the T1-CE."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from ictmri.build.ages import read_age_header, read_unit
from ictmri.build.clinical import vocabulary as words
from ictmri.build.clinical.mapping import ClinicalMapping
from ictmri.build.clinical.source import SourceFile, SourceImage, without_ending
from ictmri.build.clinical.tables import ClinicalTable, Row
from ictmri.build.clinical.vocabulary import Kind, read_class
from ictmri.build.identity import identity_key
from ictmri.classes import CLASSES
from ictmri.errors import ScanError
from ictmri.io.files import sha256_file
from ictmri.scans.read import read_scan

KINDS: Final[tuple[Kind, ...]] = ("t1ce", "plain", "processed")
"""Kinds that can be the T1-CE, the likeliest first."""
_FOLDERS: Final = tuple(rf"([^/]+)/{'[^/]+/' * up}[^/]+$" for up in range(5))
"""Patterns for the folder that an image lies in, the one above, and so on."""
_NUMBER: Final = r"(\d+)[^/\d]*$"
_WORD: Final = r"(?:^|/)([^\W\d_]+)[^/]*$"
_MASK_VALUES: Final = 16
"""A volume of at most so many different whole numbers is a mask, not a scan."""
_FEW: Final = 12
"""A column headed as the label of more different words than this, none of them known, is none."""


def source_images(
    files: Sequence[SourceFile], given: ClinicalMapping
) -> tuple[list[SourceImage], list[SourceImage]]:
    """Return the images that can be a T1-CE, and all others.

    Args:
        files: images of the source.
        given: what a person said; where it has globs they alone decide, and names mean nothing.
    """
    folders = [[without_ending(part) for part in file.name.split("/")[:-1]] for file in files]
    shared = _shared(folders) if len(files) > 1 else 0
    images = []
    for file, path in zip(files, folders, strict=True):
        stem = without_ending(file.name.rpartition("/")[2])
        kind = words.image_kind(stem, path[shared:])
        images.append(SourceImage(file.name, file.path, kind))
    free = [image for image in images if not _matches(image.name, given.exclude)]
    able = [image for image in free if image.kind in KINDS] or free
    if given.images is not None:
        able = [image for image in free if _matches(image.name, given.images)]
        for image in able:
            image.kind = "t1ce"
    return able, [image for image in images if image not in able]


def _shared(paths: Iterable[Sequence[str]]) -> int:
    """Return how many parts all paths begin with."""
    return len([*takewhile(lambda parts: len({*parts}) == 1, zip(*paths, strict=False))])


def _matches(name: str, globs: Iterable[str]) -> bool:
    """Return True where a glob fits the whole name; ``*`` stands for anything, folders included."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def looks_like_mask(image: SourceImage) -> bool:
    """Return True where a volume holds a few whole numbers only; False where it cannot be read."""
    if not image.path.is_file():
        return False
    try:
        values = np.unique(np.asanyarray(read_scan(image.path).image.dataobj))
    except ScanError as error:
        return "same value" in error.reason
    return bool(len(values) <= _MASK_VALUES and (values == np.round(values)).all())


def mark_classes(images: Sequence[SourceImage], given: ClinicalMapping, *, told: bool) -> list[str]:
    """Note the words for classes in the paths of images, and return the patterns that find them.

    Folders tell them where they name two classes or more. Where none do and no table tells any
    (``told``), folders 0, 1, 2, .. count as such names, or else the first words of all file names.
    """
    named: list[str] = []
    guessed: list[str] = []
    for pattern in (*_FOLDERS, _WORD):
        texts = {image.found(pattern) for image in images}
        read = [word for text in texts if (word := read_class(text, given.classes))]
        several = len({word.label for word in read} - {""}) > 1
        few = 2 <= len(texts) <= min(2 * len(CLASSES), len(images) // 2)
        numbers = few and all(map(str.isdecimal, texts))
        if several and not numbers and pattern in _FOLDERS:
            named.append(pattern)
        elif numbers or (several and len(read) == len(texts)):
            guessed.append(pattern)
    patterns = named or ([] if told else guessed[:1])
    patterns = patterns if given.class_patterns is None else given.class_patterns
    for image in images:
        found = filter(None, map(image.found, patterns))
        image.words = {text: read_class(text, given.classes) for text in dict.fromkeys(found)}
    return patterns


def propose_columns(table: ClinicalTable, given: dict[str, str] | None) -> None:
    """Find out what a table's columns mean; where a person named some, no other is read."""
    named = given or {}
    roles = {n: words.read_header(n) for n in table.columns if not words.passed_over(n)}
    table.fields = {key: name for key, name in named.items() if name in table.columns}
    if given is None:
        for name, role in roles.items():
            unit = role == "age_unit" and any(map(read_unit, table.columns[name].values()))
            if role in ("fold", "sex", "subtype") or unit:
                table.fields.setdefault(role or "", name)
        _propose_age(table, [name for name in roles if read_age_header(name)])
        _propose_label(table, roles)
    age = read_age_header(table.fields.get("age", ""))
    table.unit = read_unit(named.get("age_unit", "")) or (age.unit if age else None)
    table.able = {key: [named[key]] if key in named else [] for key in ("id", "file")}
    for name in roles if given is None else ():
        cells = [cell for cell in table.columns[name].values() if cell]
        paths = cells and all(without_ending(cell) != cell for cell in cells)
        role = roles[name] or ("file" if paths else "")
        if role in table.able and name not in table.fields.values():
            table.able[role].append(name)


def _propose_age(table: ClinicalTable, names: list[str]) -> None:
    """Find the age at the scan; what is not clear is left to be asked."""
    about = {name: told.meaning for name in names if (told := read_age_header(name))}
    able = [name for name, meaning in about.items() if meaning == "scan"]
    able = able if len(able) == 1 else [n for n, m in about.items() if m in ("age", "scan")]
    doubtful = able or [name for name, meaning in about.items() if meaning in ("other", "unclear")]
    if len(able) == 1:
        table.fields["age"] = able[0]
    elif doubtful:
        table.open.append(("age", "which age", (*doubtful, "null")))


def _propose_label(table: ClinicalTable, roles: dict[str, str | None]) -> None:
    """Find the column of the class: by its header, or since it holds nothing but words for classes."""
    able = []
    for name, role in roles.items():
        read = table.words(name)
        headed = role == "label" and (any(read.values()) or len(read) <= _FEW)
        sure = role is None and len(read) > 1 and all(read.values())
        able += [name] if headed or sure else []
    able = able or [table.fields[key] for key in ("subtype",) if key in table.fields]
    table.fields |= {"label": able[0]} if able else {}
    if len(able) > 1:
        table.open.append(("label", "several labels", tuple(able)))


def named_images(
    tables: Sequence[ClinicalTable], able: Sequence[SourceImage], others: Sequence[SourceImage]
) -> list[SourceImage]:
    """Return images that their names make no T1-CE, of tables that name no other."""
    found = []
    for table in tables:
        cells = [
            cell for name in table.able["file"] for cell in table.columns[name].values() if cell
        ]
        ends = tuple(f"/{cell.lower()}" for cell in cells)
        if not any(f"/{image.name.lower()}".endswith(ends) for image in able):
            found += [i for i in others if i.kind != "mask" and f"/{i.name.lower()}".endswith(ends)]
    for image in found:
        image.kind = "t1ce"
    return found


def name_patients(
    images: Sequence[SourceImage], tables: Sequence[ClinicalTable], given: str | None
) -> list[str]:
    """Name the patients of images and rows by the pattern with which most rows find an image.

    Returns:
        The pattern, and others that do as well and mean other images.
    """
    ways: dict[str, tuple[int, bool, int]] = {}
    meant: dict[str, dict[str, set[str]]] = {}
    by_path = any(table.able["file"] for table in tables)
    patterns = [given] if given else _id_patterns(images) + ["(.+)"] * by_path
    for pattern in patterns:
        members = _name(images, pattern)
        found = [
            max(_keys_found(t, pattern, {*members}).values(), key=len, default=set())
            for t in tables
        ]
        meant[pattern] = {key: members[key] for key in set().union(*found)}
        seen = Counter((image.kind, image.label, image.fold, image.patient) for image in images)
        texts = {image.found(pattern) for image in images}
        apart = max(seen.values()) == 1 and "" not in texts
        # Of folders that do not tell all images apart, patients' are the most.
        many = len(texts) if pattern in _FOLDERS and not apart else 0
        ways[pattern] = sum(map(len, found)), apart, many
    best = max(patterns, key=lambda pattern: ways[pattern])
    _join(tables, best, {*_name(images, best)})
    if not ways[best][0] and best == patterns[0] and not given:
        # Files of names of their own in folders that may be patients: one patient or several?
        several = [p for p in _FOLDERS if 1 < len(_patient_like(images, p)) < len(images)]
        return [best, *several]
    alike = [p for p in patterns if ways[p][:2] == ways[best][:2]]
    mine = meant[best]
    return [
        best,
        *(p for p in alike if any(mine.get(k, x).isdisjoint(x) for k, x in meant[p].items())),
    ]


def _join(tables: Sequence[ClinicalTable], pattern: str, known: set[str]) -> None:
    """Find the column of each table that names patients, and note the key that each row finds."""
    for table in tables:
        found = _keys_found(table, pattern, known)
        ids = [name for name in table.able["id"] if name in found]
        most = max(map(len, found.values()), default=0)
        best = [name for name in found if len(found[name]) == most]
        by_path = [name for name in best if name in table.able["file"]]
        if not by_path and len(best) > 1:
            table.open.append(("id", "several ids", tuple(best)))
        # Where a row names its image, the id only gives the patient a name.
        table.fields |= {"file": by_path[0]} if by_path else {}
        names = [*(best if not by_path else ids), *table.able["id"][: len(by_path)]]
        table.fields |= {"id": names[0]} if names else {}
        for row in table.rows:
            named = _named(row, best[0], pattern, known) if best else ""
            row.key = identity_key(named) if named else ""
            row.id = row.cell("id") if by_path or not named else named


def _named(row: Row, header: str, pattern: str, known: set[str]) -> str:
    """Return the patient whom a cell names, if known: by an id, by one inside its class, or by a path."""
    cell = row.table.columns[header][row.number]
    if header in row.table.able["file"]:
        path = PurePosixPath(row.table.place.path).parent / cell.replace("\\", "/")
        found = re.search(pattern, str(path))
        cell = (found[1] or "") if found else path.name
    word = row.word("label")
    forms = (cell, f"{word.label}/{cell}" if word else cell)
    return next((text for text in forms if text and identity_key(text) in known), "")


def _keys_found(table: ClinicalTable, pattern: str, known: set[str]) -> dict[str, set[str]]:
    """Return the keys of patients that each column finds which can name them."""
    found = {}
    for name in (*table.able["file"], *table.able["id"]):
        named = [_named(row, name, pattern, known) for row in table.rows]
        # Shifted by one, running numbers still find nearly all images, and the wrong ones.
        running = words.plain(name).replace(" ", "") in words.lists()["row numbers"]
        if any(named) and ("id" in table.fields or not running or all(named)):
            found[name] = {identity_key(text) for text in named if text}
    return found


def _id_patterns(images: Sequence[SourceImage]) -> list[str]:
    """Return patterns that may find the patient: file name, folders, last number of the file name.

    What the names of all images of a kind end with is not the patient's.
    """
    owns: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image in images:
        own = image.name.rpartition("/")[2]
        owns[image.kind, own[len(without_ending(own)) :]].add(own[::-1])
    ends = set()
    for (_, ending), names in owns.items():
        same = next(iter(names))[: _shared(names)][::-1] if len(names) > 1 else ending
        ends.add(re.escape(re.sub(r"^\d+", "", same)))
    every = "|".join(sorted(ends, key=len, reverse=True))
    return [rf"([^/]+?)(?:{every})$", *_FOLDERS, _NUMBER]


def _name(images: Sequence[SourceImage], pattern: str) -> dict[str, set[str]]:
    """Note the patient of each image, with the class where numbers count inside classes.

    Returns:
        By key of a patient's id, the names of the images.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        labels[image.found(pattern)].add(image.label)
    counted = any(text and len(found) > 1 for text, found in labels.items())
    members: dict[str, set[str]] = defaultdict(set)
    for image in images:
        text = image.found(pattern)
        image.patient = (f"{image.label}/{text}" if counted else text) if text else image.name
        members[identity_key(image.patient)].add(image.name)
    return members


def _patient_like(images: Sequence[SourceImage], pattern: str) -> set[str]:
    """Return the texts that may name a patient: no class, part, fold or kind of images."""
    texts = {text for image in images if (text := image.found(pattern)) not in image.words}
    plain = {text for text in texts if text and words.image_kind(text, ()) == "plain"}
    return {text for text in plain if words.read_split(text) == (None, "")}


@dataclass(eq=False, slots=True)
class SourcePatient:
    """A patient of the source.

    Attributes:
        key: the id of the patient in a table, or what the image's path says.
        images: images that can be the T1-CE.
        rows: rows about the patient.
        chosen: the images that are left when the likeliest were chosen; one where all is clear.
        label: the class, empty where it is not clear.
    """

    key: str
    images: list[SourceImage] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    chosen: list[SourceImage] = field(default_factory=list)
    label: str = ""


def group_patients(
    images: Sequence[SourceImage], tables: Sequence[ClinicalTable]
) -> list[SourcePatient]:
    """Bring together the images and rows of each patient."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in (row for table in tables for row in table.rows if row.key):
        rows[row.key].append(row)
    found: dict[str, SourcePatient] = {}
    for image in images:
        own = rows[identity_key(image.patient)]
        key = next((row.id for row in own if row.id), image.patient)
        found.setdefault(key, SourcePatient(key, rows=own)).images.append(image)
    return list(found.values())


def choose_images(patients: Sequence[SourcePatient]) -> None:
    """Choose each patient's T1-CE, as far as it is clear.

    Images named after a T1-CE come first, then those that no name says anything of, then processed
    copies. Copies with the same bytes count once; several DICOM series of
    one folder are left to their headers.
    """
    for patient in patients:
        order = (*KINDS, "sequence", "mask")
        pool = sorted(patient.images, key=lambda image: order.index(image.kind))
        likely = {image.name: image for image in pool if image.kind == pool[0].kind}
        patient.chosen = list(likely.values())
        series = {image.path.parent for image in patient.chosen if image.path.is_dir()}
        if len(likely) > 1 and len(series) == 1:
            name = pool[0].name.rpartition("/")[0]
            patient.chosen = [replace(pool[0], name=name, path=series.pop())]
        elif len(likely) > 1 and not series:
            copies = {sha256_file(image.path): image for image in reversed(patient.chosen)}
            patient.chosen = list(copies.values())[::-1]
