"""The next version of a cohort: patients who were there keep their case id and their fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ictmri.build.pseudonyms import link_path
from ictmri.changes import Part, revised
from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.folds import FoldRow
from ictmri.io.files import sha256_file
from ictmri.manifest import FILE_NAME as MANIFEST
from ictmri.manifest import Manifest

_NO_LINK: Final = (
    "no link file beside it, so nobody can say who was there; bring {link} back to its place"
)


def successor_settings(previous: Cohort, name: str | None, n_folds: int) -> dict[str, Any]:
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


def next_manifest(previous: Cohort, folds: Sequence[FoldRow]) -> Manifest:
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
