"""Which boards a command is about where nobody names a cohort."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ictmri.cohort import CLINICAL
from ictmri.errors import InputError
from ictmri.io.csvfile import MAX_BYTES
from ictmri.io.files import read_plain
from ictmri.lookup import find_folds, local_cohort
from ictmri_benchmark.board.entry import load_entry
from ictmri_benchmark.board.folders import board_cohorts, entry_folders

_STEP: Final = "say which cohort it is: --cohort NAME or a cohort folder"
_CELLS: Final = re.compile(r"[,;\t\r\n\"]+")


def chosen_cohorts(given: Sequence[Path], entries: Path | None) -> list[str]:
    """Return the cohorts of a folder of entries, of predictions, or all that have a board here.

    Raises:
        InputError: entries or predictions do not tell.
    """
    if entries is not None:
        return [_cohort_of_entries(entries)]
    if given:
        return [_cohort_of_predictions(given[0])]
    return board_cohorts()


def _cohort_of_entries(entries: Path) -> str:
    names = {load_entry(place / "entry.yaml").benchmark.cohort for place in entry_folders(entries)}
    if len(names) != 1:
        told = f"entries of {', '.join(sorted(names))}" if names else "no entry in this folder"
        raise InputError(str(entries), [told], _STEP)
    return names.pop()


def _cohort_of_predictions(path: Path) -> str:
    """Return the cohort that has a case of a file; whatever else is in it, reading it will tell."""
    content = read_plain(path, MAX_BYTES, "give a file of predictions").decode("utf-8", "replace")
    cells = set(_CELLS.split(content))
    known = []
    for name in board_cohorts():
        if name == CLINICAL and local_cohort(name) is None:
            continue
        with suppress(InputError):
            known.append(name)
            if not cells.isdisjoint(find_folds(name)[0].case_ids):
                return name
    raise InputError(str(path), [f"names no case of {', '.join(known)}"], _STEP)
