"""Pseudonyms of patients, and the link to the source's ids, which stays with the owner."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.build.identity import identity_key, one_or_two, spoiled_id
from ictmri.build.table import TableRow
from ictmri.errors import InputError
from ictmri.io.csvfile import csv_text, shown
from ictmri.io.files import sha256_bytes, write_bytes, write_text
from ictmri.io.lock import beside

LINK_COLUMNS: Final = ("patient_id", "case_id", "image")
_CASE: Final = re.compile(r"[A-Za-z0-9_.-]+-\d{4,}")
_RESTORE: Final = (
    "bring back the file as the build wrote it (CSV in UTF-8, ids as text); without it patients get "
    "new case ids"
)
_SAME: Final = (
    "write each patient's id as in the link file, or correct that file; if all patients are new, "
    "choose another --out or move the link file away"
)


@dataclass(frozen=True, slots=True)
class Link:
    """One patient of the link file."""

    patient_id: str
    case_id: str
    image: str


def link_path(out: Path) -> Path:
    """Return where the link between source ids and pseudonyms is kept: beside the cohort."""
    return beside(out, "link.csv")


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

    Raises:
        InputError: the link file is damaged, or patients of the table seem to stand in it under another
            id: they would get new case ids.
    """
    links = read_link(link)
    problems = list(_known_otherwise(rows, links))
    if problems:
        raise InputError(str(link), problems, _SAME)
    known = {found.patient_id: found.case_id for found in links}
    patients = {row.patient_id for row in rows}
    kept = {p: case_id for p, case_id in known.items() if p in patients}
    key = sha256_bytes("\n".join(sorted(digests.values())).encode())
    new = sorted(patients - set(kept), key=lambda p: sha256_bytes(f"{key}\n{p}".encode()))
    taken = [int(case_id.rsplit("-", 1)[1]) for case_id in known.values()]
    first = max(taken, default=0) + 1
    return kept | {p: f"{name}-{number:04d}" for number, p in enumerate(new, start=first)}


def patient_pseudonym(case_id: str) -> str:
    """Return the patient's pseudonym of a case."""
    stem, number = case_id.rsplit("-", 1)
    return f"{stem}-p{number}"


def _known_otherwise(rows: Sequence[TableRow], links: Sequence[Link]) -> Iterator[str]:
    """Yield the new patients of the table who seem to stand in the link file already.

    There they stand in another spelling, or their scan does under an id that is gone.
    """
    in_table = {row.patient_id for row in rows}
    known = {found.patient_id for found in links}
    by_key = {identity_key(found.patient_id): found.patient_id for found in links}
    gone = {found.image: found.patient_id for found in links if found.patient_id not in in_table}
    names = Counter(row.image.name for row in rows) | Counter(found.image for found in links)
    for row in rows:
        where, image = f"row {row.number} of the table:", row.image.name
        spelt, other = by_key.get(identity_key(row.patient_id)), gone.get(image)
        if row.patient_id in known:
            continue
        if spelt is not None:
            yield (
                f"{where} {one_or_two((row.patient_id, spelt))} The second is how the link file "
                "writes it; spreadsheet programs drop leading zeros"
            )
        elif other is not None and names[image] == 1:
            yield (
                f"{where} patient {shown(row.patient_id)} is new, and the link file has the image "
                f"{image!r} under {shown(other)}: one patient?"
            )


def read_link(path: Path) -> list[Link]:
    """Return the patients of a link file, also of one that a spreadsheet program has saved.

    Raises:
        InputError: it is damaged; every problem is named.
    """
    if not path.is_file():
        return []
    header, *lines = _cells(path)
    missing = [name for name in LINK_COLUMNS[:2] if name not in header]
    if missing:
        raise InputError(str(path), [f"column {name!r} is missing" for name in missing], _RESTORE)
    links, problems = [], []
    for number, cells in enumerate(lines, start=2):
        if not any(cells):
            continue
        values = dict(zip(header, cells, strict=False))
        found = Link(*(values.get(name, "") for name in LINK_COLUMNS))
        problems += [f"row {number}: {text}" for text in _row_problems(found)]
        links.append(found)
    for column in LINK_COLUMNS[:2]:
        ids = Counter(getattr(found, column) for found in links)
        problems += [f"{column} {shown(x)} stands {n} times" for x, n in ids.items() if n > 1]
    if problems:
        raise InputError(str(path), problems, _RESTORE)
    return links


def _row_problems(found: Link) -> Iterator[str]:
    if not found.patient_id:
        yield "patient_id is empty"
    elif told := spoiled_id(found.patient_id):
        yield f"patient_id {shown(found.patient_id)} {told}"
    if not _CASE.fullmatch(found.case_id):
        yield f"case_id {shown(found.case_id)} is none that a build gives"


def _cells(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        problem = f"row {number}: not UTF-8 text, another program has saved it in another encoding"
        raise InputError(str(path), [problem], _RESTORE) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(str(path), [f"no CSV file ({error})"], _RESTORE) from None
    return [[cell.strip() for cell in cells] for cells in rows] or [[]]


def write_link(link: Path, rows: list[TableRow], ids: Mapping[str, str]) -> None:
    """Write the link file, readable by the owner alone; earlier patients stay in it."""
    known = {found.patient_id: found for found in read_link(link)}
    known |= {
        row.patient_id: Link(row.patient_id, ids[row.patient_id], row.image.name) for row in rows
    }
    cells = ((x.patient_id, x.case_id, x.image) for _, x in sorted(known.items()))
    write_text(link, csv_text(LINK_COLUMNS, cells), mode=0o600)


def copy_link_file(earlier: Path, out: Path) -> None:
    """Begin the link file of a new version with the earlier one, so that patients keep their pseudonyms.

    Args:
        earlier: the cohort folder before.
        out: the one that is to be; a link file that lies beside it already stays.
    """
    link = link_path(out)
    if not link.is_file():
        write_bytes(link, link_path(earlier).read_bytes(), mode=0o600)


def owner_names(root: Path) -> dict[str, str]:
    """Return the owner's patient and file of each case of a cohort, for his terminal alone.

    Empty where no link file lies beside the cohort, or it cannot be read.
    """
    try:
        links = read_link(link_path(root))
    except (InputError, OSError):
        return {}
    return {x.case_id: ", ".join(filter(None, (x.patient_id, x.image))) for x in links}
