"""DICOM folders: which series they hold, and which of them is the T1-CE volume."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ictmri.builders.codes import Note
from ictmri.errors import ScanError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FILES: Final = 20_000
MIN_SLICES: Final = 8
"""Fewer slices are a localiser, not a volume of the head."""
_IMAGE_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
}
_CONTRAST: Final = re.compile(
    r"\+\s*c\b|\bc\s*\+|\bce\b|\bpost\b|\bgad|\bgd\b|\bkm\b|contrast|enhanc|[-_ ]c$", re.IGNORECASE
)
_NO_CONTRAST: Final = re.compile(
    r"\bpre\b|\bnon[- ]?contrast|without|\bw/?o\b|\bplain\b", re.IGNORECASE
)
_T1: Final = re.compile(r"t1|mp-?rage|bravo|spgr|tfe|flash|vibe|thrive|lava", re.IGNORECASE)
_OTHER: Final = re.compile(
    r"t2|flair|dwi|dti|adc|trace|swi|perf|pwi|asl|tof|angio|bold|spectro|scout|survey",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Series:
    """One series of a folder, from its headers alone.

    Attributes:
        uid: SeriesInstanceUID; ``""`` where the headers have none.
        paths: its files.
        head: the header of its first file, without pixels.
        slices: images in it, frames counted.
    """

    uid: str
    head: Dataset
    paths: list[Path] = field(default_factory=list)
    slices: int = 0

    @property
    def text(self) -> str:
        """What the scanner or a technician called the series; it never leaves this module."""
        names = ("SeriesDescription", "ProtocolName", "SequenceName")
        return " ".join(str(self.head.get(name, "")) for name in names)

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
    def names_contrast(self) -> bool:
        """True where the header names a contrast agent, or the series is called so."""
        agent = str(self.head.get("ContrastBolusAgent") or "").strip()
        listed = bool(self.head.get("ContrastBolusAgentSequence"))
        named = bool(agent) and not re.match(r"(?i)no\b|none|n/a|null", agent)
        if _NO_CONTRAST.search(self.text):
            return False
        return named or listed or bool(_CONTRAST.search(self.text))

    @property
    def score(self) -> int:
        """How much the series looks like a 3D T1-CE; negative: it is something else."""
        three_d = str(self.head.get("MRAcquisitionType", "")) == "3D"
        return (
            4 * self.names_contrast
            + 2 * bool(_T1.search(self.text))
            + three_d
            - 8 * bool(_OTHER.search(self.text))
        )


def find_series(folder: Path) -> tuple[list[Series], list[Note]]:
    """Return the image series below a folder, and a note on what was left aside.

    Raises:
        ScanError: the folder holds no DICOM image, or too many files.
    """
    by_uid: dict[str, Series] = {}
    aside: Counter[str] = Counter()
    for path in _files(folder):
        header = _header(path)
        if header is None:
            aside["no DICOM"] += 1
        elif header.get("SOPClassUID") not in _IMAGE_CLASSES:
            aside[f"no MR image ({header.get('Modality', 'DICOM')!s:.8})"] += 1
        else:
            uid = str(header.get("SeriesInstanceUID", ""))
            series = by_uid.setdefault(uid, Series(uid, header))
            series.paths.append(path)
            series.slices += int(header.get("NumberOfFrames") or 1)
    if not by_uid:
        what = ", ".join(f"{count} files: {kind}" for kind, count in sorted(aside.items()))
        raise ScanError(
            f"the folder holds no MR image in DICOM ({what or 'it is empty'})", code="no-mr-image"
        )
    told = [
        Note("files-left-aside", f"{n} files left aside: {kind}")
        for kind, n in sorted(aside.items())
    ]
    return sorted(by_uid.values(), key=lambda series: series.uid), told


def choose_t1ce(found: list[Series]) -> tuple[Series, list[Note]]:
    """Return the series that is the T1-CE volume, and what is doubtful about it.

    A lone series is taken as it is. In a study, derived and short series do not count, and the choice
    must be clear: one series looks more like a T1-CE than every other one, and names contrast.

    Raises:
        ScanError: no series, or more than one, could be it.
    """
    if len(found) == 1:
        return found[0], _doubts(found[0])
    able = [s for s in found if s.is_original and s.slices >= MIN_SLICES]
    likely = [s for s in able if s.names_contrast and s.score > 0]
    best = max((s.score for s in likely), default=0)
    top = [s for s in likely if s.score == best]
    if len(top) == 1:
        chosen = Note("series-chosen", f"the T1-CE was chosen among {len(found)} series")
        return top[0], [chosen, *_doubts(top[0])]
    counts = f"{len(found)} series, {len(able)} of them original volumes"
    if top:
        raise ScanError(
            f"{counts}, {len(top)} of which could be the T1-CE: put that series in a folder of its own",
            code="unclear-series",
            detail="; ".join(f"{s.text.strip()} ({s.slices} slices)" for s in top),
        )
    raise ScanError(
        f"{counts}, none of which names a contrast agent: put the T1-CE in a folder of its own",
        code="no-t1ce-series",
        detail="; ".join(f"{s.text.strip()} ({s.slices} slices)" for s in able),
    )


def _doubts(series: Series) -> list[Note]:
    doubts = []
    if not series.names_contrast:
        text = "sequence: no contrast agent is named, so this may not be a T1-CE"
        doubts.append(Note("no-contrast-named", text))
    if _OTHER.search(series.text):
        doubts.append(Note("not-t1ce", "sequence: its description is not that of a T1 volume"))
    if not series.is_original:
        text = "sequence: a derived image, not an original acquisition"
        doubts.append(Note("derived-series", text))
    return doubts


def _files(folder: Path) -> Iterator[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(paths) > MAX_FILES:
        raise ScanError(
            f"the folder holds {len(paths)} files, more than {MAX_FILES}", code="too-large"
        )
    yield from (path for path in paths if not path.name.startswith("."))


def _header(path: Path) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001
        # A folder from a hospital holds viewers, reports and damaged files; they are counted.
        return None
