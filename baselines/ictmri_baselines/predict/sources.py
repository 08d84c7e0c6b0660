"""What is to be predicted: one scan, or several out of a folder, a table or a cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.cohort import CLINICAL, PHANTOM, Cohort
from ictmri.errors import InputError, ScanError, nearest
from ictmri.folds import CASE_ID
from ictmri.io.csvfile import read_csv, shown
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri.scans.read import DICOM_ENDINGS, VOLUME_ENDINGS
from ictmri.scans.walk import files_below

TABLE: Final = ".csv"
STAMP: Final = "predict.json"
"""In a folder of predictions: what it is of."""
EXAMPLE: Final = "case_id,image"
_IDS: Final = ("case_id", "patient_id")
_A_TABLE: Final = f"give a table of the scans, its header: {EXAMPLE}"
_PREAMBLE: Final = 132


@dataclass(frozen=True, slots=True)
class Scans:
    """Several scans.

    Attributes:
        name: what they are called on the page.
        source: where they come from, for comparison with an earlier run.
        paths: where each lies, by id; empty for a cohort.
        cohort: the cohort whose scans they are, None for others.
        passed_over: names in a folder of what is no scan that can be read.
    """

    name: str
    source: str
    paths: Mapping[str, Path]
    cohort: Cohort | None = None
    passed_over: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """The ids, in order."""
        return list(self.paths) if self.cohort is None else self.cohort.folds().case_ids

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield ``case_id`` and ``image``, a path or a stored volume, one in memory at a time."""
        if self.cohort is not None:
            yield from self.cohort.rows("default", ["case_id", "image"])
        else:
            yield from ({"case_id": name, "image": path} for name, path in self.paths.items())


def find_scans(source: str) -> Path | Scans:
    """Return the one scan that is meant, or several. Labels that a table or a cohort holds are not read.

    A folder is one scan where it holds the DICOM files of one study, wherever below; several, where volumes
    lie in it, or folders of one study each. Folders of predictions in it are left out.

    Raises:
        InputError: it is not clear which scans are meant; or a table that is not valid.
    """
    place = Path(source)
    if place.is_dir():
        return _of_cohort(source) if (place / MANIFEST).is_file() else _of_folder(place)
    if place.is_file():
        return _of_table(place) if place.name.lower().endswith(TABLE) else place
    return _of_cohort(source)


def _of_cohort(name: str) -> Scans:
    from ictmri.lookup import find_cohort, local_cohort

    known = (CLINICAL, PHANTOM)
    if name not in known and local_cohort(name) is None:
        problem = f"there is no scan, folder, table or cohort of this name{nearest(name, known)}"
        raise InputError(name, [problem], "check the path; a cohort on the Hub is loaded first")
    cohort = find_cohort(name)
    return Scans(cohort.name, f"cohort {cohort.name}", {}, cohort)


def _of_table(path: Path) -> Scans:
    file = read_csv(path, EXAMPLE)
    header = file.header
    column = next((name for name in _IDS if name in header), _IDS[0])
    needed = (column, "image")
    problems = file.header_problems(header, needed)
    if problems:
        raise InputError(
            str(path), problems, f"the header is: {EXAMPLE}; other columns are left alone"
        )
    rows: list[tuple[str, Path]] = []
    for number, cells in file.rows():
        if len(cells) != len(header):
            problems.append(f"row {number}: {len(cells)} cells, the header has {len(header)}")
            continue
        case_id, image = (cells[header.index(name)].strip() for name in needed)
        if not image or not (path.parent / image).exists():
            problems.append(f"row {number}: image {shown(image)} does not exist beside the table")
        rows.append((case_id, path.parent / image))
    problems += _id_problems([case_id for case_id, _ in rows], column)
    if not rows and not problems:
        problems = ["no scan: the table has a header only"]
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was predicted")
    return Scans(path.stem, str(path.resolve()), dict(rows))


def _id_problems(ids: Sequence[str], what: str) -> list[str]:
    """Name ids that cannot be names of files, and those that some disks would take for one another."""
    problems = [
        f"{what} {shown(name)}: letters, digits, '.', '_' and '-' are taken, a letter or digit first, 64 "
        "at most"
        for name in ids
        if not CASE_ID.fullmatch(name)
    ]
    times = Counter(name.casefold() for name in ids)
    return problems + [f"{what} {shown(n)} stands {k} times" for n, k in times.items() if k > 1]


def _of_folder(folder: Path) -> Path | Scans:
    entries = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and not (path / STAMP).is_file()
    )
    volumes = [path for path in entries if path.is_file() and _stem(path) != path.name]
    loose = any(path.is_file() and _is_dicom(path) for path in entries)
    if not volumes and loose:
        return folder
    if loose:
        problem = "it holds volumes and, beside them, the files of a DICOM series"
        raise InputError(
            str(folder), [problem], f"put the series in a folder of its own, or {_A_TABLE}"
        )
    studies = {path: _study(path) for path in entries if path.is_dir()}
    series = {path: study for path, study in studies.items() if study is not None}
    _refuse_deeper(folder, studies)
    if not volumes and len(set(series.values())) < 2:
        return folder
    shared = [study for study, count in Counter(series.values()).items() if count > 1]
    if shared:
        problem = (
            f"{len(series)} folders in it hold the series of {len(set(series.values()))} studies"
        )
        raise InputError(str(folder), [problem], f"have one folder for each study, or {_A_TABLE}")
    ids = {_stem(path) if path in volumes else path.name: path for path in [*volumes, *series]}
    names = [_stem(path) if path in volumes else path.name for path in [*volumes, *series]]
    problems = _id_problems(names, "file")
    if problems:
        raise InputError(str(folder), problems, f"rename these, or {_A_TABLE}")
    left = [path.name for path in entries if path not in ids.values()]
    place = folder.resolve()
    return Scans(place.name, str(place), dict(sorted(ids.items())), passed_over=left)


def _refuse_deeper(folder: Path, studies: Mapping[Path, str | None]) -> None:
    """Refuse a folder with volumes in a folder of it: they may be scans, masks or results."""
    empty = (path for path, study in studies.items() if study is None)
    for path in empty:
        if any(_stem(file) != file.name for file in files_below(path)):
            problem = f"volumes lie deeper in it, e.g. in {path.name}"
            raise InputError(str(folder), [problem], _A_TABLE)


def _stem(path: Path) -> str:
    """Return the name of a volume's file without its ending; the name itself where it is none."""
    lower = path.name.lower()
    found: Callable[[str], bool] = lower.endswith
    ending = max((ending for ending in VOLUME_ENDINGS if found(ending)), key=len, default="")
    return path.name[: len(path.name) - len(ending)] or path.name


def _is_dicom(path: Path) -> bool:
    if path.name.lower().endswith(DICOM_ENDINGS):
        return True
    with path.open("rb") as stream:
        return stream.read(_PREAMBLE)[-4:] == b"DICM"


def _study(folder: Path) -> str | None:
    """Return the study of the first DICOM file below a folder that is no segmentation; None without one."""
    from ictmri.scans.dicom_slices import quiet, read_file

    with quiet():
        for path in files_below(folder):
            try:
                header = read_file(path, pixels=False) if _stem(path) == path.name else None
            except (ScanError, Exception):  # noqa: BLE001 - whatever is damaged is told when it is read
                return str(folder)
            if header is not None and header.get("Modality") != "SEG":
                return str(header.get("StudyInstanceUID") or folder)
    return None
