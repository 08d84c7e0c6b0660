"""Changes of a cohort folder that happen wholly or not at all, even when the process is killed.

Everything unfinished lies beside the folder under a name that begins with a dot, and is finished or
removed by the next process that works on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ictmri.errors import InputError
from ictmri.io.files import (
    check_writable,
    is_free,
    private_folder,
    refuse_links,
    remove_parts,
    write_json,
)
from ictmri.io.lock import folder_lock, work_folder
from ictmri.io.states import json_mapping, kept
from ictmri.manifest import FILE_NAME, read_manifest

_NEXT: Final = "choose another --out"
_STAMP: Final = "stamp.json"
_GONE: Final = "gone"
_BESIDE: Final = ("link.csv", "findings.html", "process.html", "localize.html", "replies")
"""Files that a build writes beside the folder."""


@contextmanager
def cohort_lock(root: Path) -> Iterator[None]:
    """Let one process at a time work on a cohort folder, after finishing a change that was cut off.

    Raises:
        InputError: a folder in it is a link: what is changed there would change somewhere else.
    """
    with folder_lock(root):
        refuse_links(root)
        _finish_change(root)
        for stage in ("part", "draft", _GONE):
            shutil.rmtree(work_folder(root, stage), ignore_errors=True)
        for name in _BESIDE:
            remove_parts(work_folder(root, "lock").parent, f"{root.resolve().name}.{name}")
        yield


def opened_work(out: Path, stage: str, stamp: Any) -> Path:
    """Return a stage's work folder, emptied where it belongs to other inputs.

    It is its owner's alone: it holds pictures of the scans.

    Args:
        out: the cohort folder.
        stage: name of the stage.
        stamp: what the inputs are, as JSON.
    """
    work = work_folder(out, stage)
    path = work / _STAMP
    if kept(path, json_mapping) != stamp:
        close_work(out, stage)
        write_json(private_folder(work) / _STAMP, stamp)
    remove_parts(private_folder(work))
    return work


def close_work(out: Path, stage: str) -> None:
    """Remove a stage's work folder, if there is one."""
    work, gone = work_folder(out, stage), work_folder(out, _GONE)
    if work.is_dir():
        # Renamed first: a folder half removed would pass for one that holds what its stamp says.
        work.rename(gone)
        shutil.rmtree(gone)


@contextmanager
def transaction(root: Path) -> Iterator[Path]:
    """Yield a copy of a cohort folder; what is changed in it takes effect when the block succeeds.

    The copy is made of links where the disk allows it: files in it are replaced, never written into.
    Giving the copy its final name is the moment from which the change will be finished, if need be by
    the next process that works on the cohort.
    """
    draft = work_folder(root, "draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        shutil.copytree(root, draft, copy_function=link_or_copy)
        yield draft
    except BaseException:
        # On a full disk, what cannot be finished must not keep the space.
        shutil.rmtree(draft, ignore_errors=True)
        raise
    draft.rename(work_folder(root, "change"))
    _finish_change(root)


@contextmanager
def assembled(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``out`` when the block succeeds, and is gone else.

    The caller holds :func:`cohort_lock` on ``out``, and knows that what is there may go.
    """
    part, before = work_folder(out, "part"), work_folder(out, "draft")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if out.exists():
            out.rename(before)
        part.rename(out.resolve())
    except BaseException:
        # On a full disk, what cannot be finished must not keep the space.
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _finish_change(root: Path) -> None:
    change = work_folder(root, "change")
    if not change.is_dir():
        return
    if not (root / FILE_NAME).is_file():
        # The cohort that was to be changed is gone.
        shutil.rmtree(change)
        return
    refuse_links(change)
    files = [path for path in change.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == FILE_NAME):
        if path == change / FILE_NAME:
            _remove_dropped(root, change)
        place = root / path.relative_to(change)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    _remove_unlisted(root)
    shutil.rmtree(change)


def _remove_dropped(root: Path, change: Path) -> None:
    """Remove what the cohort lists and the changed one does not, while its manifest still says so."""
    before, after = (read_manifest(place).files for place in (root, change))
    for name in before.keys() - after.keys():
        (root / name).unlink(missing_ok=True)


def _remove_unlisted(root: Path) -> None:
    """Remove data files of before that the new manifest does not list."""
    listed = read_manifest(root).files
    for path in (root / "data").rglob("*.parquet"):
        if path.relative_to(root).as_posix() not in listed:
            path.unlink()


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file of a cohort a second name, or copy it to another disk: it is never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check_place(out: Path, sources: Iterable[Path] = ()) -> None:
    """Check that a cohort may be written to ``out``.

    Args:
        out: the folder to write.
        sources: files and folders that the cohort is made from.

    Raises:
        InputError: something else stands there, or it lies inside a source.
    """
    if is_free(out):
        check_writable(out)
    elif not (out / FILE_NAME).is_file():
        raise InputError(str(out), ["this path is taken and is no cohort folder"], _NEXT)
    around = set(out.resolve().parents)
    inside = [source for source in sources if source.resolve() in around]
    if inside:
        # What is written there would become a part of the scan when it is read the next time.
        raise InputError(str(out), [f"lies inside the scan {inside[0].name!r}"], _NEXT)
