"""A new version of a cohort without some of its cases; the folds of all others stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from ictmri.build.pseudonyms import copy_link_file, link_path
from ictmri.build.write import publish_documents, write_config
from ictmri.changes import FILE_NAME as CHANGES
from ictmri.changes import changes_text, revised
from ictmri.cohort import ACQUISITION, Cohort, open_cohort, read_acquisition
from ictmri.errors import InputError, nearest
from ictmri.folds import FoldRow, write_folds
from ictmri.io.csvfile import csv_text
from ictmri.io.files import is_free, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri.scans.findings import FILE_NAME as FINDINGS
from ictmri.scans.findings import findings_text, read_findings
from ictmri.transaction import assembled, cohort_lock, transaction

REASONS: Final = {
    "consent": "Withdrawn: consent was taken back.",
    "duplicate": "Withdrawn: the patient was in the cohort twice.",
    "diagnosis": "Withdrawn: the diagnosis was revised or is in doubt.",
    "quality": "Withdrawn: the scan cannot be used.",
    "other": "Withdrawn.",
}
"""Why a case may leave: fixed texts, so that nothing about a person is written down."""


def withdraw(cohort: Cohort, case_ids: list[str], reason: str, out: AnyPath) -> Cohort:
    """Write the next major version of a cohort without some cases; the old folder stays as it is.

    Args:
        cohort: any cohort folder.
        case_ids: who leaves.
        reason: a key of :data:`REASONS`.
        out: folder of the new version.

    Raises:
        InputError: unknown cases or reason, ``out`` is taken, or a fold would be empty.
    """
    out = at_home(out)
    _check(cohort, case_ids, reason, out)
    change = REASONS[reason] + " The folds of all other cases are unchanged."
    with cohort_lock(out):
        # Whoever was waited for may have written there, and somebody else have changed the cohort.
        cohort = open_cohort(cohort.root)
        kept = _check(cohort, case_ids, reason, out)
        cohort.check()
        _write(cohort, case_ids, kept, change, out)
    return open_cohort(out)


def _write(
    cohort: Cohort, case_ids: list[str], kept: list[FoldRow], change: str, out: Path
) -> None:
    with assembled(out) as part:
        digest = write_folds(part / "folds.csv", kept)
        for config in cohort.manifest.configs:
            left_out = cohort.manifest.left_out if config == "processed" else {}
            cases = {row.case_id: row for row in kept if row.case_id not in left_out}
            stored = (row for row in cohort.rows(config) if row["case_id"] in cases)
            write_config(part, config, cases.values(), stored)  # type: ignore[arg-type]
        _copy_the_rest(cohort, part, {row.case_id for row in kept})
        manifest = replace(
            revised(cohort.manifest, "major", change, cases=case_ids),
            n_cases=len(kept),
            folds_sha256=digest,
        )
        write_text(part / CHANGES, changes_text(manifest))
        publish_documents(part, manifest)
        cohort.check_unchanged()
        if link_path(cohort.root).is_file():
            # Who left keeps his case id there, and the others' names are looked for when it is published.
            copy_link_file(cohort.root, out)


def add_erratum(cohort: Cohort, text: str, case_ids: list[str]) -> Cohort:
    """Add an erratum to a cohort: the next patch version, the same data.

    Args:
        cohort: the cohort; changed in place.
        text: what readers must know.
        case_ids: the cases that it concerns; may be empty.

    Raises:
        InputError: unknown cases, or no text.
    """
    problems = _unknown(cohort.folds().case_ids, case_ids)
    if not text.strip():
        problems.append("the text of the erratum is empty")
    if problems:
        raise InputError("erratum", problems, "nothing was written")
    with cohort_lock(cohort.root):
        before = open_cohort(cohort.root).manifest  # of whoever held the lock
        manifest = revised(before, "patch", f"Erratum: {text.strip()}", cases=case_ids)
        with transaction(cohort.root) as draft:
            write_text(draft / CHANGES, changes_text(manifest))
            publish_documents(draft, manifest)
    return open_cohort(cohort.root)


def _check(cohort: Cohort, case_ids: list[str], reason: str, out: Path) -> list[FoldRow]:
    """Return the rows that stay; an InputError says why nothing can be written."""
    rows = cohort.folds().rows
    kept = [row for row in rows if row.case_id not in set(case_ids)]
    problems = _unknown([row.case_id for row in rows], case_ids)
    if not case_ids:
        problems.append("no case was named")
    if reason not in REASONS:
        problems.append(f"unknown reason {reason!r}; choose {', '.join(REASONS)}")
    if not is_free(out):
        problems.append(f"{out} is taken: a version is never written over another")
    elif out.resolve().is_relative_to(cohort.root.resolve()):
        problems.append(f"{out} lies inside the cohort")
    emptied = {row.fold for row in rows} - {row.fold for row in kept}
    problems += [f"fold {fold} would be empty" for fold in sorted(emptied)]
    if problems:
        raise InputError("withdraw", problems, "correct these; nothing was written")
    return kept


def _unknown(known: list[str], case_ids: list[str]) -> list[str]:
    return [
        f"no case {case_id!r} in the cohort{nearest(case_id, known)}"
        for case_id in case_ids
        if case_id not in set(known)
    ]


def _copy_the_rest(cohort: Cohort, part: Path, kept: set[str]) -> None:
    """Copy what else the folder holds about the cases that stay."""
    findings = [f for f in read_findings(cohort.root) if not f.case_id or f.case_id in kept]
    if (cohort.root / FINDINGS).is_file():
        write_text(part / FINDINGS, findings_text(findings))
    acquisition = read_acquisition(cohort.root)
    if acquisition:
        header = ["case_id", *next(iter(acquisition.values()))]
        rows = (
            [case_id, *cells.values()] for case_id, cells in acquisition.items() if case_id in kept
        )
        write_text(part / ACQUISITION, csv_text(header, rows))
    for boxes in sorted(cohort.root.glob("boxes/*.jsonl")):
        lines = boxes.read_text(encoding="utf-8").splitlines(keepends=True)
        mine = [line for line in lines if json.loads(line)["case_id"] in kept]
        write_text(part / "boxes" / boxes.name, "".join(mine))
