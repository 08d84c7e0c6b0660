"""``ictmri build folder``: a cohort folder from an owner's table of scans."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ictmri import __version__
from ictmri.builders.assemble import Plan, assemble, finished
from ictmri.builders.change import alone_with, work_folder
from ictmri.builders.scans import ScanError, read_scan
from ictmri.builders.table import TableRow, read_table
from ictmri.cohort import CLINICAL, PHANTOM, Cohort
from ictmri.errors import InputError
from ictmri.files import canonical_json, replacing, sha256_bytes, sha256_file, write_bytes
from ictmri.folds import DEFAULT_N_FOLDS, Candidate, FoldRow, assign_folds, describe_folds
from ictmri.parallel import run_all
from ictmri.volumes import pack

VERSION: Final = "1.0.0"
LINK_COLUMNS: Final = ("patient_id", "case_id", "image")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a case or, where ``case_id`` is empty, about the cohort."""

    case_id: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class FolderBuild:
    """A finished build: the cohort, what was odd, and what the fold rule did."""

    cohort: Cohort
    findings: list[Finding]
    folds: list[str]


def build_folder(
    table: Path,
    out: Path,
    *,
    name: str | None = None,
    n_folds: int = DEFAULT_N_FOLDS,
    jobs: int | None = None,
) -> FolderBuild:
    """Build a cohort folder from an owner's table.

    The source's patient ids and file names do not enter the folder; the link from them to the
    pseudonyms is written beside it, to ``<out>.link.csv``, readable by the owner alone. Patients that
    stand in an existing link file keep their pseudonyms.

    Args:
        table: CSV with the columns of :mod:`ictmri.builders.table`.
        out: the folder to write.
        name: dataset name; the name of ``out`` where None.
        n_folds: number of folds.
        jobs: worker processes; all usable cores where None.

    Raises:
        InputError: the table, the scans or the arguments are wrong; every problem is named.
    """
    name = _checked_name(name or out.resolve().name)
    rows = read_table(table)
    ids = pseudonyms(name, rows, link_path(out))
    with alone_with(out):
        generator = _generator(rows, ids, name, n_folds)
        folds = _folds(rows, ids, n_folds)
        done = finished(out, generator)
        if done is None:
            done = _build(rows, ids, out, generator, folds, jobs)
        _write_link(out, rows, ids)
    return FolderBuild(done, read_findings(done.root), describe_folds(folds))


def link_path(out: Path) -> Path:
    """Return where the link between source ids and pseudonyms is kept: beside the cohort."""
    return out.with_name(out.name + ".link.csv")


def pseudonyms(name: str, rows: list[TableRow], link: Path) -> dict[str, str]:
    """Return case ids by patient id.

    New ids are dealt in an order keyed by the bytes of the scans, so that they carry neither the
    table's order nor anything that can be worked out from a list of patient ids.
    """
    known = _read_link(link)
    patients = {row.patient_id: row for row in rows}
    kept = {p: case_id for p, case_id in known.items() if p in patients}
    key = sha256_bytes("\n".join(sorted(_digest(row.image) for row in rows)).encode())
    new = sorted(
        (p for p in patients if p not in kept),
        key=lambda p: hashlib.sha256(f"{key}\n{p}".encode()).digest(),
    )
    taken = [int(case_id.rsplit("-", 1)[1]) for case_id in known.values()]
    first = max(taken, default=0) + 1
    return kept | {p: f"{name}-{number:04d}" for number, p in enumerate(new, start=first)}


def read_findings(root: Path) -> list[Finding]:
    """Return the findings that a build left in a cohort folder."""
    path = root / "findings.json"
    return [Finding(**item) for item in json.loads(path.read_text())] if path.is_file() else []


def _checked_name(name: str) -> str:
    if name in (CLINICAL, PHANTOM) or name.startswith(f"{PHANTOM}-"):
        raise InputError(
            "--name", [f"{name!r} is reserved for the published cohort"], "choose another name"
        )
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise InputError(
            "--name", [f"{name!r} is no dataset name"], "use letters, digits, '-', '_' and '.'"
        )
    return name


def _digest(image: Path) -> str:
    if image.is_file():
        return sha256_file(image)
    files = sorted(path for path in image.rglob("*") if path.is_file())
    return sha256_bytes("\n".join(map(sha256_file, files)).encode())


def _generator(
    rows: list[TableRow], ids: dict[str, str], name: str, n_folds: int
) -> dict[str, Any]:
    source = [
        f"{ids[r.patient_id]} {_digest(r.image)} {r.label} {r.subtype} {r.age} {r.sex}"
        for r in rows
    ]
    return {
        "command": "ictmri build folder",
        "source_sha256": sha256_bytes("\n".join(sorted(source)).encode()),
        "name": name,
        "n_folds": n_folds,
        "ictmri": __version__,
    }


def _folds(rows: list[TableRow], ids: dict[str, str], n_folds: int) -> list[FoldRow]:
    return assign_folds(
        [
            Candidate(
                case_id=ids[row.patient_id],
                patient_id=_patient_pseudonym(ids[row.patient_id]),
                label=row.label,
                subtype=row.subtype,
                sex=row.sex,
                age=row.age,
            )
            for row in rows
        ],
        n_folds,
    )


def _patient_pseudonym(case_id: str) -> str:
    stem, number = case_id.rsplit("-", 1)
    return f"{stem}-p{number}"


def _build(
    rows: list[TableRow],
    ids: dict[str, str],
    out: Path,
    generator: dict[str, Any],
    folds: list[FoldRow],
    jobs: int | None,
) -> Cohort:
    work = work_folder(out, "cases")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    items = [(row, ids[row.patient_id]) for row in rows]
    outcomes = run_all(partial(_convert, work), items, total=len(items), title="scans", jobs=jobs)
    problems = [f"row {done.row.number}: {done.problem}" for done in outcomes if done.problem]
    if problems:
        shutil.rmtree(work)
        raise InputError("scans", problems, "correct or remove these rows; nothing was written")
    findings = _findings({ids[done.row.patient_id]: done for done in outcomes}, folds)
    by_case = {ids[row.patient_id]: row for row in rows}
    plan = Plan(
        name=generator["name"],
        version=VERSION,
        synthetic=False,
        generator=generator,
        folds=folds,
        configs={"default": lambda row: _default_row(work, row, by_case[row.case_id])},
        extra_files={"findings.json": canonical_json([asdict(finding) for finding in findings])},
    )
    cohort = assemble(out, plan)
    shutil.rmtree(work)
    return cohort


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a row: a problem that stops it, or how the scan lies and what is odd about it."""

    row: TableRow
    problem: str = ""
    orientation: str = ""
    oddities: tuple[str, ...] = ()


def _convert(work: Path, item: tuple[TableRow, str]) -> _Outcome:
    from nibabel.orientations import aff2axcodes

    row, case_id = item
    try:
        scan = read_scan(row.image)
    except ScanError as error:
        return _Outcome(row, f"image {row.image.name!r} {error}")
    write_bytes(work / f"{case_id}.nii.gz", pack(scan.image, case_id)["bytes"])
    orientation = "".join(aff2axcodes(scan.image.affine))
    return _Outcome(row, orientation=orientation, oddities=tuple(scan.oddities))


def _findings(outcomes: dict[str, _Outcome], folds: list[FoldRow]) -> list[Finding]:
    found = [
        Finding(case_id, "warning", text)
        for case_id, done in sorted(outcomes.items())
        for text in done.oddities
    ]
    rows = [done.row for done in outcomes.values()]
    orientations = Counter(done.orientation for done in outcomes.values())
    if len(orientations) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in sorted(orientations.items()))
        found.append(Finding("", "warning", f"axes are stored in different orders: {shown}"))
    unknown = {
        "age": sum(math.isnan(row.age) for row in rows),
        "sex": sum(not row.sex for row in rows),
        "subtype": sum(not row.subtype for row in rows),
    }
    found += [
        Finding("", "warning", f"{column} is unknown in {count} of {len(rows)} cases")
        for column, count in unknown.items()
        if count
    ]
    small = describe_folds(folds)[1:]
    return found + [Finding("", "warning", text) for text in small]


def _default_row(work: Path, row: FoldRow, source: TableRow) -> dict[str, Any]:
    path = work / f"{row.case_id}.nii.gz"
    return {
        "case_id": row.case_id,
        "patient_id": row.patient_id,
        "image": {"bytes": path.read_bytes(), "path": path.name},
        "label": row.label,
        "subtype": source.subtype,
        "sex": source.sex or None,
        "age": None if math.isnan(source.age) else source.age,
        "fold": row.fold,
        "synthetic": False,
    }


def _read_link(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="") as stream:
        return {row["patient_id"]: row["case_id"] for row in csv.DictReader(stream)}


def _write_link(out: Path, rows: list[TableRow], ids: dict[str, str]) -> None:
    earlier = _read_link(link_path(out))
    images = {row.patient_id: row.image.name for row in rows}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(LINK_COLUMNS)
    writer.writerows((p, c, images.get(p, "")) for p, c in sorted((earlier | ids).items()))
    with replacing(link_path(out), mode=0o600) as part:
        part.write_text(stream.getvalue())
