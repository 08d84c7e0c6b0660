"""A brain and a detector in, both priors out [equations 2 to 5]; no label, no truth, no id is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ictmri_baselines.localizer.classical.evidence import evidence_of
from ictmri_baselines.localizer.classical.grid_2mm import Field, Mask, on_brain_grid, step_of
from ictmri_baselines.localizer.classical.refine import INSIDE, Samples, VoxelModel, refine, samples
from ictmri_baselines.localizer.prior import DILATION_MM, SIGMA_MM, coarse_prior, region_prior
from ictmri_baselines.localizer.region import MARKED, Region

if TYPE_CHECKING:
    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.boxes import SliceBoxes
    from ictmri_baselines.localizer.detectors import Detector
    from ictmri_baselines.processor.mapping import Mapping

VERY_LARGE: Final = 0.12
"""Of the brain. The largest of the real tumours that we have (BraTS 2013, with its oedema) is marked over
9.5 %, 1.02 times its true volume."""
FLAGS: Final = {
    "empty": "nothing was detected",
    "outside-brain": "no box lies inside the brain",
    "whole-brain": "the boxes fill more than half of the brain",
    "very-large": f"the refined prior fills more than {100 * VERY_LARGE:.0f} % of the brain",
    "few-voxels": "the boxes hold too few voxels to learn from",
    "many-parts": "the refined prior has more than eight parts",
    "no-contrast": "the brain overlaps the template too little to compare them",
}
"""What may be said about a case, worst first, and what it means."""
MANY_PARTS: Final = 8


@dataclass(frozen=True, slots=True)
class Localization:
    """Where the tumour may be, on the grid of the brain.

    Attributes:
        coarse: float32 in [0, 1] [equation 4].
        refined: uint8, 0 or 1 [equation 5].
        boxes: what both were made from, or those around a detector's map.
        summary: ``brain_share`` of the refined prior in MNI152 space, its ``components``, ``slices`` with
            boxes, ``boxes``. Volumes in the scan's own space need its mapping, see :meth:`volumes`.
        flags: codes of :data:`FLAGS`, worst first.
    """

    coarse: nib.Nifti1Image
    refined: nib.Nifti1Image
    boxes: list[SliceBoxes]
    summary: dict[str, float]
    flags: tuple[str, ...]

    def volumes(self, mapping: Mapping, mask: nib.Nifti1Image) -> dict[str, float]:
        """Return ``coarse_ml`` (above one half, in the brain) and ``refined_ml``, in the scan's own space.

        Args:
            mapping: between the scan and MNI152 space.
            mask: of the brain, on its grid.
        """
        brain = np.asarray(mask.dataobj) > 0
        affine = np.asarray(mask.affine, dtype=np.float64)
        coarse = (np.asarray(self.coarse.dataobj) > INSIDE) & brain
        refined = np.asarray(self.refined.dataobj) > 0
        return {
            "coarse_ml": round(mapping.scan_ml(coarse, affine), 3),
            "refined_ml": round(mapping.scan_ml(refined, affine), 3),
        }


def localize(
    brain: Brain,
    detector: Detector,
    *,
    sigma_mm: float = SIGMA_MM,
    dilation_mm: float = DILATION_MM,
    seed: int = 0,
    model: VoxelModel | None = None,
) -> Localization:
    """Detect, make the coarse prior of the boxes or of the map, refine.

    Args:
        brain: on the template's grid of 1 or 2 mm.
        detector: gives boxes on that grid, or a map.
        sigma_mm: of the Gaussian over stacked boxes.
        dilation_mm: of the dilation that follows.
        seed: of the voxel-wise MLP.
        model: an MLP of a whole cohort; where None, one is trained on this case.

    Raises:
        InputError: the brain lies on neither of the template's grids.
    """
    step = step_of(brain)
    coarse, sure, rows, drawn = _detected(brain, detector, sigma_mm, dilation_mm)
    refined, flags = (
        _refined(brain, sure, step, seed, model) if drawn is None else _kept(brain, drawn)
    )
    summary = _summary(refined, np.asarray(brain.mask.dataobj) > 0, rows)
    if "empty" in flags and summary["boxes"]:
        flags = ["outside-brain"]
    if summary["brain_share"] > VERY_LARGE:
        flags.append("very-large")
    if summary["components"] > MANY_PARTS:
        flags.append("many-parts")
    return Localization(
        coarse=_stored(coarse, brain),
        refined=_stored(refined.astype(np.uint8), brain),
        boxes=rows,
        summary=summary,
        flags=tuple(flag for flag in FLAGS if flag in flags),
    )


def voxels_of(brain: Brain, detector: Detector, *, seed: int = 0) -> Samples | None:
    """Return the voxels of a case that an MLP of a whole cohort learns from.

    Args:
        brain: on the template's grid of 1 or 2 mm.
        detector: gives boxes on that grid, or a map.
        seed: of the draw.

    Returns:
        None where they enclose too little or all, or the brain cannot be compared with the template.

    Raises:
        InputError: the brain lies on neither of the template's grids.
    """
    every = (slice(None, None, step_of(brain)),) * 3
    _, sure, *_ = _detected(brain, detector, SIGMA_MM, DILATION_MM)
    seen = evidence_of(brain)
    return None if seen is None else samples(seen, np.ascontiguousarray(sure[every]), seed=seed)


def _detected(
    brain: Brain, detector: Detector, sigma_mm: float, dilation_mm: float
) -> tuple[Field, Field, list[SliceBoxes], Mask | None]:
    """Return the coarse prior, what of it is refined, the boxes of the file, and an outline that was drawn.

    A map is refined as it is: its margin belongs to the coarse prior alone.
    """
    affine = np.asarray(brain.image.affine, dtype=np.float64)
    found = detector.detect(brain)
    if isinstance(found, Region):
        if found.map.shape != brain.image.shape:
            raise ValueError(f"a map of {found.map.shape} on a brain of {brain.image.shape}")
        sure = region_prior(replace(found, margin_mm=0.0), affine)
        coarse = region_prior(found, affine) if found.margin_mm else sure
        return coarse, sure, found.boxes(), found.map > MARKED if found.drawn else None
    rows, shape = list(found), brain.image.shape
    coarse = coarse_prior(rows, shape, affine, sigma_mm=sigma_mm, dilation_mm=dilation_mm)
    return coarse, coarse, rows, None


def _kept(brain: Brain, drawn: Mask) -> tuple[Mask, list[str]]:
    """Return an outline that was drawn as it is, in the brain."""
    inside = drawn & (np.asarray(brain.mask.dataobj) > 0)
    return inside, [] if inside.any() else ["empty"]


def _refined(
    brain: Brain, coarse: Field, step: int, seed: int, model: VoxelModel | None
) -> tuple[Mask, list[str]]:
    """Refine on the 2 mm grid and come back to the brain's own."""
    mask = np.asarray(brain.mask.dataobj) > 0
    inside = mask & (coarse > INSIDE)
    if not inside.any():
        return inside, ["empty"]
    seen = evidence_of(brain)
    if seen is None:
        return inside, ["no-contrast"]
    every = (slice(None, None, step),) * 3
    found, outcome = refine(seen, np.ascontiguousarray(coarse[every]), seed=seed, model=model)
    if outcome == "empty":  # thinner than a voxel of the 2 mm grid
        return inside, ["few-voxels"]
    flags: list[str] = [] if outcome == "refined" else [outcome]
    back = on_brain_grid(found.astype(np.float32), brain) >= 0.5
    return back & mask, flags


def _summary(refined: Mask, mask: Mask, rows: list[SliceBoxes]) -> dict[str, float]:
    _, parts = ndimage.label(refined, np.ones((3, 3, 3)))
    return {
        "brain_share": round(float(refined.sum() / max(mask.sum(), 1)), 5),
        "components": float(parts),
        "slices": float(sum(bool(row.boxes) for row in rows)),
        "boxes": float(sum(len(row.boxes) for row in rows)),
    }


def _stored(
    voxels: npt.NDArray[np.float32] | npt.NDArray[np.uint8], brain: Brain
) -> nib.Nifti1Image:
    image = nib.Nifti1Image(voxels, brain.image.affine)
    image.set_sform(brain.image.affine, 4)
    image.set_qform(brain.image.affine, 4)
    return image
