"""One offline page for a localized cohort: both priors on every brain, what is odd first.

It shows patients' scans, so it stands beside the cohort, never in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.pages.gallery import (
    Card,
    CardGroup,
    CardPicture,
    Gallery,
    Key,
    PageSection,
    write_gallery,
)
from ictmri.pages.triplanar import SIZE
from ictmri_baselines.localizer.figure import BOX_INK, COARSE_INK, REFINED_INK, figure
from ictmri_baselines.localizer.localize import FLAGS

__all__ = ["LocalizedCase", "figure", "localization_page"]

_RANK: Final = {flag: place for place, flag in enumerate(FLAGS)}
NUMBERS: Final = {
    "coarse_ml": ("coarse prior above one half", "ml"),
    "refined_ml": ("refined prior", "ml"),
    "components": ("parts of the refined prior", ""),
    "slices": ("slices with boxes", ""),
    "boxes": ("boxes", ""),
    "mirrored": ("boxes that mirror", "%"),
}
"""Numbers of a case that are shown where they are known: title and unit."""
_PRIVATE: Final = (
    "This page shows patients’ scans. It is not part of the cohort; keep it with the scans."
)
_INTRO: Final = (
    "The priors are a program’s proposal, no reader’s segmentation. For research, not a medical "
    "device."
)
_LEGEND: Final = (
    "Pictures: the processed brain in MNI152 space, axial, coronal and sagittal, through the "
    "deepest point of the prior."
)


@dataclass(frozen=True, slots=True)
class LocalizedCase:
    """One case of the page; pictures are read one by one.

    Attributes:
        case_id: pseudonym.
        numbers: ``summary`` of a :class:`~ictmri_baselines.localizer.localize.Localization`.
        flags: its flags, worst first.
        picture: file of its figure (WebP).
    """

    case_id: str
    numbers: Mapping[str, float]
    flags: Sequence[str]
    picture: Path


def localization_page(
    path: Path, cases: Iterable[LocalizedCase], *, title: str, synthetic: bool, note: str = ""
) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        cases: all localized cases of the cohort, in any order. Flagged ones come first, by flag; the
            others follow by volume, the largest first.
        title: name of the cohort.
        synthetic: the cohort holds no patient, which the page says first.
        note: which detector made these priors, and what it was not measured for.
    """
    ordered = sorted(cases, key=_rank)
    flagged = [case for case in ordered if case.flags]
    clean = [case for case in ordered if not case.flags]
    times = Counter(flag for case in flagged for flag in case.flags)
    found = [flag for flag in FLAGS if times[flag]]
    columns = [("Flag", "name"), ("Cases", "number"), ("Meaning", "text")]
    table = PageSection(
        "By flag", columns, [((flag, ""), times[flag], FLAGS[flag]) for flag in found]
    )
    page = Gallery(
        title=f"{title}: localisation",
        heading=f"{title}: where the tumour may be",
        private="" if synthetic else _PRIVATE,
        heads=[
            (len(ordered), "case" if len(ordered) == 1 else "cases", ""),
            (len(flagged), "to be looked at", "warning"),
            (len(clean), "without a flag", "clean"),
        ],
        intro=f"{_INTRO} {note}".strip(),
        sections=[table],
        legend=_LEGEND,
        keys=[
            Key("refined prior", [REFINED_INK]),
            Key("coarse prior above one half", [COARSE_INK]),
            Key("boxes", [BOX_INK]),
        ],
        legend_after="Volumes (ml) are in the scan’s own space, not in MNI152 space.",
        choices=[(flag, flag, times[flag]) for flag in found],
        groups=[
            CardGroup("warning", "to be looked at", "To be looked at", flagged, _card, "medium"),
            CardGroup("clean", "no flag", "No flag", clean, _card, "medium"),
        ],
    )
    write_gallery(path, page)


def _rank(case: LocalizedCase) -> tuple[int, float, str]:
    worst = min((_RANK[flag] for flag in case.flags), default=len(FLAGS))
    return worst, -case.numbers["refined_ml"], case.case_id


def _card(case: LocalizedCase) -> Card:
    alt = f"{case.case_id}: axial, coronal and sagittal plane with the outlines of both priors"
    return Card(
        case.case_id,
        [CardPicture(case.picture, SIZE, alt)],
        flags=case.flags,
        numbers=shown_numbers(case.numbers),
        codes=case.flags,
    )


def shown_numbers(numbers: Mapping[str, float]) -> dict[str, str]:
    """Return the numbers of a case as they are shown, by title."""
    return {
        title: f"{numbers[name]:.{1 if unit else 0}f} {unit}".strip()
        for name, (title, unit) in NUMBERS.items()
        if name in numbers
    }
