"""What a method may look at: cases without labels, volumes behind a memory map."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ictmri.atlas.template import SHAPE, SPACING_MM, coarser, grid_affine
from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri.io.lock import folder_lock
from ictmri.io.resources import user_cache
from ictmri.io.states import facts_in, kept, read_record, write_record
from ictmri.io.volumes import unpack

_INDEX: Final = "index.json"
_ARRAYS: Final = ("image.npy", "prior.npy", "refined.npy")
LEVELS: Final = 255
"""Stored level of a prior of 1."""
THRESHOLD: Final = 0.5
"""A voxel belongs to the region where its prior is at least this."""

if TYPE_CHECKING:
    import nibabel as nib

    from ictmri.cohort import Cohort
    from ictmri_baselines.processor.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Brain:
    """A processed volume in MNI152 space; it carries no label.

    Attributes:
        image: on the grid of 1 or 2 mm; (x - median) / (1.4826 MAD) of the brain, 0 outside it.
        mask: uint8 brain mask, same grid.
        mapping: the way from its scan, None where that is not known: for what was drawn on the scan.
    """

    image: nib.Nifti1Image
    mask: nib.Nifti1Image
    mapping: Mapping | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Volumes:
    """The processed volumes of a cohort on the MNI152 grid of 2 mm.

    Attributes:
        image: (n, X, Y, Z) float16 memory map, intensity-standardised, 0 outside the brain.
        prior: (n, X, Y, Z) uint8 memory map, the coarse prior, 0..255 for a probability of 0..1.
        refined: (n, X, Y, Z) uint8 memory map, the refined prior, 0..255 for a share of 0..1.
        affine: (4, 4) voxel to MNI mm.
    """

    image: NDArray[np.float16]
    prior: NDArray[np.uint8]
    refined: NDArray[np.uint8]
    affine: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cases:
    """Some cases of a cohort, as a method sees them: it is never handed the labels of test cases.

    Attributes:
        case_ids: n ids.
        sex: (n,) 0 female, 1 male, NaN unknown.
        age: (n,) years, NaN unknown.
        rows: (n,) positions in ``volumes``; -1 for a case that could not be processed.
        volumes: None where the recipe does not need them.
    """

    case_ids: list[str]
    sex: NDArray[np.float64]
    age: NDArray[np.float64]
    rows: NDArray[np.int64]
    volumes: Volumes | None

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.case_ids)

    def image(self, index: int) -> NDArray[np.float32]:
        """Return the volume of one case, (X, Y, Z) float32."""
        return np.asarray(self._volumes.image[self.rows[index]], dtype=np.float32)

    def prior(self, index: int) -> NDArray[np.float32]:
        """Return the coarse prior of one case, (X, Y, Z) float32 in [0, 1]."""
        return _share(self._volumes.prior[self.rows[index]])

    def refined(self, index: int) -> NDArray[np.float32]:
        """Return the refined prior of one case, (X, Y, Z) float32 in [0, 1]."""
        return _share(self._volumes.refined[self.rows[index]])

    @property
    def processed(self) -> NDArray[np.bool_]:
        """Whether each case has a volume, (n,)."""
        return self.rows >= 0

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to MNI mm, (4, 4)."""
        return self._volumes.affine

    @property
    def _volumes(self) -> Volumes:
        if self.volumes is None:
            raise RuntimeError("this recipe declares that it needs no volumes")
        return self.volumes

    def subset(self, chosen: NDArray[np.bool_]) -> Cases:
        """Return the chosen cases, in order."""
        ids = [case_id for case_id, keep in zip(self.case_ids, chosen, strict=True) if keep]
        return Cases(ids, self.sex[chosen], self.age[chosen], self.rows[chosen], self.volumes)


def _share(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(levels, dtype=np.float32) / np.float32(LEVELS)


def strange_masks(folder: Path, case_ids: Collection[str]) -> list[str]:
    """Say which volumes in a folder of masks ``<case_id>.nii.gz`` are named after no case."""
    from ictmri.scans.read import VOLUME_ENDINGS  # its readers are nothing for a method

    names = {f"{case_id}.nii.gz" for case_id in case_ids}
    volumes = (path.name for path in folder.glob("*") if path.name.lower().endswith(VOLUME_ENDINGS))
    return [f"{name} is named after no case" for name in sorted(volumes) if name not in names]


def mask_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each ``<case_id>.nii.gz`` in a folder of masks, by name; none of a dead link.

    Raises:
        InputError: there is none.
    """
    paths = sorted(folder.glob("*.nii.gz"))
    found = {path.name: sha256_file(path) if path.is_file() else "" for path in paths}
    if not found:
        next_step = "name each mask after its case, see folds.csv"
        raise InputError(str(folder), ["holds no <case_id>.nii.gz"], next_step)
    return found


def region(prior: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the voxels (X, Y, Z) that count as lesion of a prior (X, Y, Z) in [0, 1].

    The prior's half-height; where its peak is lower, the peak alone.
    """
    peak = float(prior.max())
    return prior >= min(THRESHOLD, peak) if peak > 0 else np.zeros(prior.shape, dtype=bool)


def load_cases(cohort: Cohort, *, with_volumes: bool) -> Cases:
    """Return all cases of a cohort in the order of its fold table."""
    ids = cohort.folds().case_ids
    table = {row["case_id"]: row for row in cohort.rows("default", ["case_id", "sex", "age"])}
    volumes, places = (None, {case_id: i for i, case_id in enumerate(ids)})
    if with_volumes:
        volumes, places = open_volumes(cohort)
    return Cases(
        case_ids=ids,
        sex=np.array([_number(table[case_id]["sex"]) for case_id in ids]),
        age=np.array([_number(table[case_id]["age"]) for case_id in ids]),
        rows=np.array([places.get(case_id, -1) for case_id in ids], dtype=np.int64),
        volumes=volumes,
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def open_volumes(cohort: Cohort, *, checked: bool = False) -> tuple[Volumes, dict[str, int]]:
    """Return the memory-mapped volumes and each case's row in them, decoding the cohort once.

    The cache lies in the user cache under the digest of the processed data.

    Args:
        cohort: processed and localized.
        checked: compare the bytes of the cache with those that were written.
    """
    folder = user_cache() / "arrays" / cohort.manifest.digest_of("processed")[:16]
    index = folder / _INDEX
    with folder_lock(folder):
        whole = not checked or read_record(index) is not None
        opened = kept(index, _mapped) if whole else None
        if opened is None:
            _decode(cohort, folder)
            opened = _mapped(index)
    return opened


def _mapped(index: Path) -> tuple[Volumes, dict[str, int]]:
    facts = facts_in(index)
    image, prior, refined = (_array(index.with_name(name)) for name in _ARRAYS)
    volumes = Volumes(image, prior, refined, affine=np.array(facts["affine"]))
    return volumes, {case_id: place for place, case_id in enumerate(facts["case_ids"])}


def _array(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, EOFError, FileNotFoundError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def _decode(cohort: Cohort, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids: list[str] = []
    affine = grid_affine(SPACING_MM)
    shape = (cohort.manifest.n_cases - len(cohort.manifest.left_out), *SHAPE)
    paths = [folder / name for name in _ARRAYS]
    types = (np.float16, np.uint8, np.uint8)
    image, prior, refined = (
        _new(path, kind, shape) for path, kind in zip(paths, types, strict=True)
    )
    columns = ["case_id", "image", "prior_coarse", "prior_refined"]
    for place, row in enumerate(cohort.rows("processed", columns)):
        image[place] = at_2mm(unpack(row["image"]).get_fdata(dtype=np.float32))
        prior[place] = np.round(at_2mm(_levels(row["prior_coarse"])))
        refined[place] = np.round(at_2mm(LEVELS * _levels(row["prior_refined"])))
        ids.append(row["case_id"])
    for array in (image, prior, refined):
        array.flush()
    facts = {"case_ids": ids, "affine": affine.tolist()}
    write_record(folder / _INDEX, facts, paths)


def _levels(stored: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(unpack(stored).dataobj, dtype=np.float32)


def _new(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    return open_memmap(path, "w+", dtype, shape)  # type: ignore[no-untyped-call]


def at_2mm(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a volume (X, Y, Z) of the 1 mm grid on that of 2 mm; one of the 2 mm grid as it is."""
    return volume if volume.shape == SHAPE else coarser(volume, 2)
