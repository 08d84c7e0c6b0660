"""The images of a source: what their paths say of kind, class, patient and fold."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from ictmri.build.clinical.mapping import ClinicalMapping
from ictmri.build.clinical.source import SourceFile, without_ending
from ictmri.build.clinical.vocabulary import (
    ClassReader,
    ClassWord,
    Kind,
    image_kind,
    read_fold,
    read_part,
    settled,
)
from ictmri.classes import CLASSES
from ictmri.errors import ScanError
from ictmri.scans.read import read_scan

KINDS: Final[tuple[Kind, ...]] = ("t1ce", "plain", "processed")
"""Kinds that can be the T1-CE, the likeliest first."""
_FOLDERS: Final = tuple(rf"([^/]+)/{'[^/]+/' * up}[^/]+$" for up in range(5))
"""Patterns for the folder that an image lies in, the one above, and so on."""
_NUMBER: Final = r"(\d+)[^/\d]*$"
_WORD: Final = r"(?:^|/)([^\W\d_]+)[^/]*$"
_MASK_VALUES: Final = 16
"""A volume of at most so many different whole numbers is a mask, not a scan."""


@dataclass(eq=False, slots=True)
class SourceImage:
    """An image of the source.

    Attributes:
        name: its path in the source.
        path: the file, or the folder of a DICOM series.
        kind: what it is by its name.
        words: words for its class in its path, and what they mean.
        patient: what its path says of the patient.
    """

    name: str
    path: Path
    kind: Kind
    words: dict[str, ClassWord | None] = field(default_factory=dict)
    patient: str = ""

    def found(self, pattern: str) -> str:
        """Return the group of a pattern in the path, nothing where it does not fit."""
        match = re.search(pattern, self.name)
        return (match[1] or "") if match else ""

    @property
    def label(self) -> str:
        """The class that its path tells."""
        return settled(word for word in self.words.values() if word)

    @property
    def fold(self) -> tuple[int | None, str]:
        """The fold and the part (train, val, test) that its folders name."""
        folders = self.name.split("/")[:-1]
        numbers = [number for folder in folders if (number := read_fold(folder)) is not None]
        parts = [part for folder in folders if (part := read_part(folder))]
        return (numbers[0] if len(numbers) == 1 else None), (parts[-1] if parts else "")

    @property
    def glob(self) -> str:
        """A glob for images of its sort: ``*`` for patient, class, fold and long numbers.

        The last part keeps its words: a lone ``*`` would tell no sort from another.
        """
        parts: list[str] = []
        *folders, _ = whole = self.name.split("/")
        for place, part in enumerate(whole):
            general = place < len(folders) and (
                part in self.words or read_part(part) or read_fold(part) is not None
            )
            text = part.replace(self.patient.rpartition("/")[2] or "*", "*")
            text = re.sub(r"([\[?])", r"[\1]", re.sub(r"\d{3,}", "*", text))
            parts.append("*" if general else text)
        return "/".join(parts)


def source_images(
    files: Sequence[SourceFile], given: ClinicalMapping
) -> tuple[list[SourceImage], list[SourceImage]]:
    """Return the images that can be a T1-CE, and all others.

    Args:
        files: images of the source.
        given: what a person said; where it has globs they alone decide, and names mean nothing.
    """
    folders = [[without_ending(part) for part in file.name.split("/")[:-1]] for file in files]
    shared = 0
    while folders and len({tuple(path[shared : shared + 1]) for path in folders} | {()}) == 2:
        shared += 1
    able, usable, others = list[SourceImage](), list[SourceImage](), list[SourceImage]()
    for file, path in zip(files, folders, strict=True):
        stem = without_ending(file.name.rpartition("/")[2])
        image = SourceImage(file.name, file.path, image_kind(stem, path[shared:]))
        if given.images is not None and _matches(file.name, given.images):
            image.kind = "t1ce"
        fits = image.kind in KINDS if given.images is None else _matches(file.name, given.images)
        left = _matches(file.name, given.exclude)
        (others if left else able if fits else usable).append(image)
    if not able and given.images is None:
        return usable, others
    return able, [*usable, *others]


def _matches(name: str, globs: Iterable[str]) -> bool:
    """Return True where a glob fits the whole name; ``*`` stands for anything, folders included."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def mark_classes(
    images: Sequence[SourceImage], given: list[str] | None, reader: ClassReader, *, told: bool
) -> list[str]:
    """Note the words for classes in the paths of images, and return the patterns that find them.

    Folders tell them where they name two classes or more. Where none do and no table tells any
    (``told``), folders 0, 1, 2, .. count as such names, or else the first words of all file names.
    """
    named: list[str] = []
    guessed: list[str] = []
    for pattern in (*_FOLDERS, _WORD):
        texts = {image.found(pattern) for image in images}
        read = [word for text in texts if not text.isdecimal() and (word := reader.read(text))]
        several = len({word.label for word in read} - {""}) > 1
        few = 2 <= len(texts) <= min(2 * len(CLASSES), len(images) // 2)
        if several and pattern in _FOLDERS:
            named.append(pattern)
        elif (few and all(map(str.isdecimal, texts))) or (several and len(read) == len(texts)):
            guessed.append(pattern)
    patterns = named or ([] if told else guessed[:1]) if given is None else given
    for image in images:
        texts_ = filter(None, map(image.found, patterns))
        image.words = {text: reader.read(text) for text in dict.fromkeys(texts_)}
    return patterns


def id_patterns(images: Sequence[SourceImage]) -> list[str]:
    """Return patterns that may find the patient: file name, folders, last number of the file name.

    What the names of all images of a kind end with is not the patient's.
    """
    owns: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image in images:
        own = image.name.rpartition("/")[2]
        owns[image.kind, own[len(without_ending(own)) :]].add(own)
    ends = set()
    for (_, ending), names in owns.items():
        first, *rest = sorted(names, key=len)
        same = (first[at:] for at in range(len(first)) if all(n.endswith(first[at:]) for n in rest))
        ends.add(re.escape(re.sub(r"^\d+", "", next(same, "")) if rest else ending))
    every = "|".join(sorted(ends, key=len, reverse=True))
    return [rf"([^/]+?)(?:{every})$", *_FOLDERS, _NUMBER]


def name_patients(images: Sequence[SourceImage], pattern: str) -> None:
    """Note the patient of each image; with the class where numbers count inside classes."""
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        image.patient = image.found(pattern)
        labels[image.patient].add(image.label)
    counted = any(text and len(found) > 1 for text, found in labels.items())
    for image in images:
        own = f"{image.label}/{image.patient}" if counted else image.patient
        image.patient = own if image.patient else image.name


def looks_like_mask(image: SourceImage) -> bool:
    """Return True where a volume holds a few whole numbers only; False where it cannot be read."""
    if not image.path.is_file():
        return False
    try:
        values = np.unique(np.asanyarray(read_scan(image.path).image.dataobj))
    except ScanError as error:
        return "same value" in error.reason
    return bool(len(values) <= _MASK_VALUES and (values == np.round(values)).all())
