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

from ictmri.errors import InputError, collected
from ictmri.folds import FoldTable
from ictmri.io.csvfile import shown
from ictmri.io.files import write_bytes
from ictmri_benchmark.board import ledger
from ictmri_benchmark.board.entry import SLUG
from ictmri_benchmark.board.flags import review_flags
from ictmri_benchmark.board.submission import Checked, check, is_stored
from ictmri_benchmark.score.metrics import COLUMNS
from ictmri_benchmark.score.predictions import Predictions, read_predictions
from ictmri_benchmark.score.report import SYNTHETIC_WARNING

ENTRIES: Final = "benchmark/entries"
LEDGER: Final = "benchmark/ledger.csv"
_FILE: Final = re.compile(
    rf"{ENTRIES}/({SLUG[1:-1]})/(entry\.yaml|predictions\.csv|report\.json)", re.ASCII
)
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
        lines += [f"- corrected: `{slug}` is there already" for slug in self.corrected]
        lines += [f"- withdrawn: `{slug}`" for slug in self.withdrawn]
        lines += [
            f"- `{slug}`, to look at: {flag}"
            for slug, flags in self.flags.items()
            for flag in flags
        ]
        return "\n".join(lines)


def gate(repository: Path, base: str, head: str, cohort: FoldTable, *, synthetic: bool) -> Verdict:
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
    git = _Git(repository)
    base, tip = git.commit(base), git.commit(head)
    fork = git.text("merge-base", base, tip).strip()
    changed = git.changed(fork, tip)
    problems = list(_change_problems(git, tip, changed))
    if problems:
        raise InputError(shown(head), problems, _NEXT)
    added, dated = _added_rows(git, base, fork, tip)
    touched = sorted({match[1] for path, _ in changed if (match := _FILE.fullmatch(path))})
    gone = [slug for slug in touched if not git.exists(tip, f"{ENTRIES}/{slug}")]
    known = [slug for slug in touched if git.exists(base, f"{ENTRIES}/{slug}/entry.yaml")]
    here = [slug for slug in touched if slug not in gone]
    with tempfile.TemporaryDirectory() as folder:
        done, problems = _scored(git, tip, here, cohort, Path(folder), synthetic)
        others = _others(git, base, touched, cohort, Path(folder))
    problems += [*_ledger_problems(added, done, gone), *dated]
    if problems:
        raise InputError(shown(head), problems, "correct these; nothing was taken")
    contributed = {item.entry.slug: item.predictions for item in done}
    flags = {
        slug: review_flags(
            read, cohort, {s: p for s, p in (others | contributed).items() if s != slug}
        )
        for slug, read in contributed.items()
    }
    corrected = [slug for slug in here if slug in known]
    return Verdict(done, {slug: found for slug, found in flags.items() if found}, corrected, gone)


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


def _change_problems(git: _Git, head: str, changed: list[tuple[str, str]]) -> Iterator[str]:
    if not changed:
        yield "it changes nothing"
    for path, mode in changed:
        if path != LEDGER and not _FILE.fullmatch(path):
            yield f"{shown(path, 100)}: not a file of an entry"
        elif mode not in {"", "100644"}:
            yield f"{shown(path, 100)}: not a plain file (mode {mode})"
        elif mode and (size := int(git.text("cat-file", "-s", f"{head}:{path}"))) > MAX_BYTES:
            yield f"{shown(path, 100)}: {size} bytes, more than {MAX_BYTES}"
    for path, count in Counter(path for path, _ in changed).items():
        if count > 1:
            yield f"{shown(path, 100)}: stands twice in its folder"


def _added_rows(git: _Git, base: str, fork: str, head: str) -> tuple[list[ledger.Event], list[str]]:
    """Return the rows that the contribution adds to the ledger, and what is wrong with their dates.

    They must follow from the base's.
    """
    before, after, now = (git.content(commit, LEDGER) for commit in (fork, head, base))
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


def _scored(
    git: _Git, head: str, slugs: list[str], cohort: FoldTable, folder: Path, synthetic: bool
) -> tuple[list[Checked], list[str]]:
    done: list[Checked] = []
    problems: list[str] = []
    for slug in slugs:
        missing = [n for n in _NEEDED if not git.exists(head, f"{ENTRIES}/{slug}/{n}")]
        if missing:
            problems.append(f"{slug}: {', '.join(missing)} is missing")
            continue
        place = _extract(git, head, slug, folder)
        own: list[str] = []
        with collected(own, slug):
            table, described = place / "predictions.csv", place / "entry.yaml"
            item = check(table, described, cohort, synthetic=synthetic)
            done.append(item)
            if item.entry.slug != slug:
                own.append(f"{slug}: entry.yaml calls itself {item.entry.slug!r}")
            if not is_stored(item.report, place / "report.json"):
                told = "report.json is not what its predictions give (ictmri submit)"
                own.append(f"{slug}: {told}")
        problems += [problem.replace(f"{place}/", "") for problem in own]
    return done, problems


def _extract(git: _Git, commit: str, slug: str, folder: Path) -> Path:
    place = folder / slug
    for name in _NEEDED:
        if git.exists(commit, f"{ENTRIES}/{slug}/{name}"):
            write_bytes(place / name, git.content(commit, f"{ENTRIES}/{slug}/{name}"))
    return place


def _others(
    git: _Git, base: str, without: list[str], cohort: FoldTable, folder: Path
) -> dict[str, Predictions]:
    listed = git.text("ls-tree", "-r", "--name-only", base, "--", f"{ENTRIES}/").splitlines()
    slugs = sorted({m[1] for path in listed if (m := _FILE.fullmatch(path))} - set(without))
    found = {}
    for slug in slugs:
        place = _extract(git, base, slug, folder / "base")
        with suppress(InputError):
            found[slug] = read_predictions(place / "predictions.csv", cohort)
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
