"""The gate for contributed entries: data of a pull request, scored by the code of the base branch.

Nothing of the contribution is checked out, imported or run. Its files are read out of git as bytes, only
those that an entry consists of are looked at, and the ledger must be the base's with rows added.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.cohort import published_names
from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.csvfile import shown
from ictmri.io.files import write_bytes
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.board import ledger
from ictmri_benchmark.board.entry import SLUG
from ictmri_benchmark.board.flags import Others, review_flags
from ictmri_benchmark.board.folders import COHORT
from ictmri_benchmark.board.submission import Checked, check, stored_report
from ictmri_benchmark.score.metrics import COLUMNS
from ictmri_benchmark.score.predictions import Predictions, read_predictions
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

ENTRIES: Final = "benchmark/entries"
"""In the repository; in it a folder for each cohort, with its ledger."""
_COHORT: Final = re.compile(rf"{ENTRIES}/({COHORT})/.*", re.ASCII | re.DOTALL)
MAX_BYTES: Final = 64 * 2**20
MAX_CHANGES: Final = 100
_NEEDED: Final = ("entry.yaml", "predictions.csv", "report.json")
_FOLDER: Final = "040000"
_PLAIN_GIT: Final = {
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_SETTINGS: Final = ("core.quotePath=false", "core.fsmonitor=false", f"core.hooksPath={os.devnull}")
_RESTORE: Final = "restore them; rows are only ever added"
_NEXT: Final = "a contribution of entries holds entries and their ledger rows, nothing else"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A contribution that passed.

    Attributes:
        entries: what it adds or corrects.
        flags: by slug, what a person should look at.
        corrected: slugs of entries that were there before.
        withdrawn: slugs that it withdraws.
    """

    entries: list[Checked]
    flags: dict[str, list[str]]
    corrected: list[str]
    withdrawn: list[str]

    def markdown(self) -> str:
        """Return a comment for the pull request."""
        main, other = COLUMNS[:2]
        head = f"| entry | {main.short} (95 % interval) | {other.short} | tracks |"
        lines = [head, "|---|---|---|---|"]
        for done in self.entries:
            pooled = done.report.content["pooled"]
            cells = [metric.with_interval(pooled[metric.name]) for metric in (main, other)]
            row = [f"`{done.entry.slug}`", *cells, ", ".join(done.entry.tracks)]
            lines.append(f"| {' | '.join(row)} |")
        lines.append("")
        if self.entries and self.entries[0].report.content["benchmark"]["synthetic"]:
            lines.append(f"- {SYNTHETIC_WARNING}")
        lines += [
            f"- `{done.entry.slug}`: {done.report.content['warnings'][0]}; shown apart, not ranked"
            for done in self.entries
            if done.entry.is_external
        ]
        lines += [f"- corrected: `{slug}` is there already" for slug in self.corrected]
        lines += [f"- withdrawn: `{slug}`" for slug in self.withdrawn]
        lines += [
            f"- `{slug}`, to look at: {flag}"
            for slug, flags in self.flags.items()
            for flag in flags
        ]
        return "\n".join(lines)


def gate(
    repository: AnyPath, base: str, head: str, cohort: FoldTable, *, synthetic: bool
) -> Verdict:
    """Check and score what a branch would add to the entries.

    Args:
        repository: a git checkout of the base; its working tree is not touched.
        base: commit of the base branch.
        head: commit of the contribution.
        cohort: the fold table that holds the labels.
        synthetic: the cohort is a phantom.

    Raises:
        InputError: it changes anything else, or an entry is not valid; every problem is named.
    """
    repository = at_home(repository)
    git, place = _Git(repository), _Place(cohort.name)
    base, tip = git.commit(base), git.commit(head)
    fork = git.fork(base, tip)
    changed = git.changed(fork, tip)
    problems = list(_change_problems(git, tip, changed, place))
    if problems:
        raise InputError(shown(head), problems, _NEXT)
    added, dated = _added_rows(git, base, fork, tip, place.ledger)
    touched = sorted({slug for path, _ in changed if (slug := place.slug_of(path))})
    gone = [slug for slug in touched if not git.exists(tip, f"{place.entries}/{slug}")]
    known = [slug for slug in touched if git.exists(base, f"{place.entries}/{slug}/entry.yaml")]
    here = [slug for slug in touched if slug not in gone]
    with tempfile.TemporaryDirectory() as folder:
        given = _Extracts(git, place, Path(folder))
        done, problems = _scored(given, tip, here, cohort, synthetic)
        others = _others(given, base, touched, cohort)
    problems += [*_ledger_problems(added, done, gone), *dated]
    if problems:
        raise InputError(shown(head), problems, "correct these; nothing was taken")
    contributed = {item.entry.slug: item.predictions for item in done}
    all_others = Others.of(others | contributed)
    flags = {
        slug: review_flags(read, cohort, all_others, slug) for slug, read in contributed.items()
    }
    corrected = [slug for slug in here if slug in known]
    return Verdict(done, {slug: found for slug, found in flags.items() if found}, corrected, gone)


def contributed_cohort(repository: AnyPath, base: str, head: str) -> str:
    """Return the cohort whose entries a branch changes.

    Raises:
        InputError: it changes those of no published cohort, or of several.
    """
    repository = at_home(repository)
    git = _Git(repository)
    base, tip = git.commit(base), git.commit(head)
    changed = git.changed(git.fork(base, tip), tip)
    names = sorted({match[1] for path, _ in changed if (match := _COHORT.fullmatch(path))})
    if len(names) == 1 and names[0] in published_names():
        return names[0]
    told = f"it changes entries of {', '.join(shown(name) for name in names)}"
    problem = told if names else "it changes nothing below benchmark/entries"
    step = f"one cohort at a time, of {', '.join(published_names())}; or give --cohort"
    raise InputError(shown(head), [problem], step)


class _Place:
    """Where a cohort's entries lie in the repository."""

    def __init__(self, cohort: str) -> None:
        self.entries = f"{ENTRIES}/{cohort}"
        self.ledger = f"{self.entries}/{ledger.NAME}"
        names = "|".join(map(re.escape, _NEEDED))
        self._file = re.compile(rf"{re.escape(self.entries)}/({SLUG[1:-1]})/({names})", re.ASCII)

    def slug_of(self, path: str) -> str:
        """Return the entry whose file a path is, empty where it is no such file."""
        match = self._file.fullmatch(path)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class _Git:
    """Reads out of a repository; never writes, and never runs a hook, a filter or a pager.

    Only commands that read objects are used. They look at no work tree, and so at no attributes in it.
    """

    repository: Path

    def text(self, *arguments: str) -> str:
        return self.run(*arguments).decode("utf-8", "replace")

    def run(self, *arguments: str) -> bytes:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = ["git", "-C", str(self.repository), *settings, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, env=os.environ | _PLAIN_GIT
            )
        except FileNotFoundError:
            raise InputError("git", ["is not installed"], "install git") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            said = said or [f"git {arguments[0]} found nothing"]
            raise InputError("git", [said[0]], "give commits that this repository has")
        return done.stdout

    def commit(self, name: str) -> str:
        """Return the hash of a commit; a name that looks like an option is none."""
        return self.text("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()

    def fork(self, base: str, tip: str) -> str:
        """Return the commit at which a branch left the base."""
        return self.text("merge-base", base, tip).strip()

    def exists(self, commit: str, path: str) -> bool:
        return bool(self.run("ls-tree", commit, "--", path))

    def content(self, commit: str, path: str) -> bytes:
        """Return a file, empty where it is none."""
        there = self.exists(commit, path)
        return self.run("cat-file", "blob", f"{commit}:{path}") if there else b""

    def changed(self, base: str, head: str) -> list[tuple[str, str]]:
        """Return path and mode of the files that differ; one that was removed has no mode.

        Folder by folder, and no more than a contribution may change: a few small trees that name one
        another can stand for a billion of files.

        Raises:
            InputError: there are more.
        """
        found: list[tuple[str, str]] = []
        folders = [("", base, head)]
        for seen, (folder, one, other) in enumerate(folders):
            if seen + len(found) > MAX_CHANGES:
                problem = [f"changes more than {MAX_CHANGES} files and folders"]
                raise InputError(shown(head), problem, _NEXT)
            before, after = self.tree(one), self.tree(other)
            for name in sorted(before.keys() | after.keys()):
                old, new = before.get(name, []), after.get(name, [])
                if old == new and len(new) < 2:
                    continue
                path = folder + name.decode("utf-8", "replace")
                left, right = (dict(side).get(_FOLDER, "") for side in (old, new))
                if left or right:
                    folders.append((f"{path}/", left, right))
                found += [(path, mode) for mode, _ in new if mode != _FOLDER or len(new) > 1]
                found += [(path, "") for mode, _ in old if not new and mode != _FOLDER]
        return found

    def tree(self, name: str) -> dict[bytes, list[tuple[str, str]]]:
        """Return mode and hash of what a folder holds, by name; a damaged one holds a name twice."""
        found: dict[bytes, list[tuple[str, str]]] = {}
        for line in self.run("ls-tree", "-z", name).split(b"\0")[:-1] if name else []:
            meta, _, path = line.partition(b"\t")
            mode, _, sha = meta.decode().split(" ")
            found.setdefault(path, []).append((mode, sha))
        return found


def _change_problems(
    git: _Git, head: str, changed: list[tuple[str, str]], place: _Place
) -> Iterator[str]:
    if not changed:
        yield "it changes nothing"
    for path, mode in changed:
        if path != place.ledger and not place.slug_of(path):
            yield f"{shown(path, 100)}: not a file of an entry"
        elif mode not in {"", "100644"}:
            yield f"{shown(path, 100)}: not a plain file (mode {mode})"
        elif mode and (size := int(git.text("cat-file", "-s", f"{head}:{path}"))) > MAX_BYTES:
            yield f"{shown(path, 100)}: {size} bytes, more than {MAX_BYTES}"
    for path, count in Counter(path for path, _ in changed).items():
        if count > 1:
            yield f"{shown(path, 100)}: stands twice in its folder"


def _added_rows(
    git: _Git, base: str, fork: str, head: str, path: str
) -> tuple[list[ledger.Event], list[str]]:
    """Return the rows that the contribution adds to the ledger, and what is wrong with their dates.

    They must follow from the base's.
    """
    before, after, now = (git.content(commit, path) for commit in (fork, head, base))
    added = ledger.appended(_events(before), _events(after))
    if not after.startswith(before):
        raise InputError("ledger.csv", ["its earlier lines are written otherwise"], _RESTORE)
    problems = ledger.order_problems([*_events(now), *added])
    if problems:
        step = "the base has moved on: bring the branch up to date"
        raise InputError("ledger.csv", problems, step)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return added, ledger.date_problems(_events(before), added, today)


def _events(content: bytes) -> list[ledger.Event]:
    if not content:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.csv"
        write_bytes(path, content)
        try:
            return ledger.read_ledger(path)
        except InputError as error:
            raise InputError("ledger.csv", error.problems, error.next_step) from None


@dataclass(frozen=True, slots=True)
class _Extracts:
    """Files of entries, written out of git into a folder."""

    git: _Git
    place: _Place
    folder: Path

    def names(self, commit: str, slug: str) -> list[str]:
        """Return the files that an entry has."""
        where = f"{self.place.entries}/{slug}"
        return [name for name in _NEEDED if self.git.exists(commit, f"{where}/{name}")]

    def extract(self, commit: str, slug: str) -> Path:
        """Write the files of an entry, and return their folder."""
        place = self.folder / commit / slug
        for name in self.names(commit, slug):
            path = f"{self.place.entries}/{slug}/{name}"
            write_bytes(place / name, self.git.content(commit, path))
        return place


def _scored(
    given: _Extracts, head: str, slugs: list[str], cohort: FoldTable, synthetic: bool
) -> tuple[list[Checked], list[str]]:
    done: list[Checked] = []
    problems: list[str] = []
    for slug in slugs:
        missing = sorted(set(_NEEDED) - set(given.names(head, slug)))
        if missing:
            problems.append(f"{slug}: {', '.join(missing)} is missing")
            continue
        place = given.extract(head, slug)
        own: list[str] = []
        with collected(own, slug):
            table, described = place / "predictions.csv", place / "entry.yaml"
            item = check(table, described, cohort, synthetic=synthetic)
            done.append(item)
            if item.entry.slug != slug:
                own.append(f"{slug}: entry.yaml calls itself {item.entry.slug!r}")
            if item.entry.benchmark.data_sha256 != cohort.data_sha256:
                told = "entry.yaml does not name the cohort's data (ictmri submit)"
                own.append(f"{slug}: {told}")
            if stored_report(item.report, place / "report.json") != "same":
                told = "report.json is not what its predictions give (ictmri submit)"
                own.append(f"{slug}: {told}")
        problems += [problem.replace(f"{place}/", "") for problem in own]
    return done, problems


def _others(
    given: _Extracts, base: str, without: list[str], cohort: FoldTable
) -> dict[str, Predictions]:
    where = f"{given.place.entries}/"
    listed = given.git.text("ls-tree", "-r", "--name-only", base, "--", where).splitlines()
    slugs = {slug for path in listed if (slug := given.place.slug_of(path))} - set(without)
    found = {}
    for slug in sorted(slugs):
        with suppress(InputError):
            found[slug] = read_predictions(given.extract(base, slug) / "predictions.csv", cohort)
    return found


def _ledger_problems(added: list[ledger.Event], done: list[Checked], gone: list[str]) -> list[str]:
    last = ledger.current(added)
    problems = [
        f"{item.entry.slug}: ledger.csv has no new row with the digest of its predictions"
        for item in done
        if item.entry.slug not in last
        or last[item.entry.slug].predictions_sha256 != item.predictions.sha256
    ]
    problems += [
        f"{slug}: removed without a row 'withdrawn' in ledger.csv"
        for slug in gone
        if slug not in last or last[slug].action != "withdrawn"
    ]
    changed = {item.entry.slug for item in done} | set(gone)
    return problems + [
        f"ledger.csv: a row about {slug}, which is not changed"
        for slug in last
        if slug not in changed
    ]
