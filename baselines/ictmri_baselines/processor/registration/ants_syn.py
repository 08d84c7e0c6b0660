"""SyN by ANTs on two arrays of one grid: one thread, so that the same arrays give the same field.

ITK decides on its number of threads when it is first used in a process, and SyN's sums depend on it.
Where this module brings ANTs in, it makes that decision for the process. Where somebody else brought
ANTs in before, SyN runs in a child process of its own.

Source: Avants et al., Symmetric diffeomorphic image registration with cross-correlation, Medical Image
Analysis 2008, doi:10.1016/j.media.2007.06.004.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ictmri.extras import need
from ictmri.io.parallel import variables

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_THREADS: Final = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
_SEED: Final = "1"
_PRIMER: Final = 16
"""Voxels along the edge of the cubes whose registration makes ITK decide; it takes milliseconds."""

_state = {"ours": False}


@dataclass(frozen=True, slots=True)
class SynParameters:
    """Settings of ANTs' SyN.

    Attributes:
        metric: ANTs' name.
        bins: of the joint histogram, where the metric is mutual information (``mattes``).
        gradient_step: ANTs' default.
        update_sigma: smoothing of the update field in voxels, ANTs' default.
        total_sigma: smoothing of the whole field in voxels, ANTs' default.
        iterations: a level, coarse to fine.
        shrink: factor a level.
        smoothing: sigma in voxels a level.
    """

    metric: str = "mattes"
    bins: int = 32
    gradient_step: float = 0.2
    update_sigma: float = 3.0
    total_sigma: float = 0.0
    iterations: tuple[int, ...] = (40, 30)
    shrink: tuple[int, ...] = (2, 1)
    smoothing: tuple[float, ...] = (1.0, 0.0)


def check_ants() -> None:
    """Make sure that ANTs is installed, without importing it.

    Raises:
        MissingDependencyError: it is not.
    """
    need("baselines", "SyN (antspyx)", "ants")


def syn(
    fixed: Array,
    moving: Array,
    mask: Mask | None,
    edge_mm: float,
    parameters: SynParameters,
) -> Array:
    """Register two volumes of one grid.

    Args:
        fixed: (X, Y, Z) float32.
        moving: the same shape.
        mask: where in ``fixed`` the metric looks; everywhere where None.
        edge_mm: edge of the voxels.
        parameters: of the registration.

    Returns:
        (3, X, Y, Z) float32: the displacement in mm along the array's axes from a point of ``fixed``
        to its match in ``moving``.

    Raises:
        MissingDependencyError: ANTs is not installed.
        RuntimeError: ANTs failed.
    """
    check_ants()
    if not _state["ours"] and "ants" in sys.modules:
        return _in_child(fixed, moving, mask, edge_mm, parameters)
    if not _state["ours"]:
        _bring_in()
    return _run(fixed, moving, mask, edge_mm, parameters)


def _bring_in() -> None:
    """Import ANTs and make its ITK settle on one thread."""
    with variables({_THREADS: "1"}):
        noise = np.random.default_rng(0).random((2, *[_PRIMER] * 3), dtype=np.float32)
        _run(
            noise[0],
            noise[1],
            None,
            1.0,
            SynParameters(iterations=(1,), shrink=(1,), smoothing=(0,)),
        )
    _state["ours"] = True


def _run(
    fixed: Array, moving: Array, mask: Mask | None, edge_mm: float, parameters: SynParameters
) -> Array:
    import ants
    from ants.internal import get_pointer_string

    def image(data: npt.NDArray[Any]) -> Any:
        return ants.from_numpy(np.ascontiguousarray(data, np.float32), spacing=[edge_mm] * 3)

    # ANTs gets addresses: the images must outlive the call.
    images = [image(fixed), image(moving)]
    names = [get_pointer_string(one) for one in images]
    masks = "[NA,NA]"
    if mask is not None:
        images.append(image(mask).clone("unsigned char"))
        masks = f"[{get_pointer_string(images[-1])},NA]"
    with tempfile.TemporaryDirectory(prefix="ictmri-syn-") as folder:
        prefix = f"{folder}/syn_"
        ants.registration(_arguments(names, masks, prefix, parameters), None)
        stored: Any = nib.load(f"{prefix}1Warp.nii.gz")
        data = np.asarray(stored.dataobj, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(data.reshape((*data.shape[:3], 3)), -1, 0))


def _arguments(names: list[str], masks: str, prefix: str, parameters: SynParameters) -> list[str]:
    def levels(values: tuple[Any, ...]) -> str:
        return "x".join(f"{value:g}" for value in values)

    fixed, moving = names
    steps = (parameters.gradient_step, parameters.update_sigma, parameters.total_sigma)
    return [
        *("--dimensionality", "3", "--float", "1", "--random-seed", _SEED, "-r", "Identity"),
        *("--metric", f"{parameters.metric}[{fixed},{moving},1,{parameters.bins}]"),
        *("--transform", "SyN[{:g},{:g},{:g}]".format(*steps)),
        *("--convergence", f"[{levels(parameters.iterations)},1e-7,8]"),
        *("--smoothing-sigmas", levels(parameters.smoothing)),
        *("--shrink-factors", levels(parameters.shrink)),
        *("-u", "0", "-z", "1", "--output", prefix, "-x", masks),
    ]


def _in_child(
    fixed: Array, moving: Array, mask: Mask | None, edge_mm: float, parameters: SynParameters
) -> Array:
    with tempfile.TemporaryDirectory(prefix="ictmri-syn-") as name:
        folder = Path(name)
        np.savez(
            folder / "in.npz", fixed=fixed, moving=moving, mask=fixed > 0 if mask is None else mask
        )
        (folder / "in.json").write_text(
            json.dumps({"masked": mask is not None, "edge_mm": edge_mm, **asdict(parameters)}),
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-m", "ictmri_baselines.processor.registration.ants_syn", name],
            env={**os.environ, _THREADS: "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"SyN failed in its own process: {done.stderr.strip()[-500:]}")
        field: Array = np.load(folder / "out.npy")
        return field


def _serve(folder: Path) -> None:
    """Do in a child process what :func:`_in_child` asks for."""
    asked = json.loads((folder / "in.json").read_text(encoding="utf-8"))
    masked, edge_mm = asked.pop("masked"), asked.pop("edge_mm")
    lists: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()
    }
    with np.load(folder / "in.npz") as arrays:
        mask = arrays["mask"] if masked else None
        field = syn(arrays["fixed"], arrays["moving"], mask, edge_mm, SynParameters(**lists))
    np.save(folder / "out.npy", field)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
