"""The cohorts that have a name, and those that lie here, a line each: for ``ictmri list`` and shells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ictmri.cohort import Cohort


def list_cohorts() -> Iterator[tuple[str, str]]:
    """Yield name and line of the cohorts that have a name, and of those that lie where cohorts do."""
    from ictmri.cohort import CLINICAL, PHANTOM
    from ictmri.errors import InputError
    from ictmri.lookup import GATED_SOURCE, cohorts_nearby, local_cohort

    absent = {
        CLINICAL: f"clinical, not here: ask for access at {GATED_SOURCE}",
        PHANTOM: "SYNTHETIC, 249 cases, not here: scoring needs no volumes, loading makes them",
    }
    seen = set()
    for name, line in absent.items():
        try:
            found = local_cohort(name)
        except InputError as error:
            yield name, f"damaged: {error.problems[0]}"
            continue
        yield name, line if found is None else _cohort_line(found)
        seen |= {found.root.resolve()} if found else set()
    for found in cohorts_nearby():
        if found.root.resolve() not in seen:
            yield str(found.root), _cohort_line(found)


def _cohort_line(cohort: Cohort) -> str:
    manifest = cohort.manifest
    kind = "SYNTHETIC, " if cohort.synthetic else ""
    configs = ", ".join(manifest.configs)
    return f"{kind}{manifest.n_cases} cases, {cohort.name} {manifest.version} ({configs}), in {cohort.root}"
