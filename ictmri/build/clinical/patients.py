"""Images and rows by patient, and the one volume of each patient that is the T1-CE."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.images import CANDIDATES, Image, common_start, looks_like_mask
from ictmri.build.clinical.words import spaced
from ictmri.io.files import sha256_file

Sort = tuple[str, ...]
_SAMPLES: Final = 3
"""Volumes of one sort that are opened to see whether they are masks."""


@dataclass(slots=True)
class Patient:
    """A patient of the source.

    Attributes:
        key: the source's id of the patient, or what the image's name says.
        images: images that can be the T1-CE.
        rows: rows about the patient: a table, and the place of the row in it.
        chosen: the images that are left when the likeliest were chosen; one where all is clear.
    """

    key: str
    images: list[Image]
    rows: list[tuple[Meaning, int]] = field(default_factory=list)
    chosen: list[Image] = field(default_factory=list)


def group(able: Sequence[Image], tables: Sequence[Meaning]) -> list[Patient]:
    """Bring together the images and rows of each patient.

    Rows decide where there are any; images that no row is about are grouped by their names, and join
    the patient whose images have the same name.
    """
    sets = _Sets()
    named = {image.name: image for image in able}
    for table in tables:
        for row, images in table.images.items():
            own = [named.setdefault(image.name, image) for image in images]
            for image in own:
                sets.join(own[0].name, image.name)
            if table.patients[row]:
                sets.join(own[0].name, f"{table.sheet.title} {table.patients[row]}")
    claimed = {
        image.name for table in tables for images in table.images.values() for image in images
    }
    by_name = group_by_name(able)
    for images in by_name.values():
        owners = {sets.find(image.name) for image in images if image.name in claimed}
        if len(owners) < 2:
            first = next((i.name for i in images if i.name in claimed), images[0].name)
            for image in images:
                sets.join(first, image.name)
    key_of = {image.name: key for key, images in by_name.items() for image in images}
    return _patients(sets, named, tables, key_of)


def _patients(
    sets: _Sets, named: dict[str, Image], tables: Sequence[Meaning], key_of: dict[str, str]
) -> list[Patient]:
    found: dict[str, Patient] = {}
    for name in sorted(named):
        patient = found.setdefault(sets.find(name), Patient(key_of.get(name, name), []))
        patient.images.append(named[name])
    for table in tables:
        ids = table.cells("id")
        for row, images in sorted(table.images.items()):
            patient = found[sets.find(images[0].name)]
            if ids[row] and not any(other.cells("id")[place] for other, place in patient.rows):
                patient.key = ids[row]
            patient.rows.append((table, row))
    return _with_own_keys(sorted(found.values(), key=lambda patient: patient.images[0].name))


def _with_own_keys(patients: list[Patient]) -> list[Patient]:
    """Put the class before keys that two patients share: numbers that count inside a class."""
    for longer in (_in_class, lambda patient: patient.images[0].name):
        counts = Counter(patient.key for patient in patients)
        for patient in patients:
            if counts[patient.key] > 1:
                patient.key = longer(patient)
    return patients


def _in_class(patient: Patient) -> str:
    word = patient.images[0].class_word
    return f"{word.label}/{patient.key}" if word else patient.key


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        parent = self._parent.setdefault(name, name)
        while parent != self._parent.setdefault(parent, parent):
            parent = self._parent[parent]
        self._parent[name] = parent
        return parent

    def join(self, first: str, second: str) -> None:
        self._parent[self.find(second)] = self.find(first)


def group_by_name(images: Sequence[Image]) -> dict[str, list[Image]]:
    """Group images by a person's pattern, the patient's part of their names, or the patient's folder."""
    if any(image.given_id is not None for image in images):
        return _grouped(images, lambda image: image.given_id or image.name)
    parts = _patient_parts(images)
    keys: tuple[Callable[[Image], str], ...] = (
        lambda image: parts[image.name],
        lambda image: (
            f"{image.class_word.label}/{parts[image.name]}"
            if image.class_word and parts[image.name]
            else ""
        ),
    )
    for key in keys:
        if _tells_apart(images, key):
            return _grouped(images, key)
    return _grouped(images, _folder_key(images))


def _patient_parts(images: Sequence[Image]) -> dict[str, str]:
    parts = {image.name: image.patient_part for image in images}
    if images and all(re.search(r"_0{3}\d$", part) for part in parts.values()):
        # The channel of nnU-Net's names is not the patient's.
        parts = {name: part[:-5] for name, part in parts.items()}
    for image in images:
        subject = re.match(r"sub_[a-z0-9]+", spaced(image.stem))
        if image.stem.lower().startswith("sub-") and subject:
            parts[image.name] = subject[0]
    return parts


def _tells_apart(images: Iterable[Image], key: Callable[[Image], str]) -> bool:
    """Return True where a key is never empty and no two images of one sort and fold share it."""
    seen = Counter((image.signature, image.folds, key(image)) for image in images)
    return all(count == 1 and mark[2] for mark, count in seen.items())


def _folder_key(images: Sequence[Image]) -> Callable[[Image], str]:
    """Return the deepest folder whose names do not come again elsewhere; the path where there is none."""
    deepest = max((len(image.patient_folders) for image in images), default=0)
    for depth in range(deepest, 0, -1):
        places: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for image in images:
            if len(image.patient_folders) >= depth:
                places[image.patient_folders[depth - 1]].add(image.patient_folders[: depth - 1])
        if places and all(len(above) == 1 for above in places.values()):
            return lambda image, depth=depth: (  # type: ignore[misc]
                image.patient_folders[depth - 1]
                if len(image.patient_folders) >= depth
                else image.name
            )
    return lambda image: image.name


def _grouped(images: Iterable[Image], key: Callable[[Image], str]) -> dict[str, list[Image]]:
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return dict(groups)


def choose(patients: Sequence[Patient]) -> set[str]:
    """Choose each patient's T1-CE, as far as it is clear.

    Images that a table names come first, then those named after a T1-CE, then those that no name says
    anything of, then processed copies. Masks that are not named so are seen by what they hold; copies
    with the same bytes count once; several DICOM series of one folder are left to their headers.

    Returns:
        Names of images that were seen to be masks.
    """
    masks = _mask_sorts(patients)
    seen: set[str] = set()
    for patient in patients:
        told = [
            image
            for table, row in patient.rows
            if "file" in table.columns
            for image in table.images[row]
        ]
        sorts = sorts_of(patient)
        pool = [image for image in told or patient.images if sorts.get(image.name) not in masks]
        for kind in CANDIDATES:
            likely = [image for image in pool if image.kind == kind]
            if likely:
                break
        else:
            likely = pool
        patient.chosen = _without_copies(likely)
        if len(patient.chosen) > 1:
            patient.chosen = _one_study(patient.chosen)
        seen |= {name for name, sort in sorts.items() if sort in masks}
    return seen


def sorts_of(patient: Patient) -> dict[str, Sort]:
    """Return the sort of each image of a patient: its signature, and what tells it from the others."""
    parts = {image.name: image.patient_part for image in patient.images}
    shared = len(common_start(list(parts.values())))
    return {
        image.name: (*image.signature, re.sub(r"\d{2,}", "#", parts[image.name][shared:]))
        for image in patient.images
    }


def by_sort(patients: Iterable[Patient], *, chosen: bool = True) -> dict[Sort, list[Image]]:
    """Return images of one sort together: the chosen ones, or all."""
    found: dict[Sort, list[Image]] = defaultdict(list)
    for patient in patients:
        sorts = sorts_of(patient)
        for image in patient.chosen if chosen else patient.images:
            found[sorts.get(image.name, image.signature)].append(image)
    return dict(sorted(found.items()))


def _mask_sorts(patients: Sequence[Patient]) -> set[Sort]:
    """Return the sorts of images that hold masks, by a few volumes of each."""
    return {
        sort
        for sort, members in by_sort(patients, chosen=False).items()
        if all(_is_mask(image.path) for image in members[:: -(-len(members) // _SAMPLES)])
    }


def _is_mask(path: Path) -> bool:
    return path.is_file() and looks_like_mask(path)


def _without_copies(images: Sequence[Image]) -> list[Image]:
    unique = list({image.name: image for image in images}.values())
    if len(unique) < 2 or any(image.path.is_dir() for image in unique):
        return unique
    return list({sha256_file(image.path): image for image in reversed(unique)}.values())[::-1]


def _one_study(images: list[Image]) -> list[Image]:
    """Return the folder above where all images are DICOM series side by side in it."""
    above = {image.path.parent for image in images}
    if len(above) > 1 or not all(image.path.is_dir() for image in images):
        return images
    first = images[0]
    return [
        Image(
            name=first.name.rpartition("/")[0],
            path=first.path.parent,
            folders=first.folders[:-1],
            stem=first.folders[-1] if first.folders else "",
            kind=first.kind,
            class_word=first.class_word,
            patient_folders=first.patient_folders,
        )
    ]
