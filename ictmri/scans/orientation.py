"""Whether a head lies the way its header says, told by the template.

Each of the 24 ways to lay the voxels' axes out (left and right look alike, so mirrored ones count as
one) is compared with the template on a grid of 8 mm, at every shift at once. If the header's own way is
not the best, the best one is aligned as well, and the two alignments are compared inside the brain.

Source: Lewis, Fast Template Matching, Vision Interface 1995 (normalised cross-correlation by FFT).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from ictmri.atlas.alignment import Aligned, AlignmentError, align
from ictmri.atlas.geometry import LPS, from_itk
from ictmri.atlas.registration import COARSE_MM
from ictmri.atlas.template import FLOAT_TO_FWHM, ORIGIN_MM, template
from ictmri.scans.examine import corners

NECK_Z_MM: Final = -40.0
"""Below this height (MNI) necks and faces differ with the field of view."""
MUCH_BETTER: Final = 1.15
"""Mutual information by which the turned scan must beat the scan. Measured, inside the brain: true
headers leave the best turn at 0.84 of the scan and less, false ones put it at 1.19 and more."""
LEAST_INFORMATION: Final = 0.05
"""Mutual information (nats) that the turned scan must reach; real heads have 0.059 and more."""
LIKE_A_HEAD: Final = 0.8
"""Overlap of the outlines above the skull base; see :meth:`ictmri.atlas.alignment.Aligned.overlap`."""
CLEARLY: Final = 0.01
"""By how much another turn must look more like the template; heads that lie as they say are 0.016 and more
ahead of their second best turn, a ball or a box is not."""
BINS: Final = 32

Array = npt.NDArray[np.float64]
Turn = tuple[tuple[int, ...], tuple[int, ...]]
"""Which of the voxels' axes (right, anterior, superior) runs along each true one, and its sign."""

_UPRIGHT: Final[Turn] = ((0, 1, 2), (1, 1, 1))
SIDES: Final = (("left", "right"), ("back", "front"), ("bottom", "top"))
"""Names of the ends of each axis (right, anterior, superior), the lower one first."""


def orientation(aligned: Aligned) -> str:
    """Say how a head lies if its header is wrong about it, or return an empty string.

    Args:
        aligned: the scan, aligned as its header says it lies.
    """
    turn = best_orientation(aligned)
    if turn == _UPRIGHT:
        return ""
    try:
        other = align(_turned_image(aligned, turn))
    except AlignmentError:
        return ""
    if not other.extracted and other.overlap() < LIKE_A_HEAD:
        return ""
    if information(other) < max(MUCH_BETTER * information(aligned), LEAST_INFORMATION):
        return ""
    return ", ".join(
        f"its {SIDES[axis][1]} is called {SIDES[stored][sign > 0]}"
        for axis, (stored, sign) in enumerate(zip(*turn, strict=True))
        if (stored, sign) != (axis, 1)
    )


def best_orientation(aligned: Aligned) -> Turn:
    """Return the turn under which a scan looks most like the template."""
    scan = np.maximum(_coarse(aligned), 0)
    scan = np.minimum(scan, np.percentile(scan, 99))
    target = _target(extracted=aligned.extracted)
    turns = [
        (axes, signs)
        for axes in permutations(range(3))
        for signs in product((1, -1), repeat=3)
        # Heads are symmetric: what differs by a mirror alone looks the same.
        if signs[0] == 1
    ]
    found = {turn: _likeness(_laid_out(scan, turn), *target) for turn in turns}
    best = max(turns, key=found.__getitem__)
    return best if found[best] >= found[_UPRIGHT] + CLEARLY else _UPRIGHT


def information(aligned: Aligned) -> float:
    """Return the mutual information (nats) of scan and template inside the brain, 0 where unseen."""
    target = template()
    scan = aligned.on_template()[::2, ::2, ::2]
    brain = target.mask[::2, ::2, ::2]
    seen = brain & (scan > 0)
    if not seen.any():
        return 0.0
    values = np.clip(scan[seen], *np.percentile(scan[seen], [0.5, 99.5]))
    joint = np.histogram2d(values, target.head[::2, ::2, ::2][seen], BINS)[0]
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) @ joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    told = float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())
    return told * float(seen.sum() / brain.sum())


def _coarse(aligned: Aligned) -> Array:
    """Return the scan on cubes of 8 mm, axes nearest to right, anterior, superior, background 0."""
    voxels = from_itk(aligned.scan).astype(np.float64)
    spacing = np.array(aligned.scan.GetSpacing())
    blur = np.where(spacing < COARSE_MM, COARSE_MM / FLOAT_TO_FWHM / spacing, 0)
    smooth = ndimage.gaussian_filter(voxels, blur)  # so that the zoom does not alias
    coarse: Array = ndimage.zoom(
        smooth, spacing / COARSE_MM, order=1, grid_mode=True, mode="nearest"
    )
    return coarse - float(np.median(corners(coarse)))


@lru_cache(maxsize=2)
def _target(*, extracted: bool) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the template on cubes of 8 mm, and the part of it that is compared."""
    coarse = template(COARSE_MM)
    part = np.ones(coarse.mask.shape, dtype=bool)
    if not extracted:
        part[:, :, : int((NECK_Z_MM - ORIGIN_MM[2]) / COARSE_MM)] = False
    return (coarse.brain if extracted else coarse.head).astype(np.float64), part


def _laid_out(scan: Array, turn: Turn) -> Array:
    axes, signs = turn
    return scan.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]


def _likeness(scan: Array, target: Array, part: npt.NDArray[np.bool_]) -> float:
    """Return the largest correlation of the template's part with the scan over all shifts."""
    shape = [fft.next_fast_len(a + b) for a, b in zip(scan.shape, target.shape, strict=True)]
    centred = np.where(part, target - target[part].mean(), 0)

    def over_shifts(values: Array, weights: Array) -> Array:
        product_ = fft.rfftn(values, shape) * np.conj(fft.rfftn(weights, shape))
        found: Array = fft.irfftn(product_, shape)
        return found

    ones = part.astype(np.float64)
    spread = over_shifts(scan**2, ones) - over_shifts(scan, ones) ** 2 / ones.sum()
    # Where the template lies over hardly anything, rounding alone could make the quotient large.
    usable = spread > 0.05 * spread.max()
    matched = over_shifts(scan, centred)[usable] / np.sqrt(spread[usable] * (centred**2).sum())
    return float(matched.max())


def _turned_image(aligned: Aligned, turn: Turn) -> nib.Nifti1Image:
    """Return the scan under the header that it should have had."""
    scan: Any = aligned.scan
    axes, signs = turn
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    matrix[range(3), axes] = signs
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(scan.GetDirection(), (3, 3)) * scan.GetSpacing()
    affine[:3, 3] = scan.GetOrigin()
    return nib.Nifti1Image(from_itk(scan), matrix @ LPS @ affine)
