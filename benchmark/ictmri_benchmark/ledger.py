"""``ledger.csv``: what happened to which entry, when and why; rows are added, never changed."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from ictmri.csvfile import read_csv
from ictmri.errors import InputError
from ictmri.files import write_text
from ictmri_benchmark.entry import SLUG

Action = Literal["added", "corrected", "withdrawn"]
COLUMNS: Final = ("date", "action", "slug", "predictions_sha256", "reason")
HEADER: Final = ",".join(COLUMNS)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}|")


@dataclass(frozen=True, slots=True)
class Event:
    """One row; ``predictions_sha256`` is empty where the entry was withdrawn."""

    date: str
    action: Action
    slug: str
    predictions_sha256: str
    reason: str


def ledger_path(entries: Path) -> Path:
    """Return where the ledger of an entries folder lies: beside it."""
    return entries.resolve().parent / "ledger.csv"


def read_ledger(path: Path) -> list[Event]:
    """Return the rows of a ledger; none where there is no file.

    Raises:
        InputError: it is not valid; every problem is named with its row.
    """
    if not path.is_file():
        return []
    file = read_csv(path, HEADER)
    if tuple(file.header) != COLUMNS:
        raise InputError(str(path), [f"row 1: the header must be {HEADER}"], "restore the file")
    problems: list[str] = []
    events: list[Event] = []
    for number, cells in enumerate(file.lines, start=2):
        problem = _problem(cells)
        if problem:
            problems.append(f"row {number}: {problem}")
        else:
            events.append(Event(cells[0], cells[1], cells[2], cells[3], cells[4]))  # type: ignore[arg-type]
    problems += _order_problems(events)
    if problems:
        raise InputError(str(path), problems, "restore the file; rows are only ever added")
    return events


def _problem(cells: list[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} cells instead of {len(COLUMNS)}"
    date, action, slug, digest, reason = cells
    if not _DATE.fullmatch(date):
        return f"date {date[:30]!r} is not YYYY-MM-DD"
    if action not in get_args(Action):
        return f"action {action[:30]!r} is not one of {', '.join(get_args(Action))}"
    if not re.fullmatch(SLUG, slug):
        return f"slug {slug[:30]!r} is not one"
    if not _SHA256.fullmatch(digest) or bool(digest) == (action == "withdrawn"):
        return "predictions_sha256 is no digest, or missing"
    return "" if reason.strip() else "reason is empty"


def _order_problems(events: Sequence[Event]) -> list[str]:
    """Say where a row does not follow from those before it."""
    state: dict[str, Action] = {}
    problems = []
    for number, event in enumerate(events, start=2):
        before = state.get(event.slug)
        if (event.action == "added") != (before is None):
            found = "was added before" if before else "was never added"
            problems.append(f"row {number}: {event.slug} {found}")
        elif before == "withdrawn":
            problems.append(f"row {number}: {event.slug} was withdrawn: choose a new slug")
        state[event.slug] = event.action
    return problems


def ledger_text(events: Iterable[Event]) -> str:
    """Return the text of a ledger."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(event) for event in events)
    return stream.getvalue()


def record(entries: Path, action: Action, slug: str, digest: str, reason: str) -> None:
    """Add a row to the ledger of an entries folder.

    Raises:
        InputError: the ledger is damaged, or the row does not follow from it.
    """
    path = ledger_path(entries)
    events = read_ledger(path)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    events.append(Event(today, action, slug, digest, " ".join(reason.split())))
    problems = _order_problems(events)
    if problems:
        raise InputError(str(path), problems, "see the ledger for what happened to that entry")
    write_text(path, ledger_text(events))


def current(events: Iterable[Event]) -> dict[str, Event]:
    """Return the last event of each entry."""
    return {event.slug: event for event in events}


def ledger_problems(events: Sequence[Event], digests: dict[str, str]) -> list[str]:
    """Compare a ledger with the entries of a folder.

    Args:
        events: rows of the ledger.
        digests: by slug of the folder's entries, the SHA-256 of their predictions.
    """
    last = current(events)
    problems = []
    for slug, digest in sorted(digests.items()):
        if slug not in last:
            problems.append(f"{slug}: not in ledger.csv")
        elif last[slug].action == "withdrawn":
            problems.append(f"{slug}: withdrawn in ledger.csv, but its folder is there")
        elif last[slug].predictions_sha256 != digest:
            problems.append(f"{slug}: its predictions are not the ones in ledger.csv")
    problems += [
        f"{slug}: in ledger.csv, but its folder is gone"
        for slug, event in sorted(last.items())
        if event.action != "withdrawn" and slug not in digests
    ]
    return problems


def appended(before: Sequence[Event], after: Sequence[Event]) -> list[Event]:
    """Return the rows that a ledger has gained.

    Raises:
        InputError: earlier rows were changed or removed.
    """
    if list(after[: len(before)]) != list(before):
        raise InputError(
            "ledger.csv",
            ["rows that were there before are changed or gone"],
            "restore them; a correction is a new row",
        )
    return list(after[len(before) :])
