"""``ictmri build folder``: a cohort folder from an owner's table of scans."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri import __version__
from ictmri.builders.assemble import Plan, assemble, finished
from ictmri.builders.change import alone_with, work_folder
from ictmri.builders.dicom_volume import ACQUISITION_COLUMNS
from ictmri.builders.findings import FILE_NAME as FINDINGS
from ictmri.builders.findings import Finding, findings_text, read_findings
from ictmri.builders.ingest import findings_of, ingest, outcomes, volume_path
from ictmri.builders.pseudonyms import link_path, patient_pseudonym, pseudonyms, write_link
from ictmri.builders.scans import DICOM_ENDINGS
from ictmri.builders.table import TableRow, read_table
from ictmri.cohort import CLINICAL, PHANTOM, Cohort
from ictmri.errors import InputError, MissingDependencyError
from ictmri.files import sha256_bytes, sha256_file
from ictmri.folds import DEFAULT_N_FOLDS, Candidate, FoldRow, assign_folds, describe_folds

VERSION: Final = "1.0.0"


@dataclass(frozen=True, slots=True)
class FolderBuild:
    """A finished build.

    Attributes:
        cohort: the cohort.
        findings: what was odd, and which cases are not in it.
        folds: what the fold rule did.
        details: what libraries said of the scans that could not be read; for the owner alone.
    """

    cohort: Cohort
    findings: list[Finding]
    folds: list[str]
    details: list[str]


def build_folder(
    table: Path,
    out: Path,
    *,
    name: str | None = None,
    n_folds: int = DEFAULT_N_FOLDS,
    local: bool = False,
    jobs: int | None = None,
) -> FolderBuild:
    """Build a cohort folder from an owner's table.

    Scans that cannot be used are named in the findings and left out; the rest is built. Patient ids and
    file names do not enter the folder: cases get pseudonyms, and the link between ids and pseudonyms is
    written beside it, to ``<out>.link.csv``, readable by the owner alone. Patients that stand in an
    existing link file keep their pseudonyms.

    Args:
        table: CSV with the columns of :mod:`ictmri.builders.table`.
        out: the folder to write.
        name: dataset name; the name of ``out`` where None.
        n_folds: number of folds.
        local: the cohort is never to be published, its faces stay.
        jobs: worker processes; all usable cores where None.

    Raises:
        InputError: the table or the arguments are wrong, every problem is named; or no scan can be used.
    """
    name = _checked_name(name or out.resolve().name)
    rows = read_table(table)
    _need_dicom(rows)
    with alone_with(out):
        digests = {row.patient_id: _digest(row.image) for row in rows}
        ids = pseudonyms(name, rows, digests, link_path(out))
        generator = _generator(rows, ids, digests, name, n_folds, local=local)
        done = finished(out, generator)
        details: list[str] = []
        if done is None:
            # Written first: a build that is cut off deals the same pseudonyms again.
            write_link(link_path(out), rows, ids)
            done, details = _build(rows, ids, out, generator, jobs)
        return FolderBuild(
            done, read_findings(done.root), describe_folds(done.folds().rows), details
        )


def _need_dicom(rows: list[TableRow]) -> None:
    """Ask for the DICOM libraries before a scan is taken for damaged because they are missing."""
    from importlib.util import find_spec

    if any(
        row.image.is_dir() or row.image.name.lower().endswith(DICOM_ENDINGS) for row in rows
    ) and any(find_spec(module) is None for module in ("pydicom", "highdicom", "dicomanonymizer")):
        raise MissingDependencyError("Reading DICOM", "build")


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
    rows: list[TableRow],
    ids: Mapping[str, str],
    digests: Mapping[str, str],
    name: str,
    n_folds: int,
    *,
    local: bool,
) -> dict[str, Any]:
    source = [
        f"{ids[r.patient_id]} {digests[r.patient_id]} {r.label} {r.subtype} {r.age} {r.sex}"
        for r in rows
    ]
    return {
        "command": "ictmri build folder",
        "source_sha256": sha256_bytes("\n".join(sorted(source)).encode()),
        "name": name,
        "n_folds": n_folds,
        "ictmri": __version__,
    } | ({"local": True} if local else {})


def _build(
    rows: list[TableRow],
    ids: Mapping[str, str],
    out: Path,
    generator: dict[str, Any],
    jobs: int | None,
) -> tuple[Cohort, list[str]]:
    work = work_folder(out, "cases")
    ingest(rows, ids, work, generator, jobs)
    case_ids = sorted(ids.values())
    findings = findings_of(work, case_ids)
    details = _details(rows, ids, work, findings)
    lost = {found.case_id for found in findings if found.severity == "error"}
    kept = {ids[r.patient_id]: r for r in rows if ids[r.patient_id] not in lost}
    if not kept:
        raise InputError("scans", details, "correct these rows; nothing was written")
    folds = _folds(kept, generator["n_folds"])
    findings += _cohort_findings(kept, folds, len(lost))
    plan = Plan(
        name=generator["name"],
        version=VERSION,
        synthetic=False,
        generator=generator,
        folds=folds,
        configs={"default": lambda row: _default_row(work, row, kept[row.case_id])},
        extra_files={
            FINDINGS: findings_text(findings),
            **_acquisition_file(work, sorted(kept)),
        },
    )
    cohort = assemble(out, plan)
    shutil.rmtree(work)
    return cohort, details


def _details(
    rows: list[TableRow], ids: Mapping[str, str], work: Path, findings: list[Finding]
) -> list[str]:
    """Return a line for each scan that was lost, in the owner's words: row, file name, library."""
    errors = {found.case_id: found.text for found in findings if found.severity == "error"}
    said = {done.case_id: done.detail for done in outcomes(work, errors)}
    return [
        f"row {row.number}: image {row.image.name!r} {errors[case_id]}"
        + (f" [{said[case_id]}]" if said[case_id] else "")
        for row in rows
        if (case_id := ids[row.patient_id]) in errors
    ]


def _folds(kept: Mapping[str, TableRow], n_folds: int) -> list[FoldRow]:
    return assign_folds(
        [
            Candidate(
                case_id=case_id,
                patient_id=patient_pseudonym(case_id),
                label=row.label,
                subtype=row.subtype,
                sex=row.sex,
                age=row.age,
            )
            for case_id, row in kept.items()
        ],
        n_folds,
    )


def _cohort_findings(
    kept: Mapping[str, TableRow], folds: list[FoldRow], lost: int
) -> list[Finding]:
    rows = kept.values()
    unknown = {
        "age": sum(math.isnan(row.age) for row in rows),
        "sex": sum(not row.sex for row in rows),
        "subtype": sum(not row.subtype for row in rows),
    }
    texts = [f"{lost} of {lost + len(rows)} cases are not in the cohort"] if lost else []
    texts += [
        f"{column} is unknown in {count} of {len(rows)} cases"
        for column, count in unknown.items()
        if count
    ]
    return [Finding("", "warning", text) for text in texts + describe_folds(folds)[1:]]


def _acquisition_file(work: Path, case_ids: list[str]) -> dict[str, str]:
    """Return ``acquisition.csv`` where at least one scan told how it was made."""
    known = {done.case_id: done.acquisition for done in outcomes(work, case_ids)}
    if not any(known.values()):
        return {}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("case_id", *ACQUISITION_COLUMNS))
    for case_id, facts in known.items():
        writer.writerow((case_id, *(facts.get(column, "") for column in ACQUISITION_COLUMNS)))
    return {"acquisition.csv": stream.getvalue()}


def _default_row(work: Path, row: FoldRow, source: TableRow) -> dict[str, Any]:
    path = volume_path(work, row.case_id)
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
