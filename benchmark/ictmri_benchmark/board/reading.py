"""The entries of a board as they lie in their folders: read, bound to a cohort, held against the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.files import sha256_file
from ictmri_benchmark.board.entry import Entry, load_entry
from ictmri_benchmark.board.folders import entry_folders, is_run, is_shipped
from ictmri_benchmark.board.ledger import Event, ledger_path, ledger_problems, read_ledger
from ictmri_benchmark.board.submission import binding_problems
from ictmri_benchmark.score.predictions import Predictions, read_predictions

Source = Literal["shipped", "local", "given", "ensemble"]
"""An entry of the repository, one of one's own, predictions to look at, or what the board made."""


@dataclass(frozen=True, slots=True)
class EntryFolder:
    """What was read of an entry's folder; ``refused`` says why it is for another board than this one."""

    place: Path
    entry: Entry
    predictions: Predictions | None
    source: Source
    refused: str = ""

    @property
    def digest(self) -> str | None:
        """SHA-256 of its predictions, None where there are none."""
        if self.predictions is not None:
            return self.predictions.sha256
        path = self.place / "predictions.csv"
        return sha256_file(path) if path.is_file() else None


def read_entries(
    folders: Sequence[Path], cohort: FoldTable
) -> tuple[list[EntryFolder], list[Event]]:
    """Return the entries of some folders and the rows of their ledgers, folder by folder.

    An entry whose slug stands in an earlier folder is refused with that reason.

    Raises:
        InputError: an entry is not valid, or its folder and the ledger do not agree.
    """
    found: list[EntryFolder] = []
    events: list[Event] = []
    for folder in folders:
        rows = read_ledger(ledger_path(folder))
        here = _read_folder(folder, cohort, strict=bool(rows))
        if rows:
            _compare_with_ledger(folder, here, rows)
        taken = {item.entry.slug for item in found}
        told = "a published entry has this slug"
        found += [
            EntryFolder(i.place, i.entry, None, i.source, told) if i.entry.slug in taken else i
            for i in here
        ]
        events += rows
    return found, events


def require_entries(folder: Path) -> None:
    """Refuse a folder that holds no entry.

    Raises:
        InputError: it holds none; where they may be is said.
    """
    if any(folder.glob("[!.]*/entry.yaml")):
        return
    deeper = sorted({path.parent.parent for path in folder.glob("*/*/entry.yaml")})
    step = f"give {deeper[0]}" if deeper else "ictmri reproduce --help"
    raise InputError(str(folder), ["no entry in this folder"], step)


def _read_folder(folder: Path, cohort: FoldTable, *, strict: bool) -> list[EntryFolder]:
    """Read the entries of a folder; ``strict`` where it has a ledger: submissions lie under their slug."""
    found: list[EntryFolder] = []
    problems: list[str] = []
    places: dict[str, str] = {}
    source: Source = "shipped" if is_shipped(folder) else "local"
    for place in entry_folders(folder, problems):
        name = place.name
        with collected(problems, name):
            entry = load_entry(place / "entry.yaml")
            if entry.slug != name and strict and not is_run(place):
                problems.append(f"{name}: entry.yaml calls itself {entry.slug!r}")
                continue
            if entry.slug in places:
                problems.append(f"{name}: its slug {entry.slug!r} is that of {places[entry.slug]}")
                continue
            places[entry.slug] = name
            unbound = "; ".join(binding_problems(entry, cohort))
            read = None if unbound else read_predictions(place / "predictions.csv", cohort)
            found.append(EntryFolder(place, entry, read, source, unbound))
    if problems:
        raise InputError(str(folder), problems, "correct or remove these entries")
    return found


def _compare_with_ledger(folder: Path, folders: list[EntryFolder], events: list[Event]) -> None:
    recorded = {event.slug for event in events}
    submitted = {
        f.entry.slug: digest
        for f in folders
        if (digest := f.digest) and (f.entry.slug in recorded or not is_run(f.place))
    }
    problems = ledger_problems(events, submitted)
    if problems:
        step = (
            "run the ictmri submit or ictmri entry withdraw that was interrupted again; what nobody "
            "submitted goes elsewhere"
        )
        raise InputError(str(folder), problems, step)
