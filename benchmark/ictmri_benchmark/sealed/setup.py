"""What an organiser decides at the beginning: cases, labels, rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from ictmri.errors import InputError
from ictmri.folds import FoldRow
from ictmri_benchmark.sealed.documents import LadderRule, Metric, Rules
from ictmri_benchmark.sealed.ladder import STEPS, default_step
from ictmri_benchmark.sealed.sources import case_problems, read_cases, read_labels


@dataclass(frozen=True, slots=True)
class Source:
    """Cases with labels, and what is told about them."""

    rows: list[FoldRow]
    name: str
    synthetic: bool = False
    images: dict[str, str] = field(default_factory=dict)
    warning: str = ""


def gather(*, labels: Path | None, cases: Path | None, cohort: str, name: str) -> Source:
    """Return the cases of ``labels`` or of a cohort.

    Raises:
        InputError: not exactly one of the two is given, or they cannot be a sealed set.
    """
    if bool(cohort) == (labels is not None):
        raise InputError(
            "labels", ["give either --labels or --cohort"], "ictmri sealed init --help"
        )
    listed = read_cases(cases) if cases else None
    source = _of_cohort(cohort, name) if labels is None else Source(read_labels(labels), name)
    problems = case_problems(source.rows, listed)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", source.name):
        problems.append("--name: 1 to 64 letters, digits, dots, dashes and underscores")
    if problems:
        raise InputError("challenge", problems, "correct these; nothing was written")
    images = {case: digest for case, digest in (listed or {}).items() if digest}
    return Source(source.rows, source.name, source.synthetic, images, source.warning)


def _of_cohort(cohort: str, name: str) -> Source:
    from ictmri.cohort import published_names
    from ictmri.lookup import find_folds

    table, synthetic = find_folds(cohort)
    public = table.name in published_names()
    warning = f"the labels of {table.name} are public: this can only be a rehearsal"
    rows = list(table.rows)
    return Source(rows, name or table.name, synthetic, warning=warning if public else "")


def make_rules(n_cases: int, metric: Metric, limits: tuple[int, int, int], step: str = "") -> Rules:
    """Return the rules of a challenge.

    Args:
        n_cases: number of cases.
        metric: the number that is released.
        limits: quota, submissions in 24 hours, submissions of all.
        step: released values are its multiples; :func:`default_step` where empty.

    Raises:
        InputError: a limit or the step is out of range.
    """
    least, known = default_step(n_cases), [str(s) for s in STEPS]
    problems = [f"{n} is not 1 to 1,000,000" for n in limits if not 1 <= n <= 1_000_000]
    if step and step not in known:
        problems.append(f"--step {step[:20]!r} is not one of {', '.join(known)}")
    elif step and Decimal(step) < least:
        problems.append(f"--step {step} is finer than two of {n_cases} cases: at least {least}")
    if problems:
        raise InputError("rules", problems, "ictmri sealed init --help")
    quota, per_day, total = limits
    ladder = LadderRule(rule="parameter-free", step=step or str(least))
    return Rules(metric=metric, quota=quota, per_day=per_day, total=total, ladder=ladder)
