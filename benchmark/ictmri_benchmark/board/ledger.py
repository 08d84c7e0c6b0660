"""``ledger.csv``: what happened to which entry, when and why; rows are added, never changed."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, get_args

from ictmri.errors import MAX_PROBLEMS, InputError
from ictmri.io.csvfile import csv_text, read_csv, shown
from ictmri.io.files import remove_parts, write_text
from ictmri_benchmark.board.entry import MAX_SLUG, SLUG

Action = Literal["added", "corrected", "withdrawn"]
NAME: Final = "ledger.csv"
COLUMNS: Final = ("date", "action", "slug", "predictions_sha256", "reason")
HEADER: Final = ",".join(COLUMNS)
MAX_REASON: Final = 400
MAX_ROWS: Final = 100_000
FIRST_DAY: Final = "2026-02-01"
"""Nothing can have been entered before: the month in which the cohort's preprint appeared."""
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
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
    """Return where the ledger of an entries folder lies: in it."""
    return entries / NAME


def read_ledger(path: Path) -> list[Event]:
    """Return the rows of a ledger; none where there is no file.

    Raises:
        InputError: it is not valid; every problem is named with its row.
    """
    if path.is_symlink():
        raise InputError(str(path), ["is a link, which could lead anywhere"], "put the file itself")
    if not path.exists():
        return []
    file = read_csv(path, HEADER, MAX_ROWS)
    if tuple(file.header) != COLUMNS:
        raise InputError(str(path), [f"row 1: the header must be {HEADER}"], "restore the file")
    problems: list[str] = []
    numbered: list[tuple[int, Event]] = []
    for number, cells in file.rows():
        if len(problems) == MAX_PROBLEMS:
            break
        problem = _problem(cells)
        if problem:
            problems.append(f"row {number}: {problem}")
        else:
            numbered.append((number, Event(cells[0], cells[1], *cells[2:])))  # type: ignore[arg-type]
    problems += _order_problems(numbered)
    if problems:
        raise InputError(str(path), problems, "restore the file; rows are only ever added")
    return [event for _, event in numbered]


def _problem(cells: list[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} cells instead of {len(COLUMNS)}"
    date, action, slug, digest, reason = cells
    if not _is_date(date):
        return f"date {shown(date)} is no day, YYYY-MM-DD"
    if action not in get_args(Action):
        return f"action {shown(action)} is not one of {', '.join(get_args(Action))}"
    if not re.fullmatch(SLUG, slug) or len(slug) > MAX_SLUG:
        return f"slug {shown(slug)} is not one (a-z, 0-9 and -)"
    if not _SHA256.fullmatch(digest) or bool(digest) == (action == "withdrawn"):
        return "predictions_sha256 is no digest, or missing"
    return _reason_problem(reason)


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _reason_problem(reason: str) -> str:
    if not reason.strip():
        return "reason is empty"
    if len(reason) > MAX_REASON:
        return f"reason has {len(reason)} characters, more than {MAX_REASON}"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in reason):
        return f"reason {shown(reason)} is not one line of plain text"
    if reason[0] in "=+-@":
        return f"reason {shown(reason)} begins like a formula, which a spreadsheet would run"
    return ""


def order_problems(events: Sequence[Event]) -> list[str]:
    """Say where a row of a whole ledger does not follow from those before it."""
    return _order_problems(list(enumerate(events, start=2)))


def _order_problems(numbered: Iterable[tuple[int, Event]]) -> list[str]:
    state: dict[str, Action] = {}
    problems = []
    for number, event in numbered:
        before = state.get(event.slug)
        if before == "withdrawn":
            problems.append(f"row {number}: {event.slug} was withdrawn: choose a new slug")
        elif (event.action == "added") != (before is None):
            found = "was added before" if before else "was never added"
            problems.append(f"row {number}: {event.slug} {found}")
        state[event.slug] = event.action
    return problems


def date_problems(
    before: Sequence[Event], added: Sequence[Event], today: datetime.date
) -> list[str]:
    """Say which added rows have a date that cannot be the day on which they were added."""
    latest = (today + datetime.timedelta(days=1)).isoformat()
    problems = []
    for earlier, event in pairwise([*(before[-1:] or added[:1]), *added]):
        if not FIRST_DAY <= event.date <= latest:
            problems.append(f"{event.slug}: date {event.date} is not from {FIRST_DAY} to {latest}")
        elif event.date < earlier.date:
            problems.append(f"{event.slug}: date {event.date}, in the row before {earlier.date}")
    return problems


def ledger_text(events: Iterable[Event]) -> str:
    """Return the text of a ledger."""
    return csv_text(COLUMNS, map(astuple, events))


def record(entries: Path, action: Action, slug: str, digest: str, reason: str) -> None:
    """Add a row to the ledger of an entries folder, which no other process may change now.

    Raises:
        InputError: the ledger is damaged, or the row does not follow from it.
    """
    path = ledger_path(entries)
    events = read_ledger(path)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    said = plain_reason(reason)
    problem = _reason_problem(said)
    if problem:
        raise InputError(str(path), [problem], "say in one line of plain words why")
    events.append(Event(today, action, slug, digest, said))
    problems = order_problems(events)
    if problems:
        raise InputError(str(path), problems, "see the ledger for what happened to that entry")
    remove_parts(path.parent, path.name)
    write_text(path, ledger_text(events))


def plain_reason(reason: str) -> str:
    """Return a reason as it stands in the ledger: one line, single blanks."""
    return " ".join(reason.split())


def current(events: Iterable[Event]) -> dict[str, Event]:
    """Return the last event of each entry."""
    return {event.slug: event for event in events}


def last_event(entries: Path, slug: str) -> Event | None:
    """Return the last event of an entry in the ledger of an entries folder."""
    return current(read_ledger(ledger_path(entries))).get(slug)


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
