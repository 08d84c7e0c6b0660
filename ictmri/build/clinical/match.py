"""What the columns of tables mean, and which rows and images are about one patient."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ictmri.build.ages import read_age_header, read_unit
from ictmri.build.clinical.images import KINDS, SourceImage, id_patterns, name_patients
from ictmri.build.clinical.source import without_ending
from ictmri.build.clinical.tables import ClinicalTable
from ictmri.build.clinical.vocabulary import (
    ClassReader,
    image_kind,
    lists,
    passed_over,
    plain,
    read_codes,
    read_fold,
    read_header,
    read_part,
)
from ictmri.build.identity import identity_key
from ictmri.io.files import sha256_file

_FEW: Final = 12
"""A column headed as the label of more different words than this, none of them known, is none."""


def propose_columns(
    table: ClinicalTable, reader: ClassReader, given: dict[str, str] | None
) -> None:
    """Find out what a table's columns mean; where a person named some, no other is read."""
    named = given or {}
    roles = {name: read_header(name) for name in table.columns if not passed_over(name)}
    table.fields = {key: name for key, name in named.items() if name in table.columns}
    for name in dict.fromkeys([*roles, *table.fields.values()]):
        words, codes = sorted({word for word in table.columns[name] if word}), read_codes(name)
        numbers = {str(int(word)) if word.isdecimal() else "" for word in words}
        own = codes if codes.keys() >= numbers else None
        table.words[name] = {word: reader.read(word, own) for word in words}
    if given is None:
        for name, role in roles.items():
            unit = role == "age_unit" and any(map(read_unit, table.columns[name]))
            if role in ("fold", "sex", "subtype") or unit:
                table.fields.setdefault(role or "", name)
        _propose_age(table, [name for name in roles if read_age_header(name)])
        _propose_label(table, roles)
    age = read_age_header(table.fields.get("age", ""))
    table.unit = read_unit(named.get("age_unit", "")) or (age.unit if age else None)
    table.able = {key: [named[key]] if key in named else [] for key in ("id", "file")}
    free = [name for name in roles if given is None and name not in table.fields.values()]
    for name in free:
        cells = [cell for cell in table.columns[name] if cell]
        paths = cells and all(without_ending(cell) != cell for cell in cells)
        if (role := roles[name] or ("file" if paths else "")) in table.able:
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
        words = table.words[name]
        headed = role == "label" and (any(words.values()) or len(words) <= _FEW)
        sure = len(words) > 1 and all(words.values()) and not any(map(str.isdecimal, words))
        able += [name] if headed or (role is None and sure) else []
    able = able or [table.fields[key] for key in ("subtype",) if key in table.fields]
    if able:
        table.fields["label"] = able[0]
    if len(able) > 1:
        table.open.append(("label", "several labels", tuple(able)))


def find_named_images(table: ClinicalTable, images: Sequence[SourceImage]) -> None:
    """Note the image that each row names: a path below the table or the source, or the end of one."""
    ends: dict[str, set[SourceImage]] = defaultdict(set)
    for image in images:
        parts = image.name.casefold().split("/")
        for end in ("/".join(parts[start:]) for start in range(len(parts))):
            ends[end].add(image)
            ends[without_ending(end)].add(image)
    folder = table.path.casefold().split("/")[:-1]
    for name in table.able["file"]:
        found = {}
        for row, cell in enumerate(table.columns[name]):
            path = [p for p in cell.casefold().replace("\\", "/").split("/") if p not in ("", ".")]
            forms = ["/".join([*folder, *path]), *("/".join(path[at:]) for at in range(len(path)))]
            hits = next((ends[form] for form in forms if path and form in ends), set())
            if len(hits) == 1:
                found[row] = min(hits, key=lambda image: image.name)
        if sum(image.kind != "mask" for image in found.values()) > len(table.files):
            table.files, table.fields["file"] = found, name


def _row_ids(table: ClinicalTable, name: str | None) -> list[str]:
    """Return the ids of a column, each with its class where only that makes them differ."""
    cells = table.columns[name] if name else [""] * len(table.numbers)
    words = [table.word("label", row) for row in range(len(cells))]
    keys = [f"{w.label}/{c}" if w and w.label else "" for w, c in zip(words, cells, strict=True)]
    filled = [cell for cell in cells if cell]
    counted = len(set(filled)) < len(filled) and len(set(keys)) == len(keys)
    return keys if counted and all(keys) else cells


def _ids_found(table: ClinicalTable, known: set[str]) -> dict[str, int]:
    """Return how many ids of each column that can be the id are known."""
    found = {}
    for name in table.able["id"]:
        ids = {identity_key(text) for text in _row_ids(table, name) if text}
        # Shifted by one, running numbers still find nearly all images, and the wrong ones.
        running = plain(name).replace(" ", "") in lists()["row numbers"]
        if ids & known and ("id" in table.fields or not running or ids <= known):
            found[name] = len(ids & known)
    return found


def name_by_tables(
    images: Sequence[SourceImage], tables: Sequence[ClinicalTable], given: str | None
) -> list[str]:
    """Name the patients of images by the pattern with which most ids of tables find one.

    Returns:
        The pattern, and others that do as well and mean other images.
    """
    patterns = [given] if given else id_patterns(images)
    if not given and any(table.files for table in tables):
        patterns.append("(.+)")
    ways: dict[str, tuple[int, bool, int]] = {}
    meant: dict[str, dict[str, set[str]]] = {}
    for pattern in patterns:
        name_patients(images, pattern)
        members: dict[str, set[str]] = defaultdict(set)
        meant[pattern] = members
        for image in images:
            members[identity_key(image.patient)].add(image.name)
        hits = [max(_ids_found(table, {*members}).values(), default=0) for table in tables]
        seen = Counter((image.kind, image.label, image.fold, image.patient) for image in images)
        texts = {image.found(pattern) for image in images}
        apart = max(seen.values()) == 1 and "" not in texts
        # Of folders that do not tell all images apart, patients' are the most.
        ways[pattern] = (
            sum(hits),
            apart,
            len(texts) if pattern in patterns[1:-1] and not apart else 0,
        )
    best = max(patterns, key=lambda pattern: ways[pattern])
    name_patients(images, best)
    ids: set[str] = set()
    for table in tables:
        found = _ids_found(table, {*meant[best]})
        names = sorted(found, key=lambda name: -found[name])
        if not table.files and len(names) > 1 and found[names[0]] == found[names[1]]:
            table.open.append(("id", "several ids", tuple(names)))
        # Where a row names its image, the id only gives the patient a name.
        names = names or table.able["id"][: bool(table.files)]
        table.fields |= {"id": names[0]} if names else {}
        table.ids = _row_ids(table, names[0] if names else None)
        ids |= {identity_key(text) for text in table.ids}
    rivals = [p for p in patterns if ways[p][:2] == ways[best][:2] and ways[best][0]]
    differ = [
        p
        for p in rivals
        if any(not meant[p][i] & meant[best][i] for i in ids & meant[p].keys() & meant[best].keys())
    ]
    if not ways[best][0] and best == patterns[0] and not given:
        # Files of names of their own in folders that may be patients: one patient or several?
        differ = [p for p in patterns[1:6] if 1 < len(_patient_like(images, p)) < len(images)]
    return [best, *differ]


def _patient_like(images: Sequence[SourceImage], pattern: str) -> set[str]:
    """Return the texts that may name a patient: no class, part, fold or kind of images."""
    texts = {text for image in images if (text := image.found(pattern)) not in image.words}
    plain_ = {text for text in texts if text and image_kind(text, ()) == "plain"}
    return {text for text in plain_ if not read_part(text) and read_fold(text) is None}


@dataclass(eq=False, slots=True)
class SourcePatient:
    """A patient of the source.

    Attributes:
        key: the id of the patient in a table, or what the image's path says.
        images: images that can be the T1-CE.
        rows: rows about the patient: a table, and the place of the row in it.
        chosen: the images that are left when the likeliest were chosen; one where all is clear.
    """

    key: str
    images: list[SourceImage] = field(default_factory=list)
    rows: list[tuple[ClinicalTable, int]] = field(default_factory=list)
    chosen: list[SourceImage] = field(default_factory=list)


def group_patients(
    images: Sequence[SourceImage], tables: Sequence[ClinicalTable]
) -> list[SourcePatient]:
    """Bring together the images and rows of each patient; tables note which rows found one."""
    named = {i: t.ids[row] for t in tables for row, i in t.files.items() if t.ids[row]}
    renamed: dict[str, set[str]] = defaultdict(set)
    for image, text in named.items():
        renamed[image.patient].add(text)
    found: dict[str, SourcePatient] = {}
    owner: dict[SourceImage, SourcePatient] = {}
    for image in images:
        own = renamed[image.patient]
        key = named.get(image) or (min(own) if len(own) == 1 else image.patient)
        owner[image] = found.setdefault(key, SourcePatient(key))
        owner[image].images.append(image)
    alike: dict[str, list[SourcePatient]] = defaultdict(list)
    for key, patient in found.items():
        alike[identity_key(key)].append(patient)
    for table in tables:
        for row, text in enumerate(table.ids):
            able = alike.get(identity_key(text), []) if text else []
            able = (
                [owner[table.files[row]]]
                if row in table.files
                else [found[text]]
                if text in found
                else able
            )
            if len(able) == 1:
                able[0].rows.append((table, row))
                able[0].key = text or able[0].key
                table.joined.append(row)
    return list(found.values())


def choose_images(patients: Sequence[SourcePatient]) -> None:
    """Choose each patient's T1-CE, as far as it is clear.

    Images that a table names come first, then those named after a T1-CE, then those that no name says
    anything of, then processed copies. Copies with the same bytes count once; several DICOM series of
    one folder are left to their headers.
    """
    for patient in patients:
        named = [t.files[row] for t, row in patient.rows if row in t.files]
        order = (*KINDS, "sequence", "mask")
        pool = sorted(named or patient.images, key=lambda image: order.index(image.kind))
        likely = {image.name: image for image in pool if image.kind == pool[0].kind}
        patient.chosen = list(likely.values())
        series = {image.path.parent for image in patient.chosen if image.path.is_dir()}
        if len(likely) > 1 and len(series) == 1:
            name = pool[0].name.rpartition("/")[0]
            patient.chosen = [replace(pool[0], name=name, path=series.pop())]
        elif len(likely) > 1 and not series:
            copies = {sha256_file(image.path): image for image in reversed(patient.chosen)}
            patient.chosen = list(copies.values())[::-1]
