"""Where an organiser's cases and labels come from: tables of their own, or a cohort."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest
from ictmri.folds import CASE_ID, DEFAULT_N_FOLDS, Candidate, FoldRow, assign_folds
from ictmri.io.csvfile import read_csv
from ictmri_benchmark.sealed.documents import MAX_CASES

MIN_CASES: Final = 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def read_labels(path: Path) -> list[FoldRow]:
    """Read ``case_id,label``; each case is a patient of its own.

    The cases are dealt into blocks by the fold rule, so that the report has its spread over blocks.

    Raises:
        InputError: it is no such table; every problem is named with its row.
    """
    rows = _table(path, ("case_id", "label"))
    problems = [
        f"row {number}: unknown class {label[:30]!r}{nearest(label[:50].lower(), CLASSES)}"
        for number, (_, label) in rows
        if label not in CLASSES
    ]
    problems += _id_problems([case for _, (case, _) in rows])
    if problems:
        raise InputError(str(path), problems, f"columns case_id,label; {', '.join(CLASSES)}")
    return assign_folds(
        [Candidate(case, case, label) for _, (case, label) in rows], DEFAULT_N_FOLDS
    )


def read_cases(path: Path) -> dict[str, str]:
    """Read ``case_id`` or ``case_id,image_sha256`` and return the digest (or an empty text) by case.

    Raises:
        InputError: it is no such table; every problem is named.
    """
    header = read_csv(path, "case_id,image_sha256").header
    if header == ["case_id"]:
        rows = [(n, cells[0], "") for n, cells in _table(path, ("case_id",))]
    else:
        rows = [(n, cells[0], cells[1]) for n, cells in _table(path, ("case_id", "image_sha256"))]
    problems = _id_problems([case for _, case, _ in rows])
    problems += [
        f"row {number}: {digest[:20]!r} is not a SHA-256"
        for number, _, digest in rows
        if len(header) == 2 and not _SHA256.fullmatch(digest)
    ]
    if problems:
        raise InputError(str(path), problems, "columns case_id or case_id,image_sha256")
    return {case: digest for _, case, digest in rows}


def case_problems(rows: Sequence[FoldRow], cases: dict[str, str] | None) -> list[str]:
    """Say why these cases cannot be a sealed set, or are not those of the case list."""
    ids = {row.case_id for row in rows}
    problems = _id_problems(sorted(ids))
    if len(ids) < MIN_CASES:
        problems.append(f"{len(ids)} cases; under {MIN_CASES} every released value tells too much")
    telling = sorted(case for case in ids if any(name in case.lower() for name in CLASSES))
    if telling:
        problems.append(f"case ids that name a class: {', '.join(telling[:5])}")
    if cases is not None:
        unlabelled, unlisted = sorted(set(cases) - ids), sorted(ids - set(cases))
        problems += [f"no label for {', '.join(unlabelled[:5])}"] if unlabelled else []
        problems += [f"not in the case list: {', '.join(unlisted[:5])}"] if unlisted else []
    return problems


def _table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Return the cells of each row with its line."""
    file = read_csv(path, ",".join(columns), MAX_CASES)
    if tuple(file.header) != columns:
        raise InputError(str(path), [f"row 1: the header must be {','.join(columns)}"])
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in file.rows()]
    wrong = [number for number, cells in rows if len(cells) != len(columns)]
    if wrong:
        raise InputError(str(path), (f"row {n}: not {len(columns)} cells" for n in wrong))
    return rows


def _id_problems(ids: Sequence[str]) -> list[str]:
    problems = [
        f"case id {case[:70]!r}: 1 to 64 letters, digits, dots, dashes and underscores"
        for case in ids
        if not CASE_ID.fullmatch(case)
    ]
    counts = Counter(ids)
    return problems + [
        f"case {case[:70]!r} stands {n} times" for case, n in counts.items() if n > 1
    ]
