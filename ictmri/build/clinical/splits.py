"""Folds that the source brings: a column, files of ids, or folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.filenames import read_fold
from ictmri.build.clinical.images import Image
from ictmri.build.clinical.matching import match_files, match_ids
from ictmri.build.clinical.patients import Patient
from ictmri.build.clinical.sheets import MAX_BYTES, decoded
from ictmri.build.clinical.survey import SourceFile, Survey
from ictmri.build.clinical.words import spaced

FOLDERS: Final = "folders"
_TEST: Final = ("test", "testing", "val", "valid", "validation")
_FILE: Final = re.compile(r"(?<![a-z])(?:cv|fold|split|k_?fold)_?(\d{1,2})(?!\d)")
_PART: Final = re.compile(r"(?<![a-z])(train|training|test|testing|val|valid|validation)(?![a-z])")


@dataclass(frozen=True, slots=True)
class SourceFolds:
    """Folds out of the source.

    Attributes:
        name: where they stand: ``folders``, a file, or ``table: column``.
        folds: fold from 0 by patient's key; empty where they cannot be used.
        problem: why they cannot be used; empty where they can.
        splits_patients: True where a patient is tested in two folds.
    """

    name: str
    folds: dict[str, int]
    problem: str = ""
    splits_patients: bool = False


def source_folds(
    found: Survey,
    tables: Sequence[Meaning],
    patients: Sequence[Patient],
    every: Sequence[Image],
    n_folds: int,
) -> list[SourceFolds]:
    """Return the folds that the source brings, usable or not."""
    raw = {
        **_of_columns(tables, patients),
        **_of_files(found, patients, every),
        **_of_folders(patients),
    }
    keys = [patient.key for patient in patients]
    return [
        _checked(name, members, keys, n_folds) for name, members in sorted(raw.items()) if members
    ]


Tested = dict[str, set[int]]
"""Folds in which a patient is tested, by key."""


def _checked(name: str, tested: Tested, keys: Sequence[str], n_folds: int) -> SourceFolds:
    numbers = sorted({fold for folds in tested.values() for fold in folds})
    twice = sum(len(folds) > 1 for folds in tested.values())
    missing = sum(key not in tested for key in keys)
    problem = ""
    if twice:
        problem = f"{twice} patients are tested in more than one fold"
    elif len(numbers) != n_folds:
        problem = f"{len(numbers)} folds, not {n_folds}"
    elif numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        problem = f"the folds are numbered {', '.join(map(str, numbers))}"
    elif missing:
        problem = f"{missing} of {len(keys)} patients have no fold there"
    if problem:
        return SourceFolds(name, {}, problem, splits_patients=bool(twice))
    return SourceFolds(name, {key: min(folds) - numbers[0] for key, folds in tested.items()})


def _of_columns(tables: Sequence[Meaning], patients: Sequence[Patient]) -> dict[str, Tested]:
    found: dict[str, Tested] = {}
    for table in tables:
        header = table.header("fold")
        if header is None:
            continue
        cells = table.cells("fold")
        tested = found.setdefault(f"{table.sheet.title}: {header}", {})
        for patient in patients:
            for other, row in patient.rows:
                fold = _number(cells[row]) if other is table else None
                if fold is not None:
                    tested.setdefault(patient.key, set()).add(fold)
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 3 else read_fold(text)


def _of_folders(patients: Sequence[Patient]) -> dict[str, Tested]:
    tested: Tested = {}
    parts = {image.folds[1] for patient in patients for image in patient.images}
    # Where there is a test part, validation is for something else.
    out = {"train", "val"} if "test" in parts else {"train"}
    for patient in patients:
        for image in patient.images:
            fold, part = image.folds
            if fold is not None and part not in out:
                tested.setdefault(patient.key, set()).add(fold)
    return {FOLDERS: tested} if tested else {}


def _of_files(
    found: Survey, patients: Sequence[Patient], every: Sequence[Image]
) -> dict[str, Tested]:
    lists: dict[str, dict[int, list[str]]] = {}
    for file in found.tables:
        if file.path.stat().st_size > MAX_BYTES or file.lower.endswith(
            (".parquet", ".xlsx", ".xlsm")
        ):
            continue
        try:
            text = decoded(file.path.read_bytes())
            for name, fold, ids in _id_lists(file, text):
                lists.setdefault(name, {}).setdefault(fold, []).extend(ids)
        except ValueError:
            continue
    tests = [name for name in lists if "test" in _PART.findall(spaced(name))]
    kept = {name: folds for name, folds in lists.items() if name in tests or not tests}
    return {name: _tested(folds, patients, every) for name, folds in kept.items()}


def _id_lists(file: SourceFile, text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield where folds stand, the number of one, and the ids that are tested in it."""
    if file.lower.endswith(".json"):
        for fold, ids in _of_json(json.loads(text)):
            yield file.name, fold, ids
        return
    name = spaced(file.name)
    numbers, parts = _FILE.findall(name), _PART.findall(name)
    if len(numbers) == 1 and (not parts or parts[-1] in _TEST):
        cells = [re.split(r"[,;\t|]", line)[0].strip().strip('"') for line in text.splitlines()]
        yield re.sub(r"\d+", "*", file.name), int(numbers[0]), [cell for cell in cells if cell]


def _of_json(content: Any) -> Iterator[tuple[int, list[str]]]:
    if isinstance(content, list):
        items = list(enumerate(content))
    elif isinstance(content, dict):
        items = [(n, value) for key, value in content.items() if (n := _number(key)) is not None]
    else:
        return
    for number, value in items:
        members = value
        if isinstance(value, dict):
            part = next((part for part in _TEST if isinstance(value.get(part), list)), None)
            members = value[part] if (part and "train" in value) or part == "test" else None
        if isinstance(members, list):
            yield number, [_id(member) for member in members]


def _id(member: Any) -> str:
    """Return an entry of a list of cases: an id, a path, or an object that holds one of them."""
    if isinstance(member, Mapping):
        values = [value for value in member.values() if isinstance(value, str)]
        return values[0] if values else ""
    return str(member)


def _tested(
    folds: dict[int, list[str]], patients: Sequence[Patient], every: Sequence[Image]
) -> Tested:
    owner = {image.name: patient.key for patient in patients for image in patient.images}
    by_key = {patient.key: patient.key for patient in patients}
    ids = sorted({text for members in folds.values() for text in members})
    images = [image for image in every if image.name in owner]
    meant = {text: owner[found[0].name] for text, found in match_files(ids, images, "").items()}
    if len(meant) < len(ids):
        match = match_ids(ids, images).images
        meant |= {text: owner[found[0].name] for text, found in match.items() if text not in meant}
    tested: Tested = {}
    for fold, members in folds.items():
        for text in members:
            key = by_key.get(text) or meant.get(text)
            if key is not None:
                tested.setdefault(key, set()).add(fold)
    return tested
