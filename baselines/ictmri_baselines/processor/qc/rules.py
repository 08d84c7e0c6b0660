"""The thresholds of the MRI-Processor's QC, as data.

They lie between what real scans and the phantom reach and what damaged copies of them do, measured by
``python perf/quality.py``; ``docs/processing.md`` holds its table. What excludes lies far from every
scan that is whole.

Sizes: inside the skull there are 1000 to 1150 ml at the age of two (Sgouros et al. 1999,
doi:10.3171/jns.1999.91.4.0610) and 1106 to 1656 ml in adults (58 of them, doi:10.1007/s00276-010-0650-4); a
mask holds the fluid of the sulci as well, and up to 2084 ml in the heads that we measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["exclude", "look"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How a number is shown.

    Attributes:
        title: its name.
        good: its value in a scan that is as it should be.
        unit: after the number, may be empty.
        digits: after the point.
    """

    title: str
    good: float
    unit: str = ""
    digits: int = 2

    def shown(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:.{self.digits}f}{' ' if self.unit else ''}{self.unit}"


MEASURES: Final[dict[str, Measure]] = {
    "brain_ml": Measure("Brain volume", 1500, "ml", 0),
    "outline": Measure("Overlap with the template after an affine (Dice)", 0.97, digits=3),
    "overlap": Measure("Overlap with the template in MNI152 (Dice)", 0.98, digits=3),
    "likeness": Measure("Likeness to the template (rank correlation)", 0.6),
    "head": Measure("Overlap of the head with the template's (Dice)", 0.95, digits=3),
    "missing_ml": Measure("Largest lump that the brain lacks", 0, "ml", 1),
    "bite_ml": Measure("Largest lump that one side lacks and the other has", 0, "ml", 1),
    "beyond_ml": Measure("Largest lump outside the template", 0, "ml", 1),
    "void_share": Measure("Brain mask without signal", 0, digits=3),
    "field_share": Measure("Template's brain inside the field of view", 1, digits=3),
    "border_share": Measure("Brain mask cut by the field of view", 0),
    "bare_share": Measure("Mask's surface without a dark rim", 0),
    "stretch": Measure("Stretch of the affine, longest to shortest", 1.12),
    "holes_ml": Measure("Holes of the mask", 0, "ml", 1),
    "pieces_ml": Measure("Pieces off the mask", 0, "ml", 1),
    "folded_share": Measure("Folded share of the warp", 0, digits=4),
    "jacobian_p1": Measure("Jacobian, 1st percentile", 1),
    "jacobian_p99": Measure("Jacobian, 99th percentile", 1),
    "jacobian_min": Measure("Jacobian, least", 1),
    "sides": Measure("Smaller to larger half of the brain", 1),
    "scale": Measure("Volume of the scan's brain to the template's", 0.8),
}
"""What is measured, in the order in which it is shown."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A bound on one measure.

    Attributes:
        code: name of the finding.
        measure: a key of :data:`MEASURES`.
        low: least value that passes; None where there is none.
        high: largest value that passes; None where there is none.
        severity: ``exclude`` keeps the case out of ``processed``, ``look`` shows it first.
        meaning: what a value beyond the bound means.
        next_step: what the owner can do.
    """

    code: str
    measure: str
    low: float | None
    high: float | None
    severity: Severity
    meaning: str
    next_step: str

    def broken_by(self, value: float) -> float | None:
        """Return the bound that a value is beyond, or None; a NaN is beyond every one."""
        if self.low is not None and not value >= self.low:
            return self.low
        if self.high is not None and not value <= self.high:
            return self.high
        return None


_VIEWER: Final = "Open the scan in a viewer: is it a whole head, and the right one?"
_MASK: Final = "Try another extraction, or bring a brain mask of your own."
_EARLIER: Final = "Go back to the scan before its brain was extracted, if it still exists."

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "no-brain", "likeness", 0.09, None, "exclude",
        "what lies in the mask does not look like a brain, or lies the wrong way round",
        _VIEWER,
    ),
    Rule(
        "unlike", "likeness", 0.18, None, "look",
        "the brain looks little like the template: thick slices, a large lesion, a poor alignment",
        "See whether the two outlines agree; a better extraction or SyN may help.",
    ),
    Rule(
        "no-head", "head", 0.8, None, "exclude",
        "the outline is not that of a head, or half of one",
        _VIEWER,
    ),
    Rule(
        "odd-head", "head", 0.84, None, "look",
        "the outline of the head differs from every head's that was measured",
        _VIEWER,
    ),
    Rule(
        "too-large", "brain_ml", None, 2600.0, "exclude",
        "too large for a brain: a mask with the skull in it, another object, or wrong voxel sizes",
        _MASK,
    ),
    Rule(
        "too-small", "brain_ml", 600.0, None, "exclude",
        "too small for a brain beyond the first months of life: part of a head, or wrong voxel sizes",
        _MASK,
    ),
    Rule(
        "large-brain", "brain_ml", None, 2200.0, "look",
        "too large for most adults' brains: the mask may hold skull or neck, the voxels may be smaller",
        _MASK,
    ),
    Rule(
        "small-brain", "brain_ml", 1000.0, None, "look",
        "smaller than brains are from the age of two: an infant's, or a mask that is too small",
        _MASK,
    ),
    Rule(
        "wrong-shape", "outline", 0.87, None, "exclude",
        "the mask has not the outline of a brain: part of a head, another object, a failed extraction",
        _VIEWER,
    ),
    Rule(
        "unusual-shape", "outline", 0.915, None, "look",
        "the outline of the mask differs from every brain's that was measured",
        _MASK,
    ),
    Rule(
        "too-much", "beyond_ml", None, 80.0, "exclude",
        "the mask holds much that is no brain: skull, face, neck, or another object",
        _MASK,
    ),
    Rule(
        "bulge", "beyond_ml", None, 35.0, "look",
        "the mask holds something beside the brain",
        _MASK,
    ),
    Rule(
        "half-a-head", "missing_ml", None, 60.0, "exclude",
        "a large part of the brain is missing",
        _EARLIER,
    ),
    Rule(
        "bitten", "missing_ml", None, 4.0, "look",
        "a lump of the brain is missing, as if an extraction had bitten into it",
        _EARLIER,
    ),
    Rule(
        "bitten-deep", "bite_ml", None, 20.0, "exclude",
        "one side lacks a lump that the other has: an extraction took it for no brain, perhaps a tumour",
        _EARLIER,
    ),
    Rule(
        "bitten-on-one-side", "bite_ml", None, 2.0, "look",
        "one side lacks a lump that the other has",
        _EARLIER,
    ),
    Rule(
        "empty-brain", "void_share", None, 0.1, "exclude",
        "a large part of the brain holds no signal: zeroed slices, or half a head",
        _VIEWER,
    ),
    Rule(
        "empty-spot", "void_share", None, 0.01, "look",
        "part of the brain holds no signal: a cyst, or something blanked out",
        _VIEWER,
    ),
    Rule(
        "out-of-view", "field_share", 0.8, None, "exclude",
        "much of the brain lies outside the scan's field of view",
        "Find the whole series; a slab of slices cannot be compared with whole heads.",
    ),
    Rule(
        "partly-out-of-view", "field_share", 0.97, None, "look",
        "part of the brain lies outside the scan's field of view",
        "See whether the lesion is inside.",
    ),
    Rule(
        "cut-off", "border_share", None, 0.5, "exclude",
        "the field of view ends in the middle of the brain",
        "Find the whole series; a slab of slices cannot be compared with whole heads.",
    ),
    Rule(
        "cut", "border_share", None, 0.15, "look",
        "the field of view cuts the brain",
        "See whether the lesion is inside.",
    ),
    Rule(
        "bare-surface", "bare_share", None, 0.55, "look",
        "the mask ends in the middle of tissue: it is too small",
        _MASK,
    ),
    Rule(
        "torn", "stretch", None, 1.6, "exclude",
        "the alignment had to stretch the scan as no head needs it",
        _VIEWER,
    ),
    Rule(
        "stretched", "stretch", None, 1.32, "look",
        "the alignment stretched the scan more than heads differ",
        "See whether the two outlines agree; check the voxel sizes.",
    ),
    Rule(
        "misplaced", "overlap", 0.8, None, "exclude",
        "the brain does not lie on the template",
        "Look at the outlines; another extraction may give the alignment more to hold on to.",
    ),
    Rule(
        "off", "overlap", 0.92, None, "look",
        "the brain lies beside the template in places",
        "Look at the outlines.",
    ),
    Rule(
        "holes", "holes_ml", None, 5.0, "look",
        "the mask has holes; a tumour may lie in one",
        _MASK,
    ),
    Rule(
        "pieces", "pieces_ml", None, 5.0, "look",
        "the mask is in pieces",
        _MASK,
    ),
    Rule(
        "torn-warp", "folded_share", None, 0.01, "exclude",
        "the warp folds the brain over itself",
        "Use the affine alone for this scan, or mend its mask.",
    ),
    Rule(
        "folds", "folded_share", None, 0.0005, "look",
        "the warp folds in places",
        "Look at the figure there; around a large tumour it may be unavoidable.",
    ),
    Rule(
        "squeezed", "jacobian_p1", 0.2, None, "look",
        "the warp squeezes tissue to less than a fifth of its volume",
        "See whether the two outlines agree.",
    ),
    Rule(
        "inflated", "jacobian_p99", None, 4.0, "look",
        "the warp blows tissue up to more than four times its volume",
        "See whether the two outlines agree.",
    ),
)  # fmt: skip
"""Of two broken rules on one measure the first is the stricter; the second is not named beside it."""
