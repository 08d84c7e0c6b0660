"""Where entries lie: those that ship with the package, and those of whoever submits.

``benchmark/entries/<cohort>/`` in the repository, and in the package what is in the wheel of it; ``submit``
writes into ``entries/<cohort>/`` of the working directory. Each such folder holds a folder an entry, with
``entry.yaml``, ``predictions.csv`` and ``report.json``, and the ``ledger.csv`` of them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ictmri.cohort import CLINICAL, published_names
from ictmri.errors import InputError
from ictmri.io.csvfile import MAX_BYTES, read_csv
from ictmri.io.files import read_plain
from ictmri.io.resources import shipped
from ictmri_benchmark.board.entry import SLUG, load_entry
from ictmri_benchmark.score.mistakes import HEADERS

LOCAL: Final = Path("entries")
"""In the working directory: a folder for each cohort."""
COHORT: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Names of cohorts that are names of folders."""
_STEP: Final = "say which cohort it is: --cohort NAME or a cohort folder"
_CELLS: Final = re.compile(r"[,;\t\r\n\"]+")


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


def folder_with(slug: str, cohort: str = "") -> Path:
    """Return the folder of a cohort's entries that holds an entry; one's own where none or both do.

    Raises:
        InputError: no cohort is named, and not exactly one has such an entry.
    """
    if not cohort:
        known = [name for name in board_cohorts() if slug in _slugs(name)]
        if len(known) != 1:
            told = (
                f"is an entry of {', '.join(known)}" if known else "is no entry of any board here"
            )
            raise InputError(f"entry {slug!r}", [told], _STEP)
        cohort = known[0]
    own, published = local_entries(cohort), shipped_entries(cohort)
    names = {place.name for place in entry_folders(published)}
    return published if slug in names and not (own / slug).is_dir() else own


def _slugs(cohort: str) -> set[str]:
    return {place.name for folder in board_folders(cohort) for place in entry_folders(folder)}


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


def entry_folders(entries: Path, problems: list[str] | None = None) -> list[Path]:
    """Return the folders of the entries by name; what is unfinished is left out.

    So is what holds a link; it is named in ``problems``, where that is given.
    """
    found = []
    for path in sorted(entries.glob("[!.]*/entry.yaml")):
        if not any(part.is_symlink() for part in (path.parent, *path.parent.iterdir())):
            found.append(path.parent)
        elif problems is not None:
            problems.append(f"{path.parent.name}: holds a link, which could lead anywhere")
    return found


def entry_folder(entries: Path, slug: str) -> Path:
    """Return the folder of an entry.

    Raises:
        InputError: there is none of this slug; those that there are are named.
    """
    folders = {folder.name: folder for folder in entry_folders(entries)}
    if slug not in folders:
        there = ", ".join(folders) or "none"
        raise InputError(str(entries), [f"no entry {slug!r}"], f"entries there: {there}")
    return folders[slug]


def is_run(folder: Path) -> bool:
    """Say whether an entry is a run of ``ictmri reproduce``: made here, never submitted."""
    return (folder / "run.json").is_file()


def chosen_cohorts(given: Sequence[Path], entries: Path | None) -> list[str]:
    """Return the cohorts of a folder of entries, of predictions, or all that have a board here.

    Raises:
        InputError: entries or predictions do not tell, or are of several cohorts.
    """
    if entries is not None:
        return [_cohort_of_entries(entries)]
    named = {path: _cohort_of_predictions(path) for path in given}
    if len(set(named.values())) > 1:
        told = [f"{path} is of {name}" for path, name in named.items()]
        raise InputError("--with", told, "one board at a time; --cohort says which")
    return [*named.values()][:1] or board_cohorts()


def _cohort_of_entries(entries: Path) -> str:
    names = {load_entry(place / "entry.yaml").benchmark.cohort for place in entry_folders(entries)}
    if len(names) != 1:
        told = f"entries of {', '.join(sorted(names))}" if names else "no entry in this folder"
        raise InputError(str(entries), [told], _STEP)
    return names.pop()


def _cohort_of_predictions(path: Path) -> str:
    """Return the cohort that has a case of a file; whatever else is in it, reading it will tell."""
    from ictmri.lookup import find_folds, local_cohort

    content = read_plain(path, MAX_BYTES, "give a file of predictions")
    cells = set(_CELLS.split(content.decode("utf-8", "replace")))
    known = []
    for name in board_cohorts():
        if name == CLINICAL and local_cohort(name) is None:
            continue
        with suppress(InputError):
            known.append(name)
            if not cells.isdisjoint(find_folds(name)[0].case_ids):
                return name
    read_csv(path, HEADERS[0])  # where it is no CSV, that is what is wrong with it
    raise InputError(str(path), [f"names no case of {', '.join(known)}"], _STEP)
