"""The cases and labels of a challenge: where an organiser has them from, and the commitment to them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ictmri.classes import CLASSES
from ictmri.errors import InputError, nearest, validation_problems
from ictmri.folds import (
    CASE_ID,
    DEFAULT_N_FOLDS,
    Candidate,
    FoldRow,
    FoldTable,
    assign_folds,
    read_folds,
)
from ictmri.io.csvfile import read_csv
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.score import ladder
from ictmri_benchmark.sealed import documents

_MIN_CASES: Final = 20
_ID: Final = "1 to 64 letters, digits, dots, dashes and underscores"
_HELP: Final = "ictmri sealed init --help"


def commit(rows: Sequence[FoldRow], salt: bytes) -> documents.Commitment:
    """Return the commitment to the labels (and folds) of all cases, whatever their order.

    Binding through SHA-256, hiding through a secret salt. Per case ``key = HMAC-SHA256(salt, case_id)`` and
    ``leaf = HMAC-SHA256(key, row)``, so that one case can be opened without the salt of the others; the
    root is the SHA-256 of all leaves in the order of the case ids. Without the salt a guessed label cannot
    be tried out, although there are only four; a digest without it would be opened by four tries a case.
    """
    if len(salt) != 32:
        raise ValueError("a salt has 32 bytes")
    leaves = b""
    for row in sorted(rows, key=lambda row: row.case_id):
        key = hmac.digest(salt, row.case_id.encode(), "sha256")
        content = documents.compact([row.case_id, row.patient_id, row.label, row.fold])
        leaves += hmac.digest(key, content, "sha256")
    root = hashlib.sha256(leaves).hexdigest()
    return documents.Commitment(scheme="hmac-sha256/1", root=root)


def read_committed(path: Path, salt: bytes, challenge: documents.Challenge) -> FoldTable:
    """Read a fold table; an InputError says where it is not what was committed to at the beginning."""
    table = read_folds(path, challenge.name)
    problems = []
    if table.case_ids != list(challenge.cases):
        problems.append("not the cases of the challenge in their order")
    if commit(table.rows, salt) != challenge.commitment:
        problems.append("not the labels that were committed to at the beginning")
    if problems:
        raise InputError(str(path), problems, "restore the file as it was; nothing was scored")
    return table


@dataclass(frozen=True, slots=True)
class LabelledCases:
    """Cases with labels, and what is told about them; ``images`` are digests by case, or empty."""

    rows: Sequence[FoldRow]
    name: str
    synthetic: bool = False
    images: dict[str, str] = field(default_factory=dict)
    warning: str = ""


def gather(
    *, labels: AnyPath | None, cases: AnyPath | None, cohort: str, name: str
) -> LabelledCases:
    """Return the cases of ``labels`` or of a cohort; an InputError says why they cannot be a sealed set."""
    labels = None if labels is None else at_home(labels)
    cases = None if cases is None else at_home(cases)
    if bool(cohort) == (labels is not None):
        raise InputError("labels", ["give either --labels or --cohort"], _HELP)
    listed = _by_case(cases, "case_id", "case_id,image_sha256") if cases else {}
    images = {case: digest for case, digest in listed.items() if digest}
    problems = [
        f"case {case}: {digest[:20]!r} is not a SHA-256"
        for case, digest in images.items()
        if not re.fullmatch("[0-9a-f]{64}", digest)
    ]
    if labels is None:
        found = _of_cohort(cohort, name, images)
    else:
        labelled = _by_case(labels, "case_id,label")
        problems += [
            f"case {case}: unknown class {label[:30]!r}{nearest(label[:50].lower(), CLASSES)}"
            for case, label in labelled.items()
            if label not in CLASSES
        ]
        # Each case is a patient of its own, dealt into blocks so that the report has its spread over them.
        dealt = [Candidate(case, case, x) for case, x in labelled.items() if x in CLASSES]
        found = LabelledCases(assign_folds(dealt, DEFAULT_N_FOLDS), name, images=images)
    problems += _set_problems(found, listed.keys() if cases else None)
    if problems:
        raise InputError("challenge", problems, "correct these; nothing was written")
    return found


def _by_case(path: Path, *headers: str) -> dict[str, str]:
    """Return the second cell of a table, empty where it has one column, by the first."""
    file = read_csv(path, headers[-1], documents.MAX_CASES)
    if ",".join(file.header) not in headers:
        raise InputError(str(path), [f"row 1: the header must be {' or '.join(headers)}"], _HELP)
    found: dict[str, str] = {}
    problems = []
    for number, cells in file.rows():
        case = cells[0].strip()
        if len(cells) != len(file.header):
            problems.append(f"row {number}: not {len(file.header)} cells")
        if not CASE_ID.fullmatch(case):
            problems.append(f"row {number}: case id {case[:70]!r}: {_ID}")
        if case in found:
            problems.append(f"row {number}: case {case[:70]!r} stands there twice")
        found[case] = "".join(cells[1:2]).strip()
    if problems:
        raise InputError(str(path), problems, "correct these rows; nothing was written")
    return found


def _set_problems(found: LabelledCases, listed: Set[str] | None) -> Iterator[str]:
    ids = {row.case_id for row in found.rows}
    listed = ids if listed is None else listed
    if len(ids) < _MIN_CASES:
        yield f"{len(ids)} cases; under {_MIN_CASES} every released value tells too much"
    if telling := [case for case in sorted(ids) if any(name in case.lower() for name in CLASSES)]:
        yield f"case ids that name a class: {', '.join(telling[:5])}"
    if unlabelled := sorted(listed - ids):
        yield f"no label for {', '.join(unlabelled[:5])}"
    if unlisted := sorted(ids - listed):
        yield f"not in the case list: {', '.join(unlisted[:5])}"
    if not CASE_ID.fullmatch(found.name):
        yield f"--name: {_ID}"


def _of_cohort(cohort: str, name: str, images: dict[str, str]) -> LabelledCases:
    from ictmri.cohort import published_names
    from ictmri.lookup import find_folds

    table, synthetic = find_folds(cohort)
    public = table.name in published_names()
    warning = f"the labels of {table.name} are public: this can only be a rehearsal"
    told = warning if public else ""
    return LabelledCases(table.rows, name or table.name, synthetic, images, told)


def make_rules(n_cases: int, step: str = "", **given: Any) -> documents.ChallengeRules:
    """Return the rules of a challenge; an InputError names what is out of range.

    Args:
        n_cases: number of cases.
        step: released values are its multiples; two cases of accuracy where empty.
        given: the other rules.
    """
    least, known = ladder.default_step(n_cases), [str(s) for s in ladder.STEPS]
    problems = []
    if step and step not in known:
        problems.append(f"--step {step[:20]!r} is not one of {', '.join(known)}")
    elif step and Decimal(step) < least:
        problems.append(f"--step {step} is finer than two of {n_cases} cases: at least {least}")
    rule = {"rule": "parameter-free", "step": str(least) if problems or not step else step}
    try:
        rules = documents.ChallengeRules.model_validate({**given, "ladder": rule})
    except ValidationError as error:
        problems += validation_problems(error, "rules")
    if problems:
        raise InputError("rules", problems, _HELP)
    return rules
