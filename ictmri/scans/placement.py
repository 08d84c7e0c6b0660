"""What the anatomical template tells about a scan: missing brain, a wrong header, no head at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine
from scipy import ndimage

from ictmri.atlas.alignment import Aligned, AlignmentError, align, commonest
from ictmri.atlas.template import SPACING_MM, template
from ictmri.scans.examine import corners, examine
from ictmri.scans.findings import Note
from ictmri.scans.fingerprint import Fingerprint, fingerprint
from ictmri.scans.orientation import LIKE_A_HEAD, SIDES, orientation

CLIPPED_SHARE: Final = 0.03
"""Share of the brain outside the field of view from which it is told; whole scans have less than 0.005."""
HALF_SHARE: Final = 0.3
"""Share of the brain that is outside or background from which the scan is called half a head."""
RIM_MM: Final = 6.0
"""Nearer to the brain's surface than this, the template's outline and a brain's differ anyway."""
BITE_ML: Final = 10.0
"""Background in one piece inside the brain from which it is told; whole scans have 1 ml and less."""
COMMON_SHARE: Final = 0.02
"""Share of the voxels that have the commonest value from which that value is the background."""
CENTRE_MM: Final = (0.0, -18.0, 8.0)
"""Between the thalami (MNI): the middle of what deep tumours sit in."""

_SAY_MORE: Final = {"head-clipped": {"brain-clipped", "half-a-head", "orientation-wrong"}}
"""Notes that say nothing more where one of the others was made."""
_OUTSIDE, _EMPTY, _SEEN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Placement:
    """A scan beside the template.

    Attributes:
        notes: what is odd.
        centre_mm: where in the scan (RAS mm) the middle of the brain lies; None where it is not known.
        fingerprint: see :func:`ictmri.scans.fingerprint.fingerprint`; None without an alignment.
    """

    notes: list[Note] = field(default_factory=list)
    centre_mm: npt.NDArray[np.float64] | None = None
    fingerprint: Fingerprint | None = None


def examine_scan(image: nib.Nifti1Image, *, aligned: bool = True) -> tuple[list[Note], Placement]:
    """Return everything that a volume tells about itself, and where it lies.

    What is no head, or clearly half of one, is not aligned.

    Args:
        image: the scan.
        aligned: compare it with the template, which takes about a second.
    """
    notes = examine(image)
    codes = {note.code for note in notes}
    skipped = not aligned or codes & {"not-a-head", "half-a-head"}
    placed = Placement() if skipped else place(image)
    codes |= {note.code for note in placed.notes}
    told = [*notes, *placed.notes]
    return [note for note in told if not codes & _SAY_MORE.get(note.code, set())], placed


def place(image: nib.Nifti1Image) -> Placement:
    """Align a scan with the template and return what that tells."""
    try:
        aligned = align(_floored(image))
    except AlignmentError:
        text = "it cannot be matched to the template of a head"
        return Placement([Note("unlike-a-head", text)])
    lies = orientation(aligned)
    if lies:
        text = f"the head lies otherwise than its header says: {lies}"
        return Placement([Note("orientation-wrong", text)], fingerprint=fingerprint(aligned))
    notes = _missing(image, aligned)
    if not notes and not aligned.extracted and aligned.overlap() < LIKE_A_HEAD:
        notes = [Note("unlike-a-head", "its outline is not that of a head")]
    centre = apply_affine(aligned.scan_from_mni, np.array(CENTRE_MM))
    return Placement(notes, centre, fingerprint(aligned))


def _floored(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return a scan without values below its background, as resampling and noise leave them."""
    voxels = np.asanyarray(image.dataobj)
    background = np.median(corners(voxels))
    if voxels.min() >= background:
        return image
    return nib.Nifti1Image(np.maximum(voxels, background).astype(np.float32), image.affine)


def _missing(image: nib.Nifti1Image, aligned: Aligned) -> list[Note]:
    """Say how much of the brain's place is outside the scan or holds nothing."""
    brain = template().mask
    state = _states(image, aligned)
    counts = np.bincount(state, minlength=3) / len(state)
    lost = 1 - counts[_SEEN]
    if lost >= HALF_SHARE:
        where = _direction(np.argwhere(brain), state != _SEEN)
        return [Note("half-a-head", f"about {lost:.0%} of the brain is missing, at the {where}")]
    notes = []
    if counts[_OUTSIDE] >= CLIPPED_SHARE:
        where = _direction(np.argwhere(brain), state == _OUTSIDE)
        text = f"about {counts[_OUTSIDE]:.0%} of the brain is outside the field of view, at the {where}"
        notes.append(Note("brain-clipped", text))
    bite = _largest_piece(brain, state == _EMPTY)
    millilitres = bite.sum() * SPACING_MM**3 / 1000
    if millilitres >= BITE_ML:
        where = _direction(np.argwhere(brain), bite[brain])
        text = f"about {millilitres:.0f} ml inside the brain hold nothing but background, at the {where}"
        notes.append(Note("bitten-brain", text))
    return notes


def _states(image: nib.Nifti1Image, aligned: Aligned) -> npt.NDArray[np.int8]:
    """Return for each voxel of the template's brain whether the scan shows it, in C order."""
    to_voxels = np.linalg.inv(image.affine) @ aligned.scan_from_mni @ template().affine
    points = apply_affine(to_voxels, np.argwhere(template().mask))
    # Template voxels whose centre lies in the scan's outermost half voxel still count as seen.
    places = np.rint(points).astype(np.int64)
    inside = ((places >= 0) & (places < image.shape)).all(axis=1)
    state = np.full(len(points), _OUTSIDE, np.int8)
    voxels: Any = np.asanyarray(image.dataobj)
    background, share = commonest(voxels)
    empty = voxels[tuple(places[inside].T)] == background
    state[inside] = np.where(empty & (share >= COMMON_SHARE), _EMPTY, _SEEN)
    return state


def _largest_piece(
    brain: npt.NDArray[np.bool_], empty: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return the largest connected piece of what is empty, away from the brain's surface."""
    inner = ndimage.binary_erosion(brain, iterations=round(RIM_MM / SPACING_MM))
    where = np.zeros(brain.shape, dtype=bool)
    where[brain] = empty
    labels, _ = ndimage.label(where & inner)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    piece: npt.NDArray[np.bool_] = (labels == sizes.argmax()) & (labels > 0)
    return piece


def _direction(places: npt.NDArray[np.int64], part: npt.NDArray[np.bool_]) -> str:
    """Say in a word on which side of the brain a part of it lies."""
    apart = places[part].mean(axis=0) - places.mean(axis=0)
    axis = int(np.abs(apart).argmax())
    return SIDES[axis][int(apart[axis] > 0)]
