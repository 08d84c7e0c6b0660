"""The images of a source: which of them can be a T1-CE, and what their names say."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from ictmri.build.clinical.filenames import (
    Kind,
    image_kind,
    is_container,
    kind_words,
    read_fold,
    read_split,
    without_kind,
)
from ictmri.build.clinical.mapping import Mapping as Given
from ictmri.build.clinical.survey import SourceFile, without_ending
from ictmri.build.clinical.words import ClassWord, plain, read_class
from ictmri.errors import ScanError
from ictmri.scans.read import read_scan

CANDIDATES: Final[tuple[Kind, ...]] = ("t1ce", "plain", "processed")
"""Kinds that can be the T1-CE, the likeliest first."""
MASK_VALUES: Final = 16
"""A volume of at most so many different whole numbers is a mask, not a scan."""


@dataclass(frozen=True)
class Image:
    """An image of the source.

    Attributes:
        name: its path in the source.
        path: the file, or the folder of a DICOM series.
        folders: the folders it lies in, without those that all images share.
        stem: its own name without the ending.
        kind: what it is by its name.
        class_word: what its folders say about the class; a class's name outweighs a subtype's.
        patient_folders: those of its folders that may be named after a patient: they name neither a
            class nor a fold nor what they hold.
        given_id: the id that a person's pattern finds in its path; None where there is no pattern.
    """

    name: str
    path: Path
    folders: tuple[str, ...]
    stem: str
    kind: Kind
    class_word: ClassWord | None
    patient_folders: tuple[str, ...]
    given_id: str | None = None

    @cached_property
    def patient_part(self) -> str:
        """What is left of its own name without the words for its kind."""
        return without_kind(self.stem)

    @cached_property
    def folds(self) -> tuple[int | None, str]:
        """The fold and the part (train, val, test) that its folders name."""
        numbers = [n for folder in self.folders if (n := read_fold(folder)) is not None]
        parts = [part for folder in self.folders if (part := read_split(folder))]
        return (numbers[0] if len(numbers) == 1 else None), (parts[-1] if parts else "")

    @cached_property
    def signature(self) -> tuple[str, ...]:
        """What images of one sort share: the words for their kind, and their format."""
        around = [part for folder in self.folders for part in kind_words(folder)]
        return (*around, "/", *kind_words(self.stem), self.name[len(self.name) - self._ending :])

    @property
    def _ending(self) -> int:
        own = self.name.rsplit("/", 1)[-1]
        return len(own) - len(without_ending(own))


def read_images(
    files: Sequence[SourceFile], given: Given, classes: Mapping[str, str]
) -> tuple[list[Image], list[Image]]:
    """Return the images that can be a T1-CE, and all others.

    Args:
        files: images of the source.
        given: what a person said; where it has globs they alone decide, and names mean nothing.
        classes: classes of words, where a person gave them, by :func:`words.plain` of the word.
    """
    folders = [tuple(map(without_ending, file.name.split("/")[:-1])) for file in files]
    shared = 0
    while folders and len({path[shared : shared + 1] for path in folders} | {()}) == 2:
        shared += 1
    found = [
        _image(file, path[shared:], classes, given.id_pattern)
        for file, path in zip(files, folders, strict=True)
    ]
    if len({image.class_word.label for image in found if image.class_word}) < 2 and not classes:
        found = [replace(image, class_word=None) for image in found]
    usable = [image for image in found if not matches(image.name, given.exclude)]
    if given.images is not None:
        able = [replace(i, kind="t1ce") for i in usable if matches(i.name, given.images)]
    else:
        able = [image for image in usable if image.kind in CANDIDATES]
        if not able:
            able = [replace(image, kind="plain") for image in usable]
    names = {image.name for image in able}
    return able, [image for image in found if image.name not in names]


def _image(
    file: SourceFile, folders: tuple[str, ...], classes: Mapping[str, str], pattern: str | None
) -> Image:
    stem = without_ending(file.name.rsplit("/", 1)[-1])
    # A number as the name of a folder is a patient's rather than a code's.
    words = [(f, None if f.isdecimal() else class_of(f, classes)) for f in folders]
    match = re.search(pattern, file.name) if pattern else None
    read = [word for _, word in words if word]
    named = [word for word in read if word.is_class] or read
    clear = len({word.label for word in named}) == 1
    subtypes = {word.subtype for word in read if word.subtype}
    subtype = subtypes.pop() if len(subtypes) == 1 else ""
    return Image(
        name=file.name,
        path=file.path,
        folders=folders,
        stem=stem,
        kind=image_kind(stem, folders),
        class_word=replace(named[0], subtype=subtype) if clear else None,
        patient_folders=tuple(f for f, word in words if word is None and not is_container(f)),
        given_id=((match[1] or "") if match else "") if pattern else None,
    )


def class_of(text: str, classes: Mapping[str, str]) -> ClassWord | None:
    """Return what a word says about the class, as a person said or as it reads."""
    known = read_class(text)
    if plain(text) not in classes:
        return known
    return ClassWord(classes[plain(text)], known.subtype if known else "", is_class=True)


def matches(name: str, globs: Iterable[str]) -> bool:
    """Return True where a glob fits the whole name; ``*`` stands for anything, folders included."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def glob_of(names: Sequence[str]) -> str:
    """Return a glob that fits all names: what they share, ``*`` for the rest."""
    split = [name.split("/") for name in names]
    depths = {len(parts) for parts in split}
    if len(depths) > 1:
        return "*" + _shared_end([parts[-1] for parts in split])
    return "/".join(_shared(column) for column in zip(*split, strict=True))


def _shared(words: Sequence[str]) -> str:
    if len(set(words)) == 1:
        return _escaped(words[0])
    start = re.sub(r"\d+$", "", common_start(words))
    rests = [word[len(start) :] for word in words]
    return _escaped(start) + "*" + _shared_end(rests)


def _shared_end(words: Sequence[str]) -> str:
    end = common_start([word[::-1] for word in words])[::-1]
    return _escaped(re.sub(r"^\d+", "", end))


def common_start(words: Sequence[str]) -> str:
    """Return the letters that all words begin with."""
    first, last = min(words), max(words)
    same = (index for index, letter in enumerate(first) if letter != last[index])
    return first[: next(same, len(first))]


def _escaped(text: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", text)


def looks_like_mask(path: Path) -> bool:
    """Return True where a volume holds a few whole numbers only; False where it cannot be read."""
    try:
        voxels = np.asanyarray(read_scan(path).image.dataobj)
    except ScanError as error:
        return "same value" in error.reason
    values = np.unique(voxels)
    return bool(len(values) <= MASK_VALUES and (values == np.round(values)).all())
