"""What was found before, here or elsewhere: boxes of a published file, or masks that were drawn."""

from __future__ import annotations

import glob
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np

from ictmri.atlas.geometry import Affine, canonical
from ictmri.errors import InputError, ScanError, collected
from ictmri.io.files import canonical_json, sha256_bytes, sha256_file
from ictmri.scans.nifti import read_nifti
from ictmri.scans.read import check_placement
from ictmri_baselines.cases import mask_digests, strange_masks
from ictmri_baselines.localizer.boxes import SliceBoxes, read_boxes
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.grid import Grid
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.processor.mapping import Mapping

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain


class Replay(DetectorSettings):
    """Boxes of a file that was made before, here or elsewhere."""

    name = "boxes"
    version = "1"
    looks = False
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

    def prepare(self, case_ids: Collection[str], left_out: Collection[str] = ()) -> None:
        """Check the file before the work: every line, no case that is unknown, none that is missing."""
        known = {*case_ids, *left_out}
        absent = sorted(set(case_ids) - set(read_boxes(self.boxes, case_ids=known)))
        if absent:
            raise missing_cases(self.boxes, absent)

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
            raise missing_cases(self._path, [self._case_id])
        return list(cases[self._case_id])


def missing_cases(path: Path, case_ids: Collection[str]) -> InputError:
    """Return the error of cases that a file has no line of."""
    return InputError(
        str(path),
        [f"no line of case {case_id}" for case_id in case_ids],
        "a case without findings has lines without boxes; detect on these cases and append theirs",
    )


@lru_cache(maxsize=1)
def _cases(path: Path, _sha256: str, spacing_mm: int) -> dict[str, list[SliceBoxes]]:
    return read_boxes(path, spacing_mm=spacing_mm)


class MaskReplay(DetectorSettings):
    """Masks that were drawn or made before, one CASE_ID.nii.gz for each case."""

    name = "masks"
    version = "1"
    looks = False
    unrecorded = frozenset({"masks"})

    masks: Path

    def facts(self) -> dict[str, Any]:
        """Return the digest of all files: a changed mask is another detector."""
        return {"masks_sha256": sha256_bytes(canonical_json(mask_digests(self.masks)).encode())}

    def prepare(self, case_ids: Collection[str], left_out: Collection[str] = ()) -> None:
        """Read every mask before the work; all that are missing, are none or are of no case are named."""
        problems = strange_masks(self.masks, {*case_ids, *left_out})
        for case_id in sorted(case_ids):
            with collected(problems, f"{case_id}.nii.gz"):
                read_mask(self.masks / f"{case_id}.nii.gz")
        if problems:
            raise InputError(str(self.masks), problems, _MASKS)

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> MaskDetector:  # noqa: ARG002
        """Return the replay of a case."""
        return MaskDetector(self.masks / f"{case_id}.nii.gz")


class MaskDetector:
    """The mask of one case, wherever its brain lies."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def detect(self, brain: Brain) -> Region:
        """Return the mask as a map, brought to the brain's grid by the nearest voxel.

        Raises:
            InputError: it is none, nothing of it lies in the brain, or the way from its scan is not known.
        """
        voxels, affine = read_mask(self._path)
        way = Mapping(np.eye(4)) if _on_template(voxels, affine) else brain.mapping
        if way is None:
            problem = "lies on no MNI152 grid, and the way from its scan is not known"
            raise InputError(str(self._path), [problem], _MASKS)
        there = way.pull(voxels, affine, Grid.of(brain.image).spacing_mm, order=0)
        if voxels.any() and not (there[np.asarray(brain.mask.dataobj) > 0]).any():
            raise InputError(str(self._path), ["nothing of it lies in the brain"], _MASKS)
        return Region(there, MaskReplay.name, drawn=True)


_MASKS: Final = (
    "--masks FOLDER: for each case CASE_ID.nii.gz, 1 in the tumour and 0 elsewhere, in the space of its "
    "scan or on an MNI152 grid of 1 or 2 mm; all 0 where there is no tumour"
)
_SHOWN: Final = 5
_GUESSED: Final = {"orientation-missing", "orientation-conflict"}
"""Findings of a header that leaves open where its voxels lie."""


def read_mask(path: Path) -> tuple[Any, Affine]:
    """Return a mask's voxels in RAS order, 0 and 1, and its affine.

    Raises:
        InputError: there is none, it cannot be read, or it holds other values.
    """
    if not path.is_file():
        like = sorted(path.parent.glob(f"{glob.escape(path.name.removesuffix('.nii.gz'))}[._-]*"))
        there = f", but {like[0].name}" if like and like[0] != path else ""
        raise InputError(str(path), [f"there is no such file{there}"], _MASKS)
    try:
        scan = read_nifti(path)
        check_placement(scan.image.affine)
        voxels, affine = canonical(scan.image)
    except (ScanError, OSError, EOFError, ValueError) as error:
        reason = error.reason if isinstance(error, ScanError) else f"cannot be read ({error})"
        raise InputError(str(path), [reason], _MASKS) from None
    if guessed := [note.text for note in scan.oddities if note.code in _GUESSED]:
        raise InputError(str(path), guessed, "write its orientation, the scan's, into its header")
    values = np.unique(voxels)
    if not np.isin(values, (0, 1)).all():
        more = ", ..." if len(values) > _SHOWN else ""
        shown = ", ".join(f"{value:g}" for value in values[:_SHOWN]) + more
        raise InputError(str(path), [f"holds the values {shown}, not 0 and 1 alone"], _MASKS)
    return voxels, affine


def _on_template(voxels: Any, affine: Affine) -> bool:
    try:
        Grid.of(nib.Nifti1Image(voxels, affine))
    except ValueError:
        return False
    return True
