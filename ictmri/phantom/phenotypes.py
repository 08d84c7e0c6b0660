"""How tumours look and where they grow: one table of looks, one of subtypes.

Directions follow the imaging literature of deep tumours: ring enhancement around necrosis for
glioblastoma, strong homogeneous enhancement beside the ventricles for lymphoma (often several),
pineal and suprasellar masses with small cysts for germinoma, faint infiltration for lower-grade and
midline gliomas, mixed solid, cystic and calcified masses for the rare ones. The ranges and shares are
assumptions, wide enough for the classes to overlap. Signals are relative to white matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Range = tuple[float, float]

ATYPICAL: Final = 0.04
"""Share of cases that take the look of another class: no method can be right about all of them."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ranges from which a tumour's appearance is drawn.

    Attributes:
        volume: median ml and sigma of the log.
        level: signal of the solid part.
        infiltration: share of the underlying anatomy that shows through.
        texture: sd of the solid part's fine texture.
        mottle: sd of its coarse texture.
        irregularity: sd of the boundary, relative to the radius.
        edge: mm over which the boundary fades.
        rim: mm of solid tissue around a necrotic centre; (0, 0) for none.
        cysts: share of the solid part that is small cysts.
        cavity_level: signal of necrosis and cysts.
        patches: share of the solid part that enhances on top of ``level``.
        patch_level: signal of these patches.
        calcified: share of the solid part that is calcified.
        nodule: probability of being a thin-walled cyst with a mural nodule.
        oedema: mm that oedema reaches along white matter.
        push: share of the volume that displaces tissue.
        several: probabilities of one, two and three lesions.
    """

    volume: Range
    level: Range
    infiltration: Range
    texture: Range
    mottle: Range
    irregularity: Range
    edge: Range
    rim: Range
    cysts: Range
    cavity_level: Range
    patches: Range
    patch_level: Range
    calcified: Range
    nodule: float
    oedema: Range
    push: Range
    several: tuple[float, float, float]


# fmt: off
LOOKS: Final[Mapping[str, Look]] = {
    "ring": Look(
        volume=(14.0, 0.5), level=(1.4, 1.95), infiltration=(0.0, 0.12), texture=(0.07, 0.14),
        mottle=(0.08, 0.18), irregularity=(0.16, 0.28), edge=(0.5, 1.1), rim=(2.4, 5.2),
        cysts=(0.0, 0.04), cavity_level=(0.38, 0.58), patches=(0.0, 0.0), patch_level=(1.2, 1.6),
        calcified=(0.0, 0.0), nodule=0.0, oedema=(6.0, 15.0), push=(0.35, 0.8),
        several=(0.86, 0.12, 0.02),
    ),
    "solid": Look(
        volume=(10.0, 0.5), level=(1.45, 2.0), infiltration=(0.0, 0.08), texture=(0.02, 0.05),
        mottle=(0.01, 0.05), irregularity=(0.1, 0.22), edge=(0.6, 1.6), rim=(0.0, 0.0),
        cysts=(0.0, 0.02), cavity_level=(0.3, 0.52), patches=(0.0, 0.0), patch_level=(1.2, 1.6),
        calcified=(0.0, 0.0), nodule=0.0, oedema=(4.0, 12.0), push=(0.25, 0.65),
        several=(0.6, 0.28, 0.12),
    ),
    "diffuse": Look(
        volume=(16.0, 0.5), level=(0.58, 0.84), infiltration=(0.25, 0.55), texture=(0.02, 0.05),
        mottle=(0.03, 0.08), irregularity=(0.18, 0.3), edge=(2.0, 4.0), rim=(0.0, 0.0),
        cysts=(0.0, 0.06), cavity_level=(0.3, 0.52), patches=(0.0, 0.1), patch_level=(1.05, 1.4),
        calcified=(0.0, 0.02), nodule=0.0, oedema=(0.0, 3.0), push=(0.25, 0.6),
        several=(0.95, 0.05, 0.0),
    ),
    "midline": Look(
        volume=(12.0, 0.5), level=(0.6, 0.86), infiltration=(0.2, 0.45), texture=(0.03, 0.07),
        mottle=(0.05, 0.11), irregularity=(0.14, 0.24), edge=(1.2, 3.0), rim=(0.0, 0.0),
        cysts=(0.0, 0.08), cavity_level=(0.3, 0.52), patches=(0.04, 0.28), patch_level=(1.1, 1.5),
        calcified=(0.0, 0.0), nodule=0.0, oedema=(0.0, 4.0), push=(0.5, 0.85),
        several=(0.97, 0.03, 0.0),
    ),
    "germ": Look(
        volume=(8.0, 0.5), level=(1.06, 1.4), infiltration=(0.0, 0.12), texture=(0.04, 0.08),
        mottle=(0.04, 0.1), irregularity=(0.09, 0.2), edge=(0.5, 1.2), rim=(0.0, 0.0),
        cysts=(0.05, 0.2), cavity_level=(0.3, 0.52), patches=(0.0, 0.0), patch_level=(1.2, 1.5),
        calcified=(0.0, 0.015), nodule=0.0, oedema=(0.0, 2.5), push=(0.4, 0.8),
        several=(0.9, 0.1, 0.0),
    ),
    "mixed": Look(
        volume=(12.0, 0.5), level=(0.75, 1.1), infiltration=(0.0, 0.15), texture=(0.1, 0.18),
        mottle=(0.14, 0.24), irregularity=(0.12, 0.24), edge=(0.5, 1.4), rim=(0.0, 0.0),
        cysts=(0.28, 0.5), cavity_level=(0.3, 0.52), patches=(0.15, 0.3), patch_level=(1.4, 1.8),
        calcified=(0.01, 0.1), nodule=0.2, oedema=(0.0, 3.5), push=(0.4, 0.8),
        several=(0.95, 0.05, 0.0),
    ),
    "nodular": Look(
        volume=(11.0, 0.5), level=(1.05, 1.5), infiltration=(0.0, 0.1), texture=(0.05, 0.12),
        mottle=(0.06, 0.14), irregularity=(0.06, 0.14), edge=(0.5, 1.0), rim=(0.6, 1.2),
        cysts=(0.0, 0.1), cavity_level=(0.24, 0.38), patches=(0.0, 0.1), patch_level=(1.2, 1.6),
        calcified=(0.0, 0.05), nodule=1.0, oedema=(0.0, 3.0), push=(0.5, 0.85),
        several=(1.0, 0.0, 0.0),
    ),
}
"""Looks by name: ring enhancement, solid enhancement, diffuse infiltration, patchy midline glioma, solid
with small cysts, mixed solid-cystic-calcified, cyst with mural nodule."""


@dataclass(frozen=True, slots=True)
class Habit:
    """Shares of looks and of sites for one subtype (they need not add up to 1)."""

    looks: Mapping[str, float]
    sites: Mapping[str, float]


HABITS: Final[Mapping[str, Habit]] = {
    "GBM": Habit(
        {"ring": 86, "midline": 7, "solid": 5, "mixed": 2},
        {"thalamus": 27, "basal_ganglia": 19, "periventricular": 12, "splenium": 12, "genu": 7,
         "midbrain": 5, "pons": 4, "cerebellar_peduncle": 5, "hypothalamus": 4, "pineal": 5},
    ),
    "AST": Habit(
        {"diffuse": 80, "midline": 10, "ring": 8, "solid": 2},
        {"thalamus": 24, "basal_ganglia": 20, "periventricular": 13, "midbrain": 9, "pons": 8,
         "hypothalamus": 8, "suprasellar": 7, "pineal": 5, "septum": 6},
    ),
    "ODG": Habit(
        {"diffuse": 86, "midline": 8, "mixed": 6},
        {"thalamus": 24, "basal_ganglia": 24, "periventricular": 24, "genu": 14, "septum": 14},
    ),
    "DMG-H3K27": Habit(
        {"midline": 78, "ring": 10, "diffuse": 12},
        {"thalamus": 38, "pons": 26, "midbrain": 13, "medulla": 5, "pineal": 7,
         "fourth_ventricle": 4, "basal_ganglia": 7},
    ),
    "DLBCL": Habit(
        {"solid": 91, "ring": 8, "mixed": 1},
        {"periventricular": 22, "basal_ganglia": 20, "splenium": 13, "thalamus": 16, "genu": 7,
         "atrium": 5, "cerebellar_peduncle": 5, "hypothalamus": 4, "pineal": 4,
         "fourth_ventricle": 4},
    ),
    "germinoma": Habit(
        {"germ": 91, "solid": 5, "mixed": 4},
        {"pineal": 29, "suprasellar": 20, "basal_ganglia": 22, "thalamus": 17, "hypothalamus": 7,
         "third_ventricle": 5},
    ),
    "EPN": Habit(
        {"mixed": 86, "nodular": 10, "germ": 4},
        {"fourth_ventricle": 20, "periventricular": 18, "thalamus": 22, "third_ventricle": 8,
         "midbrain": 8, "basal_ganglia": 14, "cerebellar_peduncle": 10},
    ),
    "MB": Habit(
        {"mixed": 86, "solid": 6, "nodular": 8},
        {"fourth_ventricle": 34, "cerebellar_peduncle": 24, "pineal": 10, "thalamus": 16,
         "pons": 16},
    ),
    "MNGT": Habit(
        {"nodular": 62, "mixed": 32, "diffuse": 6},
        {"septum": 18, "thalamus": 26, "basal_ganglia": 18, "third_ventricle": 12, "pineal": 8,
         "suprasellar": 6, "fourth_ventricle": 6, "midbrain": 8},
    ),
}
"""Looks and sites by subtype."""

VOLUME_LIMIT_ML: Final[Mapping[str, float]] = {
    "medulla": 3.5,
    "midbrain": 7.0,
    "pineal": 11.0,
    "suprasellar": 11.0,
    "hypothalamus": 9.0,
    "third_ventricle": 9.0,
    "fourth_ventricle": 16.0,
    "pons": 16.0,
    "septum": 12.0,
}
"""Largest core drawn where a bigger one would not fit."""
# fmt: on
