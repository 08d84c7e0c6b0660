"""``ictmri build phantom``: the synthetic cohort as a cohort folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from ictmri.build.write import CASES, Plan, assemble, case_row, finished, in_order, stored
from ictmri.cohort import PHANTOM, PHANTOM_DATA, PHANTOM_SPACING, Cohort
from ictmri.folds import DEFAULT_N_FOLDS, Candidate, FoldRow, assign_folds
from ictmri.io.files import check_space, write_bytes
from ictmri.io.parallel import run_all, usable_cores
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.states import AGAIN, facts_in, needed, read_record, write_record
from ictmri.io.volumes import pack
from ictmri.phantom import DEFAULT_SEED, N_CASES, PhantomCase, render, roster
from ictmri.transaction import check_place, cohort_lock, opened_work
from ictmri.version import __version__

VERSION = list(PHANTOM_DATA)[-1]
DEFAULT_SPACING = PHANTOM_SPACING
_SECONDS_A_CASE: Final = 0.75
"""Of one core of a server of 2023, at the default spacing."""
_BYTES_A_CASE: Final = 1.24e6


def phantom_name(seed: int, n_cases: int, n_folds: int) -> str:
    """Return the dataset name: only the published phantom is called ``ictmri-phantom``."""
    parts = [PHANTOM]
    parts += [f"seed{seed}"] if seed != DEFAULT_SEED else []
    parts += [f"n{n_cases}"] if n_cases != N_CASES else []
    parts += [f"{n_folds}folds"] if n_folds != DEFAULT_N_FOLDS else []
    return "-".join(parts)


def phantom_folds(cases: list[PhantomCase], n_folds: int = DEFAULT_N_FOLDS) -> list[FoldRow]:
    """Return the fold table of a phantom cohort."""
    candidates = [
        Candidate(c.case_id, c.patient_id, c.label, c.subtype, c.sex, c.age) for c in cases
    ]
    return assign_folds(candidates, n_folds)


def build_phantom(
    out: AnyPath,
    *,
    seed: int = DEFAULT_SEED,
    n_cases: int = N_CASES,
    n_folds: int = DEFAULT_N_FOLDS,
    spacing: float = DEFAULT_SPACING,
    jobs: int | None = None,
) -> Cohort:
    """Generate a phantom cohort; the same arguments give the same bytes.

    Args:
        out: the folder to write. Finished cases are kept beside it until it is whole, so that an
            interrupted build goes on where it stopped.
        seed: other seeds give other cohorts.
        n_cases: number of cases.
        n_folds: number of folds.
        spacing: voxel size in mm.
        jobs: worker processes; all usable cores where None.

    Raises:
        InputError: ``out`` holds something else.
        MissingDependencyError: the anatomical template is not installed.
    """
    out = at_home(out)
    generator = _generator(seed, n_cases, n_folds, spacing)
    check_place(out)
    with cohort_lock(out):
        done = finished(out, generator)
        if done is not None:
            return done
        check_space(out, n_cases * _BYTES_A_CASE * (DEFAULT_SPACING / spacing) ** 3)
        drawn = roster(seed, n_cases)
        folds = phantom_folds(drawn, n_folds)
        work = opened_work(out, CASES, generator)
        cases = _rendered(drawn, work, spacing, jobs)
        plan = Plan(
            name=phantom_name(seed, n_cases, n_folds),
            version=VERSION,
            synthetic=True,
            generator=generator,
            folds=folds,
            configs={
                "default": (_default_row(work, row, cases[row.case_id]) for row in in_order(folds)),
                "truth": (_truth_row(work, row) for row in in_order(folds)),
            },
        )
        return assemble(out, plan)


def cost_text() -> str:
    """Say how long the published phantom takes here, and how much room."""
    cores = usable_cores()
    minutes = max(1, round(N_CASES * _SECONDS_A_CASE / cores / 60))
    return (
        f"{N_CASES} synthetic heads, about {minutes} minute{'s' * (minutes > 1)} on {cores} cores, "
        f"{N_CASES * _BYTES_A_CASE / 1e6:.0f} MB, and once more in the cache of datasets when it is loaded"
    )


def _generator(seed: int, n_cases: int, n_folds: int, spacing: float) -> dict[str, Any]:
    return {
        "command": "ictmri build phantom",
        "seed": seed,
        "n_cases": n_cases,
        "n_folds": n_folds,
        "spacing_mm": spacing,
        "ictmri": __version__,
    }


def _rendered(
    cases: list[PhantomCase], work: Path, spacing: float, jobs: int | None
) -> dict[str, PhantomCase]:
    """Render into ``work`` what is not there yet; return the cases by id."""
    waiting = [case for case in cases if read_record(_record(work, case.case_id)) is None]
    draw = partial(_render_to, work, spacing)
    run_all(draw, waiting, total=len(waiting), title="phantom", jobs=jobs)
    return {case.case_id: case for case in cases}


def _record(work: Path, case_id: str) -> Path:
    return work / f"{case_id}.json"


def _render_to(work: Path, spacing: float, case: PhantomCase) -> None:
    volume = render(case, spacing=spacing)
    image, mask = work / f"{case.case_id}.nii.gz", work / f"{case.case_id}_mask.nii.gz"
    write_bytes(image, pack(volume.image, case.case_id)["bytes"])
    write_bytes(mask, pack(volume.lesion_mask, "")["bytes"])
    write_record(_record(work, case.case_id), volume.parameters, [image, mask])


def _default_row(work: Path, row: FoldRow, case: PhantomCase) -> dict[str, Any]:
    image = work / f"{row.case_id}.nii.gz"
    return case_row(row, image, case.subtype, case.sex, case.age, synthetic=True)


def _truth_row(work: Path, row: FoldRow) -> dict[str, Any]:
    return {
        "case_id": row.case_id,
        "lesion_mask": stored(work / f"{row.case_id}_mask.nii.gz"),
        "parameters": json.dumps(needed(_record(work, row.case_id), facts_in, AGAIN)),
        "fold": row.fold,
        "synthetic": True,
    }
