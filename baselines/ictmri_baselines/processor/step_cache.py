"""Finished steps of a case, kept until the case is done, so that a killed run goes on after them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib

from ictmri.io.files import canonical_json, sha256_bytes, write_bytes
from ictmri.io.states import read_record, write_record


@dataclass(frozen=True, slots=True)
class StepCache:
    """Where the steps of one case are kept.

    A step's result carries the digest of the input and of all settings up to it in its name: after a
    change of either it is not found, and an old one is never taken for a new one.

    Attributes:
        folder: made when the first step ends.
        case_id: first part of the file names.
    """

    folder: Path
    case_id: str

    def find(self, step: str, key: str) -> tuple[nib.Nifti1Image, dict[str, Any]] | None:
        """Return a kept image and the record of how it was made, or None."""
        image, record = self._paths(step, key)
        facts = read_record(record)
        return None if facts is None else (nib.Nifti1Image.from_bytes(image.read_bytes()), facts)

    def store(self, step: str, key: str, image: nib.Nifti1Image, record: dict[str, Any]) -> None:
        """Keep an image and its record; the record, written last and in one step, makes them count."""
        image_path, record_path = self._paths(step, key)
        write_bytes(image_path, image.to_bytes())
        write_record(record_path, record, [image_path])

    def clear(self) -> None:
        """Remove what was kept of this case."""
        for path in sorted(self.folder.glob(f"{self.case_id}.step-*")):
            path.unlink(missing_ok=True)

    def _paths(self, step: str, key: str) -> tuple[Path, Path]:
        stem = f"{self.case_id}.step-{step}.{key}"
        # Not compressed: it is read once or never, and gzip would take longer than some steps.
        return self.folder / f"{stem}.nii", self.folder / f"{stem}.json"


def step_key(before: str, description: dict[str, Any]) -> str:
    """Return the key of a step: that of what it gets, and everything that decides what it makes."""
    return sha256_bytes((before + canonical_json(description)).encode())[:16]
