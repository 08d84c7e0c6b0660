"""Changes of a cohort folder that happen wholly or not at all, even when the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ictmri.manifest import FILE_NAME


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Let one process at a time work on a folder; others wait."""
    from filelock import FileLock

    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.parent / f".{out.name}.lock"):
        yield


@contextmanager
def alone_with(root: Path) -> Iterator[None]:
    """Let one process at a time work on a cohort folder, after finishing a change that was cut off."""
    with only_one(root):
        _finish_change(root)
        yield


def work_folder(out: Path, stage: str) -> Path:
    """Return the folder beside a cohort that holds finished cases until a stage is complete."""
    return out.parent / f".{out.name}.{stage}"


@contextmanager
def changing(root: Path) -> Iterator[Path]:
    """Yield a copy of a cohort folder; what is changed in it takes effect when the block succeeds.

    The copy is made of links where the disk allows it: files in it are replaced, never written into.
    Giving the copy its final name is the moment from which the change will be finished, if need be by
    the next process that works on the cohort.
    """
    draft = work_folder(root, "draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(root, draft, copy_function=_link)
    yield draft
    draft.rename(work_folder(root, "change"))
    _finish_change(root)


def _finish_change(root: Path) -> None:
    change = work_folder(root, "change")
    if not change.is_dir():
        return
    files = [path for path in change.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == FILE_NAME):
        place = root / path.relative_to(change)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(change)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
