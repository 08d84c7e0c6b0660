"""Every file of a source: those of its folders, of its archives and of its parquet files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ictmri.build.clinical.archives import ENDINGS as ARCHIVE_ENDINGS
from ictmri.build.clinical.archives import FOREIGN, is_archive, unpack
from ictmri.build.clinical.embedded import image_columns, write_images
from ictmri.errors import InputError
from ictmri.scans.read import DICOM_ENDINGS, ITK_ENDINGS, NIFTI_ENDINGS

TABLE_ENDINGS: Final = (
    ".csv",
    ".tsv",
    ".xlsx",
    ".xlsm",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".txt",
)
NOTE_ENDINGS: Final = (".md", ".txt", ".json", ".yaml", ".yml", ".rst")
IMAGE_ENDINGS: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS)
_RAW_ENDINGS: Final = (".raw", ".zraw", ".img", ".hdr")
_USELESS: Final = (
    *(
        ".py",
        ".ipynb",
        ".pth",
        ".pt",
        ".ckpt",
        ".safetensors",
        ".bin",
        ".onnx",
        ".pdf",
        ".docx",
        ".doc",
    ),
    *(
        ".pptx",
        ".png",
        ".jpg",
        ".jpeg",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".mp4",
        ".html",
        ".npy",
        ".npz",
    ),
    *(".log", ".sh", ".m", ".mat", ".pkl", ".h5", ".hdf5", ".xls", ".lock", ".exe", ".dll"),
)
_DEPTH: Final = 3
_LFS: Final = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source.

    Attributes:
        name: its path in the source, ``/`` between folders; archives and parquet files are folders.
        path: where it lies now.
    """

    name: str
    path: Path

    @property
    def lower(self) -> str:
        """The file's own name in lower case."""
        return self.name.rsplit("/", 1)[-1].lower()


@dataclass(slots=True)
class Survey:
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
    for ending in (*sorted(IMAGE_ENDINGS, key=len, reverse=True), *DICOM_ENDINGS, *ARCHIVE_ENDINGS):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def survey(root: Path, unpacked: Path) -> Survey:
    """Look at every file of a source.

    Args:
        root: the source's folder; nothing in it is changed.
        unpacked: private folder for what archives and parquet files hold.

    Raises:
        InputError: an archive is not to be trusted, or the files themselves were never downloaded.
    """
    found = Survey()
    files = list(_walk(root, "", unpacked, found, _DEPTH))
    pointers = [file.name for file in files if _is_pointer(file.path)]
    if pointers:
        raise InputError(
            str(root),
            [f"{len(pointers)} files are Git LFS pointers, not the files themselves"],
            "run `git lfs pull` there, or let this command download the repository",
        )
    loose: dict[str, list[SourceFile]] = {}
    for file in files:
        if file.lower.endswith(IMAGE_ENDINGS):
            found.images.append(file)
        elif file.lower.endswith(DICOM_ENDINGS) or _is_dicom(file):
            loose.setdefault(file.name.rpartition("/")[0], []).append(file)
        elif file.lower.endswith(".parquet"):
            _parquet(file, unpacked, found)
        else:
            _document(file, found)
    found.images += [_series(folder, members) for folder, members in sorted(loose.items())]
    found.images.sort(key=lambda file: file.name)
    return found


def _walk(folder: Path, prefix: str, unpacked: Path, found: Survey, depth: int) -> list[SourceFile]:
    files: list[SourceFile] = []
    for path in sorted(folder.iterdir()):
        name = f"{prefix}{path.name}"
        if path.name.startswith((".", "__MACOSX")) or path.name == "Thumbs.db":
            continue
        if path.is_dir():
            if path.resolve() in {parent.resolve() for parent in path.parents}:
                # A link to where it was come from leads round in a circle.
                continue
            files += _walk(path, f"{name}/", unpacked, found, depth)
        elif is_archive(path.name) and depth == 0:
            found.aside["archives inside archives inside archives"] += 1
        elif is_archive(path.name):
            inside = _beside(unpacked, name)
            left = unpack(path, inside, wanted)
            if left:
                found.aside["members of archives: no image, no table"] += left
            files += _walk(inside, f"{name}/", unpacked, found, depth - 1)
        elif path.is_file():
            files.append(SourceFile(name, path))
    return files


def _beside(unpacked: Path, name: str) -> Path:
    """Return where the content of an archive goes; the archive may lie in ``unpacked`` itself."""
    return unpacked / f"{name}.d"


def wanted(name: str) -> bool:
    """Return True for a file that can matter, by its name."""
    parts = name.split("/")
    return not name.lower().endswith(_USELESS) and not any(
        part.startswith((".", "__MACOSX")) for part in parts
    )


def _document(file: SourceFile, found: Survey) -> None:
    ending = Path(file.lower).suffix
    if file.lower.endswith(TABLE_ENDINGS):
        found.tables.append(file)
    if file.lower.endswith(NOTE_ENDINGS):
        found.notes.append(file)
    elif not file.lower.endswith((*TABLE_ENDINGS, *_RAW_ENDINGS)):
        kind = f"files {ending}" if ending and len(ending) <= 6 else "files without a known ending"
        if file.lower.endswith(FOREIGN):
            kind = f"archives {ending}: unpack them yourself and give the folder with --source"
        elif ending in (".xls", ".xlsb", ".ods", ".numbers"):
            kind = f"spreadsheets {ending}: save them as .xlsx or .csv"
        found.aside[kind] += 1


def _parquet(file: SourceFile, unpacked: Path, found: Survey) -> None:
    columns = image_columns(file.path)
    if columns:
        written = write_images(file.path, _beside(unpacked, file.name), columns)
        found.embedded[file.name] = {
            column: [f"{file.name}/{name}" if name else "" for name in names]
            for column, names in written.items()
        }
        found.images += [
            SourceFile(f"{file.name}/{name}", _beside(unpacked, file.name) / name)
            for names in written.values()
            for name in names
            if name
        ]
    found.tables.append(file)


def _series(folder: str, members: list[SourceFile]) -> SourceFile:
    """Return a folder of DICOM files as one image; a lone multi-frame file stays a file."""
    if len(members) == 1:
        return members[0]
    return SourceFile(folder, members[0].path.parent)


def _is_dicom(file: SourceFile) -> bool:
    if "." in file.lower and not file.lower.rsplit(".", 1)[1].isdecimal():
        return False
    with file.path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > 200:
        return False
    with path.open("rb") as stream:
        return stream.read(len(_LFS)) == _LFS
