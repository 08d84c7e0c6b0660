"""Pseudonyms of patients, and the link to the source's ids, which stays with the owner."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ictmri.builders.table import TableRow
from ictmri.files import replacing, sha256_bytes

LINK_COLUMNS: Final = ("patient_id", "case_id", "image")


def link_path(out: Path) -> Path:
    """Return where the link between source ids and pseudonyms is kept: beside the cohort."""
    return out.with_name(out.name + ".link.csv")


def pseudonyms(
    name: str, rows: list[TableRow], digests: Mapping[str, str], link: Path
) -> dict[str, str]:
    """Return case ids by patient id.

    New ids are dealt in an order keyed by the bytes of the scans, so that they carry neither the
    table's order nor anything that can be worked out from a list of patient ids.

    Args:
        name: dataset name, which the ids begin with.
        rows: the owner's table.
        digests: SHA-256 of each patient's scan.
        link: patients that stand in this file keep their pseudonyms.
    """
    known = _read_link(link)
    patients = {row.patient_id for row in rows}
    kept = {p: case_id for p, case_id in known.items() if p in patients}
    key = sha256_bytes("\n".join(sorted(digests.values())).encode())
    new = sorted(
        patients - set(kept), key=lambda p: hashlib.sha256(f"{key}\n{p}".encode()).digest()
    )
    taken = [int(case_id.rsplit("-", 1)[1]) for case_id in known.values()]
    first = max(taken, default=0) + 1
    return kept | {p: f"{name}-{number:04d}" for number, p in enumerate(new, start=first)}


def patient_pseudonym(case_id: str) -> str:
    """Return the patient's pseudonym of a case."""
    stem, number = case_id.rsplit("-", 1)
    return f"{stem}-p{number}"


def write_link(link: Path, rows: list[TableRow], ids: Mapping[str, str]) -> None:
    """Write the link file, readable by the owner alone; earlier patients stay in it."""
    known = _read_link(link) | dict(ids)
    images = {row.patient_id: row.image.name for row in rows}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(LINK_COLUMNS)
    writer.writerows((p, case_id, images.get(p, "")) for p, case_id in sorted(known.items()))
    with replacing(link, mode=0o600) as part:
        part.write_text(stream.getvalue(), encoding="utf-8")


def _read_link(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["patient_id"]: row["case_id"] for row in csv.DictReader(stream)}
