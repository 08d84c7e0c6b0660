"""DICOM folders: which series they hold, and which of them is the T1-CE volume."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import ScanError
from ictmri.scans.contrast import Said, is_other_sequence, is_t1, read_agent, read_contrast
from ictmri.scans.dicom_slices import ATTRIBUTES, moment, read_file
from ictmri.scans.findings import Note
from ictmri.scans.walk import files_below, lost_links

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FILES: Final = 20_000
MIN_SLICES: Final = 8
"""Fewer slices are a localiser, not a volume of the head."""
Moment = tuple[int, float]


@dataclass(slots=True)
class Series:
    """One series of a folder, from its headers alone.

    Attributes:
        head: the header of its first file, without pixels.
        paths: its files.
        slices: images in it, frames counted.
        began: day and second of its earliest image; None where its headers do not say.
        injected: the same of the injection that its headers name.
        after_injection: whether it began after it; None where that is not known.
    """

    head: Dataset
    paths: list[Path] = field(default_factory=list)
    slices: int = 0
    began: Moment | None = None
    injected: Moment | None = None
    after_injection: bool | None = None

    @property
    def names(self) -> list[str]:
        """What the scanner or a technician called the series; it never leaves this module."""
        return [str(self.head.get(name) or "").strip() for name in ATTRIBUTES["names"]]

    @property
    def text(self) -> str:
        """All its names."""
        return " ".join(name for name in self.names if name)

    @property
    def image_type(self) -> list[str]:
        """The values of ImageType, upper case."""
        value = self.head.get("ImageType") or []
        return [str(part).upper() for part in ([value] if isinstance(value, str) else value)]

    @property
    def is_original(self) -> bool:
        """False for a derived image: a reformat, a projection, a subtraction."""
        return self.image_type[:1] != ["DERIVED"] and "LOCALIZER" not in self.image_type

    @property
    def contrast(self) -> Said:
        """Whether contrast was given, by name, agent and time; ``both`` where they disagree."""
        named, agent = self._named, self._agent
        if named == "without":
            return "without"
        if self.after_injection is not None:
            timed: Said = "with" if self.after_injection else "without"
            said = {named, agent if timed == "with" else "nothing", timed} - {"nothing"}
        else:
            said = {named, agent} - {"nothing"}
        return said.pop() if len(said) == 1 else "both" if said else "nothing"

    @property
    def _named(self) -> Said:
        own, *protocol = map(read_contrast, self.names)
        # A protocol of the whole examination is called "with and without" in each of its series.
        told = (said for said in protocol if said in ("with", "without"))
        return own if own != "nothing" else next(told, "nothing")

    @property
    def _agent(self) -> Said:
        listed = self.head.get("ContrastBolusAgentSequence") or []
        words = [str(self.head.get("ContrastBolusAgent") or "")]
        words += [str(item.get("CodeMeaning") or "contrast") for item in listed]
        said = {read_agent(word) for word in words} - {"nothing"}
        return said.pop() if len(said) == 1 else "both" if said else "nothing"

    @property
    def score(self) -> int:
        """How much the series looks like a 3D T1; negative: it is something else."""
        three_d = str(self.head.get("MRAcquisitionType", "")) == "3D"
        return 1 + 2 * is_t1(self.text) + three_d - 8 * is_other_sequence(self.text)

    def quoted(self) -> str:
        """Return what tells it from others, for the owner."""
        said = {"nothing": "nothing about contrast", "both": "contrast unclear"}
        contrast = said.get(self.contrast, f"{self.contrast} contrast")
        return f"{self.text or 'without a name'} ({self.slices} slices, {contrast})"


def find_series(path: Path) -> tuple[list[Series], list[Note]]:
    """Return the image series of a file or below a folder, and a note on what was left aside.

    Raises:
        ScanError: there is no DICOM image, or too many files.
    """
    found: dict[tuple[str, ...], Series] = {}
    aside: Counter[str] = Counter()
    for file in _files(path) if path.is_dir() else [path]:
        header = _header(file)
        if header is None:
            aside["no DICOM"] += 1
        elif not _is_mr(header):
            aside[f"no MR image ({header.get('Modality', 'DICOM')!s:.8})"] += 1
        else:
            _add(found.setdefault(_identity(header), Series(header)), file, header)
    if not found:
        what = ", ".join(f"{count} files: {kind}" for kind, count in sorted(aside.items()))
        text = f"no MR image in DICOM is there ({what or 'the folder is empty'})"
        raise ScanError(text, code="no-mr-image")
    left = (f"{count} files left aside: {kind}" for kind, count in sorted(aside.items()))
    told = [Note("files-left-aside", text) for text in left]
    series = [found[key] for key in sorted(found)]
    _time(series)
    return series, told


def _identity(header: Dataset) -> tuple[str, ...]:
    """Return the UID of a header's series, or where there is none what else tells series apart."""
    uid = str(header.get("SeriesInstanceUID") or "").strip()
    others = (str(header.get(name) or "") for name in ATTRIBUTES["instead_of_uid"])
    return (uid,) if uid else ("", *others)


def _is_mr(header: Dataset) -> bool:
    meta = getattr(header, "file_meta", {})
    kind = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
    if "DirectoryRecordSequence" in header:
        return False
    return kind in ATTRIBUTES["image_classes"] if kind else header.get("Modality", "MR") == "MR"


def _add(series: Series, file: Path, header: Dataset) -> None:
    if not (header.get("Rows") and header.get("Columns")):
        raise _damaged(file.name)
    series.paths.append(file)
    series.slices += int(header.get("NumberOfFrames") or 1)
    day, began = moment(header)
    if began is not None:
        series.began = min(series.began or (day, began), (day, began))
    day, injected = moment(header, "ContrastBolusStartTime")
    if injected is not None:
        series.injected = series.injected or (day, injected)


def _time(found: list[Series]) -> None:
    """Set for each series whether it began after the one injection that its study names."""
    injections = {series.injected for series in found if series.injected}
    for series in found if len(injections) == 1 else ():
        (injected,) = injections
        if series.began and series.began[0] == injected[0]:
            series.after_injection = series.began >= injected


def choose_t1ce(found: list[Series]) -> tuple[Series, list[Note]]:
    """Return the series that is the T1-CE volume, and what is doubtful about it.

    A lone series is taken, unless it says that no contrast was given. In a study, derived and short
    series do not count, and the choice must be clear: one series says that contrast was given, and
    looks more like a 3D T1 than every other that may say so. What began before the injection is not it
    where another began after.

    Raises:
        ScanError: no series, or more than one, could be it.
    """
    if len(found) == 1:
        return found[0], _doubts(found[0])
    able = [s for s in found if s.is_original and s.slices >= MIN_SLICES and s.score > 0]
    likely = [s for s in able if s.contrast in ("with", "both")]
    if any(s.after_injection for s in likely):
        likely = [s for s in likely if s.after_injection is not False]
    best = max((s.score for s in likely), default=0)
    top = [s for s in likely if s.score == best]
    counts = f"{len(found)} series, {len(able)} of them original T1 volumes"
    if len(top) == 1 and top[0].contrast == "with" and not _too_early(top[0], able):
        chosen = Note("series-chosen", f"the T1-CE was chosen among {len(found)} series")
        return top[0], [chosen, *_doubts(top[0])]
    why = _unclear(top, able) if top else "none of which names a contrast agent"
    raise ScanError(
        f"{counts}, {why}: put the T1-CE in a folder of its own",
        code="unclear-series" if top else "no-t1ce-series",
        detail="; ".join(s.quoted() for s in able),
    )


def _too_early(series: Series, able: list[Series]) -> bool:
    """Return True where a series that says it is without contrast was acquired later."""
    plain = [s.began for s in able if s.contrast == "without" and s.began]
    return bool(series.began and plain and max(plain) > series.began)


def _unclear(top: list[Series], able: list[Series]) -> str:
    if len(top) > 1:
        return f"{len(top)} of which could be the T1-CE"
    if _too_early(top[0], able):
        return "of which the one with contrast was acquired before one without"
    return "and what the likeliest says about contrast contradicts itself"


def _doubts(series: Series) -> list[Note]:
    doubts = []
    if series.contrast == "without":
        text = "the series says that it was acquired without contrast"
        raise ScanError(text, code="before-contrast", detail=series.quoted())
    if series.contrast != "with":
        unsaid = "no contrast agent is named, so this may not be a T1-CE"
        text = unsaid if series.contrast == "nothing" else "what it says about contrast is unclear"
        doubts.append(Note("no-contrast-named", f"sequence: {text}"))
    if is_other_sequence(series.text):
        doubts.append(Note("not-t1ce", "sequence: its description is not that of a T1 volume"))
    if not series.is_original:
        text = "sequence: a derived image, not an original acquisition"
        doubts.append(Note("derived-series", text))
    return doubts


def _files(folder: Path) -> list[Path]:
    if lost := lost_links(folder):
        text = f"{len(lost)} links in the folder lead nowhere: what they stand for may be the scan"
        raise ScanError(text, code="unreadable", detail=lost[0].name)
    paths = files_below(folder)
    if len(paths) > MAX_FILES:
        text = f"the folder holds {len(paths)} files, more than {MAX_FILES}"
        raise ScanError(text, code="too-large")
    return paths


def _header(path: Path) -> Any:
    try:
        return read_file(path, pixels=False)
    except (OSError, ScanError):
        raise
    except Exception as error:  # noqa: BLE001
        raise _damaged(error) from None


def _damaged(error: object) -> ScanError:
    text = "a DICOM file ends within its header, or its header is damaged"
    return ScanError(text, code="truncated", detail=str(error))
