"""The inventory of a source: the files of its folders and of its archives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ictmri.build.clinical import vocabulary as words
from ictmri.build.clinical.vocabulary import ClassWord, Kind
from ictmri.errors import InputError
from ictmri.io.archives import ENDINGS as ARCHIVES
from ictmri.io.archives import unpack
from ictmri.scans.read import DICOM_ENDINGS, VOLUME_ENDINGS

_DEPTH: Final = 3
_LFS: Final = b"version https://git-lfs"


class SourceFile(NamedTuple):
    """A file: its path in the source, in which archives are folders, and its place."""

    name: str
    path: Path

    @property
    def lower(self) -> str:
        """The file's own name in lower case."""
        return self.name.rsplit("/", 1)[-1].lower()


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
        return words.settled(word for word in self.words.values() if word)

    @property
    def fold(self) -> tuple[int | None, str]:
        """The fold and the part (train, val, test) that its folders name."""
        return words.read_split(self.name.rpartition("/")[0])

    @property
    def glob(self) -> str:
        """A glob for images of its sort: ``*`` for class, part and fold, patient and long numbers."""
        *folders, own = self.name.split("/")
        general = [n in self.words or words.read_split(n) != (None, "") for n in folders]
        parts = ["*" if each else n for n, each in zip(folders, general, strict=True)]
        text = "/".join([*parts, own]).replace(self.patient.rpartition("/")[2] or "*", "*")
        return re.sub(r"([\[?])", r"[\1]", re.sub(r"\d{3,}", "*", text))


@dataclass(slots=True)
class Inventory:
    """What a source holds.

    Attributes:
        images: NIfTI, NRRD and MetaImage files; DICOM series as folders.
        tables: files that may be tables.
        aside: what nothing was done with, and why, with counts.
    """

    images: list[SourceFile] = field(default_factory=list)
    tables: list[SourceFile] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)


def without_ending(name: str) -> str:
    """Return a file name without the ending of an image or an archive."""
    every = sorted((*VOLUME_ENDINGS, *DICOM_ENDINGS, *ARCHIVES), key=len, reverse=True)
    ending = next((ending for ending in every if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def take_inventory(root: Path, unpacked: Path) -> Inventory:
    """Look at every file of a source.

    Args:
        root: the source's folder; nothing in it is changed.
        unpacked: private folder for what archives and parquet files hold.

    Raises:
        InputError: an archive is not to be trusted, or the files themselves were never downloaded.
    """
    found = Inventory()
    files = list(_walk(root, "", unpacked, found, _DEPTH))
    if pointers := sum(_starts(file.path, 0, _LFS) for file in files):
        problem = f"{pointers} files are Git LFS pointers, not the files themselves"
        next_step = "run `git lfs pull` there, or let this command download the repository"
        raise InputError(str(root), [problem], next_step)
    loose: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        bare = "." not in file.lower or file.lower.rsplit(".", 1)[1].isdecimal()
        if file.lower.endswith(VOLUME_ENDINGS):
            found.images.append(file)
        elif file.lower.endswith(DICOM_ENDINGS) or (bare and _starts(file.path, 128, b"DICM")):
            loose[file.name.rpartition("/")[0]].append(file)
        else:
            _sort_other(file, found)
    for folder, members in loose.items():
        # A folder of DICOM files is one image; a lone multi-frame file stays a file.
        series = SourceFile(folder, members[0].path.parent)
        found.images.append(series if len(members) > 1 else members[0])
    found.images.sort(key=lambda file: file.name)
    return found


def _walk(
    folder: Path, prefix: str, unpacked: Path, found: Inventory, depth: int
) -> Iterator[SourceFile]:
    for path in sorted(folder.iterdir()):
        name, packed = f"{prefix}{path.name}", path.name.lower().endswith(ARCHIVES)
        if _hidden(path.name):
            continue
        if path.is_dir():
            # A link to where it was come from leads round in a circle.
            if path.resolve() not in {parent.resolve() for parent in path.parents}:
                yield from _walk(path, f"{name}/", unpacked, found, depth)
        elif packed and depth == 0:
            found.aside["archives inside archives inside archives"] += 1
        elif packed:
            if left := unpack(path, inside := unpacked / f"{name}.d", _wanted):
                found.aside["members of archives: no image, no table"] += left
            yield from _walk(inside, f"{name}/", unpacked, found, depth - 1)
        elif path.is_file():
            yield SourceFile(name, path)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX", "Thumbs.db")) for part in name.split("/"))


def _wanted(name: str) -> bool:
    return not _hidden(name) and not name.lower().endswith(tuple(words.lists()["files"]["useless"]))


def _sort_other(file: SourceFile, found: Inventory) -> None:
    """Note a file that is no image: a table, or left aside."""
    ending = Path(file.lower).suffix
    known = words.lists()["files"]
    advice = [f": {what}" for what, endings in known["advice"].items() if ending in endings]
    found.tables += [file] if ending in known["tables"] else []
    if not any(ending in known[kind] for kind in ("tables", "notes", "pixels")):
        named = f"files {ending}" if ending and len(ending) <= 6 else "files without a known ending"
        found.aside[f"{named}{''.join(advice)}"] += 1


def _starts(path: Path, at: int, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(at + len(magic))[at:] == magic
