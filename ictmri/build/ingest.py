"""Every scan of a table, read and checked case by case; what is finished survives a kill."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ictmri.build.duplicates import (
    Pair,
    exact_copies,
    near_copies,
    outline_pairs,
    same_heads,
)
from ictmri.build.table import TableRow
from ictmri.errors import ScanError
from ictmri.io.files import write_bytes
from ictmri.io.parallel import run_all
from ictmri.io.states import AGAIN, facts_in, needed, read_record, write_record
from ictmri.io.volumes import pack, unpack
from ictmri.scans.findings import CODES, Finding, Note, finding
from ictmri.scans.read import read_scan
from ictmri.scans.scan import Scan

if TYPE_CHECKING:
    from ictmri.scans.fingerprint import Fingerprint


What = Literal["record", "volume", "montage", "fingerprint", "outline"]
_ENDINGS: Final[dict[What, str]] = {
    "record": ".json",
    "volume": ".nii.gz",
    "montage": ".webp",
    "fingerprint": ".npy",
    "outline": ".blocks.npy",
}
_MADE: Final[tuple[What, ...]] = ("volume", "montage", "fingerprint")
"""What a record vouches for."""


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """What became of one scan.

    Attributes:
        case_id: pseudonym.
        notes: what was found about it.
        detail: what a library said of it, for the owner alone.
        facts: shape, spacing, orientation and intensities in words; empty where it could not be read.
        orientation: e.g. ``LPS``.
        values_sha256: see :func:`ictmri.scans.fingerprint.values_digest`.
        acquisition: how a DICOM scan was made.
    """

    case_id: str
    notes: list[Note]
    detail: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    orientation: str = ""
    values_sha256: str = ""
    acquisition: dict[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> bool:
        """True where the scan cannot be in the cohort."""
        return any(CODES[note.code].severity == "error" for note in self.notes)


def ingest(
    rows: list[TableRow],
    ids: Mapping[str, str],
    work: Path,
    jobs: int | None,
    *,
    aligned: bool = True,
) -> None:
    """Convert every scan into ``work``.

    Args:
        rows: the owner's table.
        ids: case ids by patient id.
        work: finished cases are kept here; holds none that belong to other inputs.
        jobs: worker processes.
        aligned: compare each scan with the template.
    """
    items = ((row, ids[row.patient_id]) for row in rows)
    waiting = [
        (row, case_id)
        for row, case_id in items
        if not read_record(case_file(work, case_id, "record"))
    ]
    convert = partial(_convert, work, aligned)
    run_all(convert, waiting, total=len(waiting), title="scans", jobs=jobs)


def records(work: Path, case_ids: Iterable[str]) -> Iterator[ScanRecord]:
    """Yield what became of each scan."""
    for case_id in case_ids:
        stored = needed(case_file(work, case_id, "record"), facts_in, AGAIN)
        yield ScanRecord(**stored | {"notes": [Note(*note) for note in stored["notes"]]})


def findings_of(work: Path, case_ids: Sequence[str]) -> list[Finding]:
    """Return what is to be told about the scans: by case, exact copies, and of them all."""
    found: list[Finding] = []
    digests: dict[str, str] = {}
    orientations: Counter[str] = Counter()
    for done in records(work, case_ids):
        found += [finding(done.case_id, *note) for note in done.notes]
        if not done.lost:
            digests[done.case_id] = done.values_sha256
            orientations[done.orientation] += 1
    found += exact_copies(digests)
    if len(orientations) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(orientations.items()))
        found.append(finding("", "mixed-axes", f"axes are stored in different orders: {counts}"))
    return found


def near_pairs(work: Path, case_ids: Sequence[str], jobs: int | None) -> list[Pair]:
    """Return the pairs of cases that show the same head, among those that the template fits.

    Of scans that were not compared with the template, only those are that have much the same outline.
    """
    ids = sorted(case_ids)
    quick = [case_id for case_id in ids if case_file(work, case_id, "outline").is_file()]
    if not quick:
        able = [case_id for case_id in ids if case_file(work, case_id, "fingerprint").is_file()]
        return near_copies(able, partial(_fingerprint, work), jobs)
    outlines = np.stack([np.load(case_file(work, case_id, "outline")) for case_id in quick])
    pairs = [(quick[first], quick[second]) for first, second in outline_pairs(outlines)]
    involved = sorted({case_id for pair in pairs for case_id in pair})
    look = partial(_look_again, work)
    run_all(look, involved, total=len(involved), title="near copies", jobs=jobs)
    able = [one for one in involved if case_file(work, one, "fingerprint").is_file()]
    known = [pair for pair in pairs if set(pair) <= set(able)]
    return same_heads(known, partial(_fingerprint, work), jobs)


def case_file(work: Path, case_id: str, what: What) -> Path:
    """Return where something that was made of a scan lies, if it was made."""
    return work / f"{case_id}{_ENDINGS[what]}"


def _look_again(work: Path, case_id: str) -> None:
    """Make the fingerprint of a scan that was not compared with the template."""
    from ictmri.scans.placement import place

    image = unpack({"bytes": case_file(work, case_id, "volume").read_bytes()})
    _store(case_file(work, case_id, "fingerprint"), place(image).fingerprint)


def _store(path: Path, array: np.ndarray[Any, Any] | None) -> None:
    if array is not None:
        stream = io.BytesIO()
        np.save(stream, array)
        write_bytes(path, stream.getvalue())


def _fingerprint(work: Path, case_id: str) -> Fingerprint:
    found: Fingerprint = np.load(case_file(work, case_id, "fingerprint"))
    return found


def _convert(work: Path, aligned: bool, item: tuple[TableRow, str]) -> None:
    row, case_id = item
    made = [case_file(work, case_id, what) for what in _MADE]
    for stale in made:
        stale.unlink(missing_ok=True)
    facts = asdict(_recorded(row.image, case_id, work, aligned=aligned))
    there = [path for path in made if path.is_file()]
    write_record(case_file(work, case_id, "record"), facts, there)


def _recorded(path: Path, case_id: str, work: Path, *, aligned: bool) -> ScanRecord:
    from ictmri.scans.fingerprint import values_digest

    try:
        scan = read_scan(path)
    except ScanError as error:
        return ScanRecord(case_id, [Note(error.code, error.reason)], detail=error.detail)
    notes = _examined(scan, case_id, work, aligned=aligned)
    facts = _facts(scan)
    lies = facts["Orientation"]
    done = ScanRecord(case_id, notes, facts=facts, orientation=lies, acquisition=scan.acquisition)
    if done.lost:
        return done
    write_bytes(case_file(work, case_id, "volume"), pack(scan.image, case_id)["bytes"])
    return replace(done, values_sha256=values_digest(scan.image))


def _examined(scan: Scan, case_id: str, work: Path, *, aligned: bool) -> list[Note]:
    """Return all notes on a scan; its montage and its fingerprint are left in ``work``."""
    from ictmri.pages.triplanar import montage
    from ictmri.scans.fingerprint import outline
    from ictmri.scans.placement import examine_scan

    notes, placed = examine_scan(scan.image, aligned=aligned)
    sure = all(note.code != "orientation-missing" for note in scan.oddities)
    write_bytes(
        case_file(work, case_id, "montage"), montage(scan.image, placed.centre_mm, sure=sure)
    )
    _store(case_file(work, case_id, "fingerprint"), placed.fingerprint)
    if not aligned:
        _store(case_file(work, case_id, "outline"), outline(scan.image))
    return [*scan.oddities, *notes]


def _facts(scan: Scan) -> dict[str, str]:
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import aff2axcodes

    voxels = np.asanyarray(scan.image.dataobj)
    spacing = " × ".join(f"{size:.2f}" for size in voxel_sizes(scan.image.affine))
    return {
        "Voxels": " × ".join(map(str, voxels.shape)),
        "Spacing": f"{spacing} mm",
        "Orientation": "".join(map(str, aff2axcodes(scan.image.affine))),
        "Intensities": f"{voxels.min():.4g} to {voxels.max():.4g}",
    }
