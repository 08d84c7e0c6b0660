"""What processing and localisation have in common: a work folder, finished cases, a page beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ictmri.cohort import Cohort, open_cohort
from ictmri.io.cluster import Cluster
from ictmri.io.parallel import run_all
from ictmri.io.states import AGAIN, DAMAGED, facts_in, needed, read_record, write_record
from ictmri.transaction import close_work, cohort_lock, opened_work


@dataclass(frozen=True, slots=True)
class Workers:
    """Where cases are worked on.

    Attributes:
        jobs: local processes; all usable cores where None.
        scheduler: address of a Dask scheduler whose workers see the same disk; local where None.
    """

    jobs: int | None = None
    scheduler: str | None = None


def resumed(
    cohort: Cohort,
    step: str,
    settings: dict[str, Any],
    make: Callable[[Cohort, Path], Cohort],
    *,
    source: str,
    prepare: Callable[[Cohort], Any] = lambda cohort: cohort,
) -> Cohort:
    """Do a step over a cohort, going on where it stopped; nothing where it was done with these settings.

    Args:
        cohort: nobody else changes it meanwhile.
        step: its name in the manifest.
        settings: all that the result follows from.
        make: does it, given the cohort as it is and a work folder, and returns the changed cohort.
        source: config that it reads; finished work on other data or settings is of no use.
        prepare: what must succeed before finished work of other settings is given up.
    """
    with cohort_lock(cohort.root):
        cohort = open_cohort(cohort.root)
        done = cohort.manifest.steps.get(step, {}).get("settings") == settings
        if done:
            cohort.check(prefix="data/processed/", quick=True)
        else:
            prepare(cohort)
            key = settings | {"data_sha256": cohort.manifest.digest_of(source)}
            cohort = make(cohort, opened_work(cohort.root, step, key).resolve())
        close_work(cohort.root, step)
        return cohort


def each_case(
    function: Callable[[dict[str, Any]], None],
    rows: Iterator[dict[str, Any]],
    *,
    total: int,
    work: Path,
    title: str,
    workers: Workers,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run ``function`` over the rows whose case is not finished in ``work``.

    ``environment``: variables that its worker processes start with, see :func:`ictmri.io.parallel.run_all`.
    """
    records = {path.name.removesuffix(DONE): path for path in work.glob(f"*{DONE}")}
    done = {case_id for case_id, path in records.items() if read_record(path) is not None}
    run_all(
        function,
        (row for row in rows if row["case_id"] not in done),
        total=total - len(done),
        title=title,
        jobs=workers.jobs,
        scheduler=Cluster(workers.scheduler, work) if workers.scheduler else None,
        name=_case_id,
        environment=environment,
    )


def _case_id(row: dict[str, Any]) -> str:
    return str(row["case_id"])


DONE = ".done.json"
"""Ending of the file that says that a case is finished; written last."""


def finish_case(work: Path, case_id: str, facts: dict[str, Any]) -> None:
    """Record that a case is finished, with everything that was written of it."""
    files = [path for path in work.glob(f"{case_id}[._]*") if path.suffix != DAMAGED]
    files = [path for path in files if path.is_file() and not path.name.endswith(DONE)]
    write_record(work / f"{case_id}{DONE}", facts, files)


def facts_of(work: Path, case_id: str) -> dict[str, Any]:
    """Return what was recorded about a finished case."""
    return needed(work / f"{case_id}{DONE}", facts_in, AGAIN)


def volume(path: Path, case_id: str) -> dict[str, Any] | None:
    """Return a stored volume as a row of the data files holds it, None where there is none."""
    return {"bytes": path.read_bytes(), "path": f"{case_id}.nii.gz"} if path.is_file() else None
