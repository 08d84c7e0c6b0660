"""Where a cohort folder may be written: refused places are told before anything is created."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ictmri.errors import InputError
from ictmri.io.files import check_writable, is_free
from ictmri.manifest import FILE_NAME

_NEXT = "choose another --out"


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
