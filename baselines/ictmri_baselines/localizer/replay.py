"""Boxes that were made before, here or elsewhere, taken from a published file."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri_baselines.localizer.boxes import SliceBoxes, read_boxes
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.grid import Grid

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain


class Replay(DetectorSettings):
    """Boxes of a file that was made before, here or elsewhere."""

    name = "boxes"
    version = "1"
    unrecorded = frozenset({"boxes"})

    boxes: Path

    def facts(self) -> dict[str, Any]:
        """Return the file's digest: a changed one is another detector."""
        if self.boxes.exists() and not self.boxes.is_file():
            raise InputError(str(self.boxes), ["not a regular file"], "--boxes FILE")
        try:
            return {"boxes_sha256": sha256_file(self.boxes)}
        except OSError as error:
            problem = error.strerror or str(error)
            raise InputError(str(self.boxes), [problem], "--boxes FILE") from None

    def prepare(self, case_ids: Collection[str]) -> None:
        """Check the file before the work: every line, no case that is unknown, none that is missing."""
        absent = sorted(set(case_ids) - set(read_boxes(self.boxes, case_ids=case_ids)))
        if absent:
            raise _missing(self.boxes, absent)

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> ReplayDetector:  # noqa: ARG002
        """Return the replay of a case."""
        return ReplayDetector(self.boxes, case_id)


class ReplayDetector:
    """The boxes of one case of a file, on whatever grid the brain lies."""

    def __init__(self, path: Path, case_id: str) -> None:
        self._path = path
        self._case_id = case_id

    def detect(self, brain: Brain) -> list[SliceBoxes]:
        """Return the file's rows, as they are or moved to the brain's grid.

        Raises:
            InputError: the file cannot be used, or does not have the case.
        """
        cases = _cases(self._path, sha256_file(self._path), Grid.of(brain.image).spacing_mm)
        if self._case_id not in cases:
            raise _missing(self._path, [self._case_id])
        return list(cases[self._case_id])


def _missing(path: Path, case_ids: Collection[str]) -> InputError:
    """Return the error of cases that a file has no line of."""
    return InputError(
        str(path),
        [f"no line of case {case_id}" for case_id in case_ids],
        "a case without findings has lines without boxes; detect on these cases and append theirs",
    )


@lru_cache(maxsize=1)
def _cases(path: Path, _sha256: str, spacing_mm: int) -> dict[str, list[SliceBoxes]]:
    return read_boxes(path, spacing_mm=spacing_mm)
