"""Folds that the source brings: a column, files of ids, or folders."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ictmri.build.clinical.match import SourcePatient
from ictmri.build.clinical.source import Inventory, SourceFile, without_ending
from ictmri.build.clinical.tables import MAX_BYTES, decoded
from ictmri.build.clinical.vocabulary import read_fold, read_part, spaced
from ictmri.build.identity import identity_key

_Told = Iterator[tuple[str, int, str]]
"""Where a fold stands, its number, and an id or the key of a patient that is tested in it."""


class SourceFolds(NamedTuple):
    """Folds out of the source: where they stand, fold from 0 by patient, and why they cannot be used."""

    name: str
    folds: dict[str, int]
    problem: str
    splits_patients: bool


def source_folds(
    found: Inventory, patients: Sequence[SourcePatient], keys: Collection[str], n_folds: int
) -> list[SourceFolds]:
    """Return the folds that the source brings for patients of these keys, usable or not."""
    kept = [patient for patient in patients if patient.key in keys]
    told: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name, fold, key in (*_of_columns(kept), *_of_folders(kept), *_of_files(found, kept)):
        told[name][key].add(fold)
    return [_checked(name, tested, keys, n_folds) for name, tested in sorted(told.items())]


def _checked(
    name: str, tested: dict[str, set[int]], keys: Collection[str], n_folds: int
) -> SourceFolds:
    numbers = sorted({fold for folds in tested.values() for fold in folds})
    twice = sum(len(folds) > 1 for folds in tested.values())
    missing = sum(key not in tested for key in keys)
    problems = {
        f"{twice} patients are tested in more than one fold": twice,
        f"{len(numbers)} folds, not {n_folds}": len(numbers) != n_folds,
        f"the folds are numbered {', '.join(map(str, numbers))}": numbers[-1] - numbers[0]
        >= n_folds,
        f"{missing} of {len(keys)} patients have no fold there": missing,
    }
    problem = next((text for text, wrong in problems.items() if wrong), "")
    folds = {key: min(own) - numbers[0] for key, own in tested.items()}
    return SourceFolds(name, folds, problem, bool(twice))


def _of_columns(patients: Sequence[SourcePatient]) -> _Told:
    for patient in patients:
        for table, row in patient.rows:
            if (fold := _number(table.cells("fold")[row])) is not None:
                yield f"{table.title}: {table.fields['fold']}", fold, patient.key


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 3 else read_fold(text)


def _of_folders(patients: Sequence[SourcePatient]) -> _Told:
    images = [(patient.key, *image.fold) for patient in patients for image in patient.images]
    # Where there is a test part, validation is for something else.
    out = ("train", "val") if any(part == "test" for _, _, part in images) else ("train",)
    for key, fold, part in images:
        if fold is not None and part not in out:
            yield "folders", fold, key


def _of_files(found: Inventory, patients: Sequence[SourcePatient]) -> _Told:
    lists: list[tuple[str, int, str]] = []
    for file in found.tables:
        text_file = file.lower.endswith((".csv", ".tsv", ".txt", ".json"))
        if text_file and file.path.stat().st_size <= MAX_BYTES:
            with suppress(ValueError):
                lists += _ids_in(file, decoded(file.path.read_bytes()))
    known: dict[str, set[str]] = defaultdict(set)
    for patient in patients:
        parts = [without_ending(image.name).split("/") for image in patient.images]
        ends = {"/".join(path[start:]) for path in parts for start in range(len(path))}
        for text in (patient.key, *ends):
            known[identity_key(text)].add(patient.key)
    tests = {name for name, _, _ in lists if "test" in _parts(name)}
    for name, fold, text in lists:
        path = without_ending(text.strip().strip('"').replace("\\", "/"))
        meant = (known.get(identity_key(form)) for form in (path, path.rpartition("/")[2]))
        keys = next(filter(None, meant), set())
        if len(keys) == 1 and (name in tests or not tests):
            yield name, fold, min(keys)


def _parts(name: str) -> list[str]:
    """Return the parts of the data (train, val, test) that a file is named after."""
    return [part for word in re.findall("[a-z]+", spaced(name)) if (part := read_part(word))]


def _ids_in(file: SourceFile, text: str) -> _Told:
    numbers = re.findall(r"(?<![a-z])(?:cv|fold|split|k_?fold)_?(\d{1,2})(?!\d)", spaced(file.name))
    if file.lower.endswith(".json"):
        yield from ((file.name, fold, _id(member)) for fold, member in _in_json(json.loads(text)))
    elif len(numbers) == 1 and "train" not in _parts(file.name)[-1:]:
        name = re.sub(r"\d+", "*", file.name)
        cells = (re.split(r"[,;\t|]", line)[0] for line in text.splitlines())
        yield from ((name, int(numbers[0]), cell) for cell in cells)


def _in_json(content: Any) -> Iterator[tuple[int, Any]]:
    items = content.items() if isinstance(content, dict) else ()
    folds = [(_number(str(key)), value) for key, value in items]
    for number, value in enumerate(content) if isinstance(content, list) else folds:
        members = value
        if isinstance(value, dict):
            part = next((key for key in value if read_part(key) in ("test", "val")), "")
            members = value[part] if read_part(part) == "test" or "train" in value else ()
        if number is not None and isinstance(members, list):
            yield from ((number, member) for member in members)


def _id(member: Any) -> str:
    """Return an entry of a list of cases: an id, a path, or an object that holds one of them."""
    values = member.values() if isinstance(member, dict) else [str(member)]
    return next((value for value in values if isinstance(value, str)), "")
