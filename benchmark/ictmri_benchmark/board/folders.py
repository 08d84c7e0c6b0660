"""Where entries lie: those that ship with the package, and those of whoever submits.

``benchmark/entries/<cohort>/`` in the repository, and in the package what is in the wheel of it; ``submit``
writes into ``entries/<cohort>/`` of the working directory. Each such folder holds a folder an entry, with
``entry.yaml``, ``predictions.csv`` and ``report.json``, and the ``ledger.csv`` of them all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ictmri.cohort import CLINICAL, published_names
from ictmri.errors import InputError
from ictmri.io.resources import shipped
from ictmri_benchmark.board.entry import SLUG

LOCAL: Final = Path("entries")
"""In the working directory: a folder for each cohort."""
COHORT: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Names of cohorts that are names of folders."""


def shipped_entries(cohort: str) -> Path:
    """Return the folder of a cohort's published entries, which need not be there."""
    return shipped("entries") / _folder_name(cohort)


def local_entries(cohort: str) -> Path:
    """Return the folder of a cohort's entries in the working directory, which need not be there."""
    return LOCAL / _folder_name(cohort)


def board_folders(cohort: str) -> list[Path]:
    """Return the folders of a cohort's entries that are here: the published ones first."""
    places = (shipped_entries(cohort), local_entries(cohort))
    # In the repository's own folder of published entries both could be one.
    return list({place.resolve(): place for place in places if place.is_dir()}.values())


def folder_with(slug: str, cohort: str) -> Path:
    """Return the folder of a cohort's entries that holds an entry; one's own where none or both do."""
    own, published = local_entries(cohort), shipped_entries(cohort)
    names = {place.name for place in entry_folders(published)}
    return published if slug in names and not (own / slug).is_dir() else own


def own_folder_with(slug: str) -> Path:
    """Return the folder of one's own entries that holds an entry.

    Raises:
        InputError: none does, or those of several cohorts do.
    """
    # After a killed withdrawal the entry has a name with a dot.
    found = sorted(
        place
        for place in LOCAL.glob("[!.]*/")
        if slug in {path.name for path in entry_folders(place)}
        or (re.fullmatch(SLUG, slug) and (place / f".{slug}.gone").is_dir())
    )
    if len(found) == 1:
        return found[0]
    told = f"in {', '.join(map(str, found))}" if found else f"not in {LOCAL.resolve()}"
    raise InputError(f"entry {slug!r}", [told], "give the folder of the entries: --entries")


def board_cohorts() -> list[str]:
    """Return the cohorts that have a board here: clinical, published, with entries."""
    places = (place for root in (shipped("entries"), LOCAL) for place in root.glob("[!.]*"))
    here = {place.name for place in places if place.is_dir() and re.fullmatch(COHORT, place.name)}
    return list(dict.fromkeys((CLINICAL, *published_names(), *sorted(here))))


def _folder_name(cohort: str) -> str:
    if not re.fullmatch(COHORT, cohort):
        problem = f"the cohort's name {cohort!r} is no name of a folder"
        raise InputError("entries", [problem], "give the folder of the entries: --entries")
    return cohort


def is_shipped(entries: Path) -> bool:
    """Say whether a folder of entries is one of those that ship with the package."""
    return entries.resolve().parent == shipped("entries").resolve()


def entry_folders(entries: Path) -> list[Path]:
    """Return the folders of the entries by slug; links and what is unfinished are left out."""
    return sorted(
        path.parent
        for path in entries.glob("*/entry.yaml")
        if not path.parent.name.startswith(".")
        and not any(p.is_symlink() for p in (path.parent, *path.parent.iterdir()))
    )


def is_run(folder: Path) -> bool:
    """Say whether an entry is a run of ``ictmri reproduce``: made here, never submitted."""
    return (folder / "run.json").is_file()
