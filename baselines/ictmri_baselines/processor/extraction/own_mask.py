"""Brain masks without a network: that of a scan which holds a brain alone, the user's, the template's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import nibabel as nib
import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.box import box_of, reached_box
from ictmri.atlas.geometry import canonical
from ictmri.atlas.template import template
from ictmri.errors import InputError
from ictmri.io.files import sha256_bytes
from ictmri_baselines.processor.points import look_up_affine
from ictmri_baselines.processor.step import described
from ictmri_baselines.processor.volume import Mask, Volume, support_of

GRID_TOLERANCE_MM: Final = 0.01
"""Affines that went through different tools differ by rounding; a wrong grid differs by more."""


@dataclass(frozen=True, slots=True)
class AlreadyExtracted:
    """The scan holds nothing but a brain: its support is the mask."""

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters."""
        return described("already extracted")

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with its support as the mask."""
        support = support_of(volume)
        if not place.extracted or support is None:
            raise ValueError("this scan has its skull")
        return volume.with_mask(support)


@dataclass(frozen=True, slots=True)
class OwnMask:
    """A mask that the user brought.

    Attributes:
        mask: in RAS order, on the scan's grid.
    """

    mask: Mask

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters; the mask stands as its checksum."""
        digest = sha256_bytes(np.packbits(self.mask).tobytes())
        return described("own mask", mask_sha256=digest)

    def run(self, volume: Volume, place: Aligned) -> Volume:  # noqa: ARG002 - the protocol's
        """Return the volume with the user's mask, as it is."""
        return volume.with_mask(self.mask)


def own_mask_step(mask: nib.Nifti1Image, scan: nib.Nifti1Image) -> OwnMask:
    """Check a user's mask against its scan; everything that is not 0 is brain.

    Raises:
        InputError: another grid, no brain in it, or NaN; all that is wrong at once.
    """
    voxels, _ = canonical(mask)
    wanted, wanted_affine = scan.shape[:3], np.asarray(scan.affine, dtype=np.float64)
    problems = []
    if mask.shape[:3] != wanted:
        shown = " x ".join(map(str, mask.shape[:3]))
        problems.append(f"it has {shown} voxels, the scan {' x '.join(map(str, wanted))}")
    elif _farthest_mm(np.asarray(mask.affine), wanted_affine, wanted) > GRID_TOLERANCE_MM:
        apart = _farthest_mm(np.asarray(mask.affine), wanted_affine, wanted)
        problems.append(f"its voxels lie up to {apart:.2f} mm from the scan's (affine)")
    if not np.isfinite(voxels).all():
        problems.append("it holds NaN or infinite voxels")
    elif not voxels.any():
        problems.append("it is empty")
    elif voxels.all():
        problems.append("it covers the whole scan")
    if problems:
        raise InputError(
            "own brain mask",
            problems,
            "give a mask on the scan's own grid, 1 in the brain, 0 outside",
        )
    return OwnMask(voxels != 0)


def _farthest_mm(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], shape: tuple[int, ...]
) -> float:
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape])).reshape(3, -1).T
    apart = nib.affines.apply_affine(first, corners) - nib.affines.apply_affine(second, corners)
    return float(np.linalg.norm(apart, axis=1).max())


@dataclass(frozen=True, slots=True)
class TemplateMask:
    """Extraction by the template's mask."""

    name: ClassVar[str] = "template"

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters."""
        return described(self.name)

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with the template's mask on its grid."""
        target = template()
        index = np.linalg.inv(target.affine) @ np.linalg.inv(place.scan_from_mni) @ volume.affine
        shape = volume.voxels.shape
        only = reached_box(np.linalg.inv(index), box_of(target.mask), shape)
        inside = look_up_affine(target.mask.astype(np.float32), index, shape, only=only)
        return volume.with_mask(inside > 0.5)
