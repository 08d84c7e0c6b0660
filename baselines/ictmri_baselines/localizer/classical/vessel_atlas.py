"""Where a normal brain enhances or is dark, in MNI152 space: what a detector must not take for a tumour.

Positions and calibres of the venous sinuses, the deep veins, the cavernous sinus with the arteries of
the skull base, and of the cisterns are those of anatomy, with a margin of 4 to 6 mm for an alignment by
one affine. They say how *thick* something bright may normally be at a place: a tumour there must be
thicker, it is not excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from ictmri_baselines.localizer.classical.grid_2mm import Field, Mask, inside_mm, places, within

ANYWHERE: Final = (-200.0, 200.0)
ELSEWHERE_MM: Final = 2.0
"""Radius of what is taken for a vessel in the middle of the brain: one voxel and its neighbours."""


@dataclass(frozen=True, slots=True)
class VesselZone:
    """A region of MNI152 space with structures that enhance.

    Attributes:
        name: what lies there.
        x: range of the absolute x in mm: zones are the same on both sides.
        y: range in mm.
        z: range in mm.
        depth: how far the zone reaches into the brain, in mm from its surface.
        radius: of the thickest normal structure, mm.
    """

    name: str
    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]
    depth: float
    radius: float

    def holds(self, depth: Field) -> Mask:
        """Return the zone in a brain whose voxels are ``depth`` mm deep, 2 mm grid."""
        return _place(self) & (depth <= self.depth)


@cache
def _place(zone: VesselZone) -> Mask:
    """Return where a zone lies, however deep."""
    x, y, z = places()
    ranges = ((np.abs(x), zone.x), (y, zone.y), (z, zone.z))
    inside: Mask = np.logical_and.reduce([(v >= low) & (v <= high) for v, (low, high) in ranges])
    return inside


ENHANCING: Final = (
    VesselZone("cortical veins and dura", ANYWHERE, ANYWHERE, ANYWHERE, 6, 3.0),
    VesselZone("great vein and straight sinus", (0, 8), (-75, -34), (-15, 30), 99, 3.9),
    VesselZone("sagittal sinus", (0, 16), (-125, 80), (40, 100), 14, 6.0),
    VesselZone("torcula", (0, 16), (-125, -60), (-45, 40), 14, 6.0),
    VesselZone("transverse and sigmoid sinus", (14, 200), (-125, -25), (-80, 15), 16, 7.0),
    VesselZone("middle fossa and orbits", ANYWHERE, (-5, 80), (-80, -5), 10, 6.0),
    VesselZone("petrous bone", (20, 200), (-30, -5), (-80, -5), 10, 6.0),
    VesselZone("cavernous sinus and arteries", (8, 20), (-15, 15), (-40, -8), 99, 4.0),
    VesselZone("pituitary and basilar artery", (0, 8), (-15, 15), (-40, -8), 99, 3.0),
    VesselZone("choroid plexus of the atrium", (14, 32), (-50, -30), (4, 22), 99, 3.9),
)
"""Calibres up to which what enhances there counts as a vessel, dura or plexus: chosen from anatomy and by
looking at normal and real brains, not taken from a published table."""

DARK_CISTERNS: Final = (
    VesselZone("ambient and quadrigeminal cistern", (0, 24), (-56, -28), (-18, 16), 99, np.inf),
    VesselZone("cisterna magna and below the vermis", (0, 16), (-80, -36), (-80, -20), 99, np.inf),
    VesselZone("suprasellar cistern", (0, 16), (-16, 14), (-34, -8), 99, np.inf),
    VesselZone("between the hemispheres", (0, 6), ANYWHERE, (20, 100), 99, np.inf),
)
"""Fluid of a normal brain that an affine does not bring into place."""


def thicker_than_normal(bright: Mask, depth: Field) -> Mask:
    """Return what is thicker than the normal enhancing structures of its place.

    Args:
        bright: what enhances, 2 mm grid.
        depth: distance to the brain's surface in mm.
    """
    radius = np.full(bright.shape, ELSEWHERE_MM, dtype=np.float32)
    for zone in ENHANCING:
        here = zone.holds(depth)
        radius[here] = np.maximum(radius[here], zone.radius)
    thickness = inside_mm(bright)
    kept = np.zeros_like(bright)
    for value in np.unique(radius[bright]):
        kept |= bright & (radius <= value) & within(thickness > value, float(value))
    return kept


def near_vessels(depth: Field) -> Mask:
    """Return where structures that normally enhance lie, 2 mm grid."""
    found: Mask = np.logical_or.reduce([zone.holds(depth) for zone in ENHANCING])
    return found


def in_cistern(depth: Field) -> Mask:
    """Return where normal fluid lies outside the ventricles."""
    found: Mask = np.logical_or.reduce([zone.holds(depth) for zone in DARK_CISTERNS])
    return found
