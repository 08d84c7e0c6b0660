"""Numbers about a processed scan: is it a head, is all of its brain there, does it lie on the template?

Whether the brain is whole is looked at on the template's grid of 2 mm by the mapping's affine alone: a warp
pulls half a brain over the whole template, and would hide what is to be found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine
from scipy import ndimage

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.box import Box, box_of, reached_box, wider
from ictmri.atlas.geometry import canonical, orthogonal, shrink, to_itk
from ictmri.atlas.template import FLOAT_TO_FWHM, SPACING_MM, template

if TYPE_CHECKING:
    from ictmri_baselines.processor.mapping import Mapping
    from ictmri_baselines.processor.process import Processed

AIR_SHARE: Final = 0.04
"""Share of the way from the background to the brain's bright voxels below which a voxel holds nothing."""
VOID_MM: Final = 4.0
"""Radius of the smallest empty ball inside a brain mask that counts; sinuses and sulci are narrower."""
SOLID_SHARE: Final = 0.6
"""Share of the way from the background to the brain's median above which a voxel counts as tissue."""
RIM_MM: Final = 6.0
"""Fluid and bone darken a voxel within this outside a brain's true surface."""
RIM_VOXELS: Final = round(RIM_MM / SPACING_MM)
BITE_MM: Final = 5.0
"""Radius of the smallest ball that counts as missing: between two brains of one shape lie shells that are
thinner than twice this."""
SMOOTH_MM: Final = 4.0
"""Full width at half maximum before correlating: thick slices hold no finer detail than this."""

Mask = npt.NDArray[np.bool_]
Volume = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placed:
    """A scan and its brain on the template's grid of 2 mm, by the mapping's affine alone.

    Attributes:
        scan: its intensities in the box of its brain and :data:`RIM_MM` around; the background's elsewhere.
        brain: the mask.
        void: what of the mask holds no signal.
        seen: the scan's field of view.
        solid_level: intensity above which a voxel is tissue, no fluid and no bone.
        scan_from_mni: that affine, MNI mm to scan mm.
    """

    scan: Volume
    brain: Mask
    void: Mask
    seen: Mask
    solid_level: float
    scan_from_mni: npt.NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        """Return the volume of a grid voxel in the scan."""
        return SPACING_MM**3 * abs(float(np.linalg.det(self.scan_from_mni[:3, :3]))) / 1000

    @property
    def tissue(self) -> Mask:
        """Return the brain without what holds no signal."""
        return self.brain & ~self.void


def measure(image: nib.Nifti1Image, processed: Processed) -> dict[str, float]:
    """Return the QC numbers of a processed scan, to which :mod:`.apply_rules` applies the bounds.

    Args:
        image: the scan as it was processed, in any orientation.
        processed: what became of it.

    Returns:
        Finite numbers by name: volumes in ml of the scan, shares and correlations in [0, 1] or [-1, 1].
        ``missing_x_mm`` and its like are there where ``missing_ml`` is not 0.
    """
    placed = place(image, processed)
    return {
        **mask_numbers(processed.scan_mask),
        **affine_numbers(placed.scan_from_mni),
        **overlap_numbers(placed),
        **rim_numbers(placed, extracted=processed.extracted),
        "head": head_overlap(image, processed),
        "overlap": overlap(processed.brain.mask),
        "likeness": likeness(processed.brain.image, processed.brain.mask),
        **warp_numbers(processed.mapping, processed.brain.mask),
    }


def place(image: nib.Nifti1Image, processed: Processed) -> Placed:
    """Put a scan and its brain mask on the template's grid of 2 mm, by the mapping's affine alone."""
    voxels, affine = canonical(image)
    stored, mask_affine = canonical(processed.scan_mask)
    mask = stored > 0
    scan_from_mni = processed.mapping.scan_from_mni
    low, high = _range(voxels, mask)
    seen = _seen(voxels.shape, affine, scan_from_mni)
    target = template()
    to_mask = np.linalg.inv(mask_affine) @ scan_from_mni @ target.affine
    near = reached_box(np.linalg.inv(to_mask), box_of(mask), target.mask.shape)
    brain = _sampled(mask.astype(np.float32), to_mask, near) > 0.5
    to_scan = np.linalg.inv(affine) @ scan_from_mni @ target.affine
    scan = _sampled(voxels, to_scan, box_of(brain, RIM_VOXELS), outside=low)
    empty = brain & (scan <= low + AIR_SHARE * (high - low))
    middle = float(np.median(scan[brain])) if brain.any() else high
    return Placed(
        scan=scan,
        brain=brain,
        void=opened(empty, VOID_MM),
        seen=seen,
        solid_level=low + SOLID_SHARE * (middle - low),
        scan_from_mni=scan_from_mni,
    )


def head_overlap(image: nib.Nifti1Image, processed: Processed) -> float:
    """Return how well the scan's head covers the template's above the skull base (Dice).

    1 for a scan that came without its skull. See :meth:`ictmri.atlas.alignment.Aligned.overlap`.
    """
    if processed.extracted:
        return 1.0
    voxels, affine = canonical(image)
    world = orthogonal(affine)
    scan = shrink(to_itk(voxels - voxels.min(), world), SPACING_MM)
    scan_from_mni = processed.mapping.scan_from_mni
    to_plain = world @ np.linalg.inv(affine) @ scan_from_mni
    return Aligned(scan, False, to_plain, scan_from_mni).overlap()


def _range(voxels: Volume, mask: Mask) -> tuple[float, float]:
    """Return the background's value and that of the brain's bright voxels."""
    corners = voxels[np.ix_(*[(0, -1)] * 3)]
    inside = voxels[mask]
    high = float(np.percentile(inside, 98)) if inside.size else float(voxels.max())
    return min(float(np.median(corners)), high), high


def _seen(
    shape: tuple[int, ...], affine: npt.NDArray[Any], scan_from_mni: npt.NDArray[Any]
) -> Mask:
    """Return where the template's grid lies in a scan's field of view, its outermost voxels whole."""
    target = template()
    lookup = np.linalg.inv(affine) @ scan_from_mni @ target.affine
    grid = np.ogrid[tuple(slice(size) for size in target.mask.shape)]
    seen: Mask = np.ones(target.mask.shape, dtype=bool)
    for row, size in zip(lookup[:3], shape, strict=True):
        index = row[0] * grid[0] + row[1] * grid[1] + row[2] * grid[2] + row[3]
        seen &= (index >= -0.5) & (index <= size - 0.5)
    return seen


def _sampled(voxels: Volume, lookup: npt.NDArray[Any], only: Box, outside: float = 0.0) -> Volume:
    """Return voxels on the template's grid, ``outside`` off their own grid and off a box."""
    found = np.full(template().mask.shape, outside, dtype=np.float32)
    ndimage.affine_transform(
        voxels,
        lookup[:3, :3],
        apply_affine(lookup, [side.start for side in only]),
        output=found[only],
        output_shape=found[only].shape,
        order=1,
        mode="grid-constant",
        cval=outside,
    )
    return found


def mask_numbers(mask: nib.Nifti1Image) -> dict[str, float]:
    """Return the volume of a brain mask, how it is cut by the field of view, its holes and its pieces."""
    whole = np.asarray(mask.dataobj) > 0
    inside = whole[box_of(whole, 1)]
    voxel_ml = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000
    sizes = _sizes(inside)
    holes = int(ndimage.binary_fill_holes(inside).sum() - inside.sum())
    return {
        "brain_ml": float(inside.sum()) * voxel_ml,
        "border_share": border_share(whole),
        "holes_ml": holes * voxel_ml,
        "pieces_ml": float(sizes.sum() - sizes.max(initial=0)) * voxel_ml,
    }


def border_share(inside: Mask) -> float:
    """Return the largest face that a side of the volume cuts a mask at, a share of its largest section."""
    worst = 0.0
    for axis in range(3):
        areas = inside.sum(axis=tuple({0, 1, 2} - {axis}))
        if areas.any():
            worst = max(worst, float(areas[[0, -1]].max()) / float(areas.max()))
    return worst


def affine_numbers(scan_from_mni: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return how much the affine scales the template's volume, and how unevenly it stretches it."""
    stretches = np.linalg.svd(scan_from_mni[:3, :3], compute_uv=False)
    return {
        "scale": float(np.prod(stretches)),
        "stretch": float(stretches[0] / max(stretches[-1], 1e-9)),
    }


def overlap_numbers(placed: Placed) -> dict[str, float]:
    """Return how the brain covers the template's, and the largest lump that it lacks or has too much."""
    target, tissue, seen = template().mask, placed.tissue, placed.seen
    known = target & seen
    mirrored = tissue[::-1]
    both = float((tissue & target).sum())
    sides = sorted([float(tissue[:48].sum()), float(tissue[49:].sum())])
    return {
        "field_share": float(known.sum() / target.sum()),
        "void_share": float(placed.void.sum() / max(placed.brain.sum(), 1)),
        "outline": 2 * both / max(float(tissue.sum() + target.sum()), 1.0),
        **_lump(known & ~tissue, placed.voxel_ml),
        "beyond_ml": largest_ml(tissue & ~target, placed.voxel_ml),
        "bite_ml": largest_ml(mirrored & target & seen & ~tissue, placed.voxel_ml),
        "sides": sides[0] / sides[1] if sides[1] else 0.0,
    }


def rim_numbers(placed: Placed, *, extracted: bool = False) -> dict[str, float]:
    """Return where a brain mask ends in the middle of tissue: with no dark rim outside its surface.

    Where the brain was extracted before, all that is outside is dark, and nothing can be found.
    """
    if extracted:
        return {"bare_share": 0.0, "bare_cm2": 0.0}
    where = box_of(placed.brain, RIM_VOXELS)
    brain = placed.brain[where]
    dark = ~brain & (placed.scan[where] <= placed.solid_level)
    surface = brain & ~ndimage.binary_erosion(brain)
    near = ndimage.distance_transform_edt(~dark) <= RIM_VOXELS if dark.any() else dark
    bare = surface & ~near
    labels, _ = ndimage.label(bare, np.ones((3, 3, 3)))
    largest = np.bincount(labels.ravel())[1:].max(initial=0)
    side_mm = (placed.voxel_ml * 1000) ** (1 / 3)
    return {
        "bare_share": float(bare.sum() / max(surface.sum(), 1)),
        "bare_cm2": float(largest) * side_mm**2 / 100,
    }


def _lump(missing: Mask, voxel_ml: float) -> dict[str, float]:
    """Return the volume of the largest lump that is missing, and the MNI mm of its middle."""
    labels, count = ndimage.label(opened(missing, BITE_MM))
    if not count:
        return {"missing_ml": 0.0}
    sizes = np.bincount(labels.ravel())[1:]
    middle = ndimage.center_of_mass(labels == sizes.argmax() + 1)
    at = apply_affine(template().affine, middle)
    names = ("missing_x_mm", "missing_y_mm", "missing_z_mm")
    return {
        "missing_ml": float(sizes.max()) * voxel_ml,
        **{name: float(value) for name, value in zip(names, at, strict=True)},
    }


def largest_ml(mask: Mask, voxel_ml: float) -> float:
    """Return the volume of a mask's largest lump, thin shells left aside."""
    return float(_sizes(opened(mask, BITE_MM)).max(initial=0)) * voxel_ml


def opened(mask: Mask, radius_mm: float) -> Mask:
    """Return a mask's morphological opening with a ball, by distances (2 mm grid)."""
    whole = np.zeros_like(mask)
    if not mask.any():
        return whole
    box = box_of(mask)
    mask, result = mask[box], whole[box]
    reach = math.ceil(radius_mm / SPACING_MM)
    # Distances are dear: they are taken only around what a diamond leaves, which lies within the ball.
    middles = ndimage.binary_erosion(mask, iterations=reach - 1)
    for found in ndimage.find_objects(ndimage.label(middles, np.ones((3, 3, 3)))[0]):
        where = wider(found, mask.shape, reach)
        part = mask[where]
        inner = ndimage.distance_transform_edt(np.pad(part, 1), sampling=SPACING_MM) >= radius_mm
        if inner.any():
            near = ndimage.distance_transform_edt(~inner, sampling=SPACING_MM) < radius_mm
            result[where] |= near[1:-1, 1:-1, 1:-1] & part
    return whole


def _sizes(mask: Mask) -> npt.NDArray[np.int64]:
    labels, _ = ndimage.label(mask[box_of(mask)])
    return np.bincount(labels.ravel())[1:]


def overlap(mask: nib.Nifti1Image) -> float:
    """Return the Dice of a brain mask in MNI152 space with the template's."""
    mine = np.asarray(mask.dataobj) > 0
    target = template(round(float(np.linalg.norm(mask.affine[:3, 0])))).mask
    return float(2 * (mine & target).sum() / (mine.sum() + target.sum()))


def likeness(image: nib.Nifti1Image, mask: nib.Nifti1Image) -> float:
    """Return the rank correlation of a brain in MNI152 space with the template's, inside both.

    Ranks, so that neither a tumour nor the contrast of the sequence decides (Spearman 1904). Every second
    millimetre is enough.
    """
    from scipy.stats import rankdata  # half of what this package takes to import

    spacing = round(float(np.linalg.norm(image.affine[:3, 0])))
    target = template(spacing)
    both = (np.asarray(mask.dataobj) > 0) & target.mask
    sigma = SMOOTH_MM / FLOAT_TO_FWHM / spacing
    step = max(1, round(SPACING_MM) // spacing)
    where = tuple(
        slice(side.start - side.start % step, side.stop)
        for side in box_of(both, round(4 * sigma) + 1)
    )
    both = both[where]
    every = (slice(None, None, step),) * 3
    kept = both[every]
    values = np.asarray(image.dataobj, np.float32)[where]
    mine, theirs = (_smoothed(v, both, sigma)[every][kept] for v in (values, target.brain[where]))
    if len(mine) < 2 or mine.min() == mine.max():
        return 0.0
    return float(np.corrcoef(rankdata(mine), rankdata(theirs))[0, 1])


def _smoothed(volume: Volume, mask: Mask, sigma: float) -> Volume:
    """Return a volume smoothed inside the mask alone."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    values = ndimage.gaussian_filter(np.where(mask, volume, 0).astype(np.float32), sigma)
    return np.asarray(values / np.maximum(weight, 1e-6), dtype=np.float32)


def warp_numbers(mapping: Mapping, mask: nib.Nifti1Image) -> dict[str, float]:
    """Return the range of the warp's Jacobian determinant inside the brain; 1 without a warp."""
    found = np.ones(1, dtype=np.float32)
    if mapping.warp is not None:
        jacobian = mapping.jacobian()
        where = np.linalg.inv(mask.affine) @ mapping.warp.affine
        inside = ndimage.affine_transform(
            (np.asarray(mask.dataobj) > 0).astype(np.float32),
            where[:3, :3],
            where[:3, 3],
            output_shape=jacobian.shape,
            order=1,
        )
        found = jacobian[inside > 0.5] if (inside > 0.5).any() else jacobian.ravel()
    return {
        "jacobian_min": float(found.min()),
        "jacobian_p1": float(np.percentile(found, 1)),
        "jacobian_p99": float(np.percentile(found, 99)),
        "folded_share": float((found <= 0).mean()),
    }
