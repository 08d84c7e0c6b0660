"""Vessels, glands and tumour sites in MNI152 coordinates (mm, RAS+), where no label map has them.

Positions were read off the ICBM152 2009c template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Tube:
    """A vessel as a polyline.

    Attributes:
        points: MNI mm.
        radius: mm.
        strength: enhancement from 0 to 1.
        mirrored: also drawn on the other side.
    """

    points: tuple[Point, ...]
    radius: float
    strength: float = 1.0
    mirrored: bool = False


TUBES: Final[tuple[Tube, ...]] = (
    Tube(((0, -42, 9), (0, -58, 10), (0, -72, 4), (0, -88, -6), (0, -100, -10)), 1.8),
    Tube(((0, -100, -6), (0, -102, -12), (8, -101, -16)), 3.2, mirrored=True),
    Tube(((3, -102, -13), (26, -94, -24), (46, -78, -29), (58, -58, -31)), 3.0, mirrored=True),
    Tube(((58, -58, -31), (56, -44, -38), (46, -36, -50), (34, -32, -60)), 3.0, mirrored=True),
    Tube(((34, -32, -60), (32, -26, -80)), 4.0, 0.9, mirrored=True),
    Tube(((2, 2, 12), (2, -14, 14), (2, -30, 10), (0, -42, 9)), 0.9, 0.9, mirrored=True),
    Tube(((30, -12, -20), (22, -26, -10), (10, -38, 4), (0, -42, 9)), 0.9, 0.8, mirrored=True),
    Tube(((10, 30, 22), (18, 14, 22), (16, 4, 18), (3, 2, 12)), 0.7, 0.6, mirrored=True),
    Tube(((22, 18, -74), (20, -10, -58), (24, -14, -40), (15, -6, -34)), 2.3, 0.9, mirrored=True),
    Tube(((15, -8, -33), (14, 6, -30), (12, 6, -24), (14, 0, -18)), 2.4, 1.0, mirrored=True),
    Tube(
        ((14, 0, -18), (24, 2, -17), (36, 2, -14), (42, -6, -2), (44, -20, 8)), 1.2, mirrored=True
    ),
    Tube(((14, 0, -18), (6, 8, -14), (2, 14, -12), (2, 32, 0), (2, 30, 20)), 1.0, mirrored=True),
    Tube(((14, -2, -18), (10, -14, -16), (4, -18, -16), (0, -18, -18)), 0.9, mirrored=True),
    Tube(((0, -18, -16), (0, -17, -24), (1, -19, -34), (0, -24, -46)), 1.4),
    Tube(((0, -24, -46), (8, -32, -62), (16, -34, -80)), 1.5, 0.9, mirrored=True),
    Tube(((0, -18, -17), (10, -20, -14), (20, -30, -8), (18, -46, -2)), 0.9, mirrored=True),
    Tube(((40, 24, -14), (48, 10, -2), (52, -10, 6), (50, -30, 16)), 0.9, 0.8, mirrored=True),
)
"""Straight, transverse, sigmoid and jugular veins; internal cerebral, basal and thalamostriate veins;
carotid, middle, anterior and posterior cerebral arteries; basilar and vertebral arteries."""

GLANDS: Final[tuple[tuple[Point, Point, float], ...]] = (
    ((0, 2, -32), (6.5, 5.0, 3.5), 0.60),
    ((0, -1, -26), (1.4, 1.4, 5.0), 0.70),
    ((0, -31, 3), (2.6, 3.4, 2.4), 0.35),
    ((15, 0, -32), (3.0, 8.0, 5.0), 0.75),
    ((-15, 0, -32), (3.0, 8.0, 5.0), 0.75),
    ((9, 48, -38), (4.0, 14.0, 10.0), 0.45),
    ((-9, 48, -38), (4.0, 14.0, 10.0), 0.45),
    ((9, 50, -58), (5.0, 16.0, 6.0), 0.50),
    ((-9, 50, -58), (5.0, 16.0, 6.0), 0.50),
    ((0, 22, -62), (12.0, 6.0, 10.0), 0.35),
)
"""Enhancing ellipsoids (centre, semi-axes, strength): pituitary and stalk, pineal gland, cavernous
sinuses, nasal turbinates, nasopharynx."""

PLEXUS: Final[tuple[Tube, ...]] = (
    Tube(((24, -40, 4), (24, -42, 12), (19, -36, 18)), 3.2, 0.8, mirrored=True),
    Tube(((19, -36, 18), (10, -18, 18), (4, -2, 15)), 1.3, 0.6, mirrored=True),
    Tube(((0, -50, -36), (4, -49, -40)), 1.4, 0.5, mirrored=True),
)
"""Choroid plexus, drawn inside the ventricles only."""

SUPRASELLAR: Final[tuple[Point, float]] = ((0, -3, -17), 12.0)
"""Ball inside which cerebrospinal fluid below the template's brain mask counts as intracranial."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a tumour may start, by coordinates.

    Attributes:
        centre: MNI mm; x > 0 is mirrored at random.
        jitter: standard deviation in mm along x, y, z.
    """

    centre: Point
    jitter: Point


SITES: Final[Mapping[str, Site]] = {
    "thalamus": Site((12, -18, 7), (3.0, 5.0, 3.5)),
    "basal_ganglia": Site((22, 4, 4), (4.0, 7.0, 5.0)),
    "midbrain": Site((4, -26, -12), (3.5, 3.0, 3.0)),
    "pons": Site((4, -27, -33), (4.0, 3.5, 6.0)),
    "medulla": Site((2, -40, -52), (2.0, 2.5, 4.0)),
    "pineal": Site((0, -31, 2), (1.2, 1.8, 1.8)),
    "suprasellar": Site((0, -3, -14), (1.5, 2.0, 2.0)),
    "hypothalamus": Site((3, -7, -8), (2.0, 2.5, 2.5)),
    "periventricular": Site((19, 8, 22), (3.0, 18.0, 4.0)),
    "atrium": Site((27, -42, 16), (3.5, 5.0, 5.0)),
    "splenium": Site((8, -40, 16), (6.0, 3.0, 3.0)),
    "genu": Site((8, 28, 8), (6.0, 3.0, 4.0)),
    "septum": Site((2, 4, 14), (2.0, 7.0, 3.0)),
    "third_ventricle": Site((1, -14, 0), (1.0, 5.0, 3.0)),
    "fourth_ventricle": Site((2, -45, -33), (2.0, 2.5, 4.0)),
    "cerebellar_peduncle": Site((17, -46, -34), (3.5, 4.0, 4.0)),
}
"""Deep sites."""
