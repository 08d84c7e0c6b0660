"""Checks of what the data files hold, beyond their digests."""

from __future__ import annotations

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.errors import InputError


def verify_cohort(cohort: Cohort) -> None:
    """Check a cohort folder as a whole: every byte, the folds, the rows, and the privacy allow-list.

    Raises:
        InputError: something is wrong with it.
    """
    from ictmri.verify.privacy import leaks

    cohort.folds()
    cohort.check()
    for config in cohort.manifest.configs:
        check_rows(cohort, config)
    found = leaks(cohort)
    if found:
        step = "build the cohort again; do not pass this one on"
        raise InputError(str(cohort.root), found, step)


def check_rows(cohort: Cohort, config: str) -> None:
    """Compare a config's cases, folds and labels with the fold table.

    Raises:
        InputError: they differ; every difference is named.
    """
    table = {row.case_id: row for row in cohort.folds().rows}
    columns = ["case_id", "fold"] + ([] if config == "truth" else ["label"])
    problems: list[str] = []
    seen: set[str] = set()
    for row in cohort.rows(config, columns):
        known = table.get(row["case_id"])
        seen.add(row["case_id"])
        if known is None:
            problems.append(f"{config}: case {row['case_id']!r} is not in folds.csv")
            continue
        if row["fold"] != known.fold:
            problems.append(f"{config}: {row['case_id']} has fold {row['fold']}, not {known.fold}")
        if "label" in row and CLASSES[row["label"]] != known.label:
            problems.append(f"{config}: {row['case_id']} is not {known.label} there")
    told = cohort.manifest.left_out if config == "processed" else {}
    problems += [
        f"{config}: case {case_id!r} is missing"
        for case_id in table
        if case_id not in seen and case_id not in told
    ]
    if problems:
        raise InputError(str(cohort.root), problems, "build the cohort again")
