"""Every scan of a table, read and checked case by case; what is finished survives a kill."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ictmri.builders.checks import FINGERPRINT_EDGE, examine, fingerprint
from ictmri.builders.duplicates import exact_copies, near_copies
from ictmri.builders.findings import Finding
from ictmri.builders.scans import read_scan
from ictmri.builders.table import TableRow
from ictmri.errors import ScanError
from ictmri.files import sha256_bytes, write_bytes, write_json
from ictmri.parallel import run_all
from ictmri.volumes import pack


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scan.

    Attributes:
        case_id: pseudonym.
        error: why it is not in the cohort; empty where it is.
        detail: what a library said of it, for the owner alone.
        warnings: what is odd about it.
        orientation: e.g. ``LPS``.
        voxels_sha256: of voxels and affine.
        acquisition: how a DICOM scan was made.
    """

    case_id: str
    error: str = ""
    detail: str = ""
    warnings: list[str] = field(default_factory=list)
    orientation: str = ""
    voxels_sha256: str = ""
    acquisition: dict[str, str] = field(default_factory=dict)


def ingest(
    rows: list[TableRow], ids: Mapping[str, str], work: Path, stamp: Any, jobs: int | None
) -> None:
    """Convert every scan into ``work``.

    Args:
        rows: the owner's table.
        ids: case ids by patient id.
        work: finished cases are kept here; emptied where they belong to other inputs.
        stamp: what these inputs are.
        jobs: worker processes.
    """
    if (
        not (work / "stamp.json").is_file()
        or json.loads((work / "stamp.json").read_text()) != stamp
    ):
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / "stamp.json", stamp)
    items = ((row, ids[row.patient_id]) for row in rows)
    waiting = [(row, case_id) for row, case_id in items if not _path(work, case_id).is_file()]
    run_all(partial(_convert, work), waiting, total=len(waiting), title="scans", jobs=jobs)


def outcomes(work: Path, case_ids: Iterable[str]) -> Iterator[Outcome]:
    """Yield what became of each scan."""
    for case_id in case_ids:
        yield Outcome(**json.loads(_path(work, case_id).read_text()))


def findings_of(work: Path, case_ids: Sequence[str]) -> list[Finding]:
    """Return what is to be told about the scans: by case, across cases, and of them all."""
    found: list[Finding] = []
    digests: dict[str, str] = {}
    orientations: Counter[str] = Counter()
    for done in outcomes(work, case_ids):
        if done.error:
            found.append(Finding(done.case_id, "error", done.error))
            continue
        found += [Finding(done.case_id, "warning", text) for text in done.warnings]
        digests[done.case_id] = done.voxels_sha256
        orientations[done.orientation] += 1
    copies = exact_copies(digests)
    single = sorted(set(digests) - {copy.case_id for copy in copies})
    found += [*copies, *near_copies(single, _fingerprints(work, single))]
    if len(orientations) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in sorted(orientations.items()))
        found.append(Finding("", "warning", f"axes are stored in different orders: {shown}"))
    return found


def _fingerprints(work: Path, case_ids: Sequence[str]) -> NDArray[np.float32]:
    prints = np.empty((len(case_ids), FINGERPRINT_EDGE**3), dtype=np.float32)
    for row, case_id in enumerate(case_ids):
        prints[row] = np.frombuffer((work / f"{case_id}.print").read_bytes(), dtype=np.float32)
    return prints


def volume_path(work: Path, case_id: str) -> Path:
    """Return where a converted volume lies."""
    return work / f"{case_id}.nii.gz"


def _path(work: Path, case_id: str) -> Path:
    return work / f"{case_id}.json"


def _convert(work: Path, item: tuple[TableRow, str]) -> None:
    row, case_id = item
    write_json(_path(work, case_id), asdict(_outcome(row.image, case_id, work)))


def _outcome(path: Path, case_id: str, work: Path) -> Outcome:
    from nibabel.orientations import aff2axcodes

    try:
        scan = read_scan(path)
        errors, warnings = examine(scan.image)
    except ScanError as error:
        return Outcome(case_id, error=error.reason, detail=error.detail)
    if errors:
        return Outcome(case_id, error="; ".join(errors))
    packed = pack(scan.image, case_id)["bytes"]
    write_bytes(volume_path(work, case_id), packed)
    write_bytes(work / f"{case_id}.print", fingerprint(scan.image).tobytes())
    voxels = np.ascontiguousarray(np.asanyarray(scan.image.dataobj))
    content = voxels.tobytes() + np.asarray(scan.image.affine, dtype=np.float64).tobytes()
    return Outcome(
        case_id,
        warnings=[*scan.oddities, *warnings],
        orientation="".join(aff2axcodes(scan.image.affine)),
        voxels_sha256=sha256_bytes(content),
        acquisition=scan.acquisition,
    )
