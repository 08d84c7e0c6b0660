"""The inventory of a source: the files of its folders, of its archives and of its parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ictmri.build.clinical.archives import ENDINGS as ARCHIVES
from ictmri.build.clinical.archives import unpack
from ictmri.build.clinical.embedded import image_columns, write_images
from ictmri.build.clinical.vocabulary import lists
from ictmri.errors import InputError
from ictmri.scans.read import DICOM_ENDINGS, ITK_ENDINGS, NIFTI_ENDINGS

IMAGES: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS)
_DEPTH: Final = 3
_LFS: Final = b"version https://git-lfs"


class SourceFile(NamedTuple):
    """A file: its path in the source, in which archives and parquet files are folders, and its place."""

    name: str
    path: Path

    @property
    def lower(self) -> str:
        """The file's own name in lower case."""
        return self.name.rsplit("/", 1)[-1].lower()


@dataclass(slots=True)
class Inventory:
    """What a source holds.

    Attributes:
        images: NIfTI, NRRD and MetaImage files; DICOM series as folders.
        tables: files that may be tables.
        notes: files that may say what codes mean.
        embedded: by name of a parquet file, its image columns: column -> image name of each row.
        aside: what nothing was done with, and why, with counts.
    """

    images: list[SourceFile] = field(default_factory=list)
    tables: list[SourceFile] = field(default_factory=list)
    notes: list[SourceFile] = field(default_factory=list)
    embedded: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    aside: Counter[str] = field(default_factory=Counter)


def without_ending(name: str) -> str:
    """Return a file name without the ending of an image or an archive."""
    every = sorted((*IMAGES, *DICOM_ENDINGS, *ARCHIVES), key=len, reverse=True)
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
    loose: dict[str, list[SourceFile]] = {}
    for file in files:
        bare = "." not in file.lower or file.lower.rsplit(".", 1)[1].isdecimal()
        if file.lower.endswith(IMAGES):
            found.images.append(file)
        elif file.lower.endswith(DICOM_ENDINGS) or (bare and _starts(file.path, 128, b"DICM")):
            loose.setdefault(file.name.rpartition("/")[0], []).append(file)
        else:
            _document(file, unpacked, found)
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
        if not _wanted(path.name, ()):
            continue
        if path.is_dir():
            # A link to where it was come from leads round in a circle.
            if path.resolve() not in {parent.resolve() for parent in path.parents}:
                yield from _walk(path, f"{name}/", unpacked, found, depth)
        elif packed and depth == 0:
            found.aside["archives inside archives inside archives"] += 1
        elif packed:
            inside = _place(unpacked, name, path)
            if left := unpack(path, inside, _wanted):
                found.aside["members of archives: no image, no table"] += left
            yield from _walk(inside, f"{name}/", unpacked, found, depth - 1)
        elif path.is_file():
            yield SourceFile(name, path)


def _place(unpacked: Path, name: str, path: Path) -> Path:
    """Return where the content of a file goes: another place where the file is another."""
    state = path.stat()
    return unpacked / f"{name}.{state.st_size:x}-{state.st_mtime_ns:x}.d"


def _wanted(name: str, useless: Sequence[str] | None = None) -> bool:
    hidden = any(part.startswith((".", "__MACOSX", "Thumbs.db")) for part in name.split("/"))
    endings = lists()["files"]["useless"] if useless is None else useless
    return not hidden and not name.lower().endswith(tuple(endings))


def _document(file: SourceFile, unpacked: Path, found: Inventory) -> None:
    ending = Path(file.lower).suffix
    kinds = [kind for kind, endings in lists()["files"].items() if ending in endings]
    if ending == ".parquet" and (columns := image_columns(file.path)):
        place = _place(unpacked, file.name, file.path)
        for column, names in write_images(file.path, place, columns).items():
            paths = [f"{file.name}/{name}" if name else "" for name in names]
            found.embedded.setdefault(file.name, {})[column] = paths
            found.images += [SourceFile(f"{file.name}/{n}", place / n) for n in names if n]
    found.tables += [file] if "tables" in kinds else []
    found.notes += [file] if "notes" in kinds else []
    if "other archives" in kinds:
        ending = f"{ending}: unpack them yourself and give the folder with --source"
        found.aside[f"archives {ending}"] += 1
    elif "other spreadsheets" in kinds:
        found.aside[f"spreadsheets {ending}: save them as .xlsx or .csv"] += 1
    elif not {"tables", "notes", "pixels"} & {*kinds}:
        known = ending and len(ending) <= 6
        found.aside[f"files {ending}" if known else "files without a known ending"] += 1


def _starts(path: Path, at: int, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(at + len(magic))[at:] == magic
