"""One offline page for a localized cohort: both priors on every brain, what is odd first.

It shows patients' scans, so it stands beside the cohort, never in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.io.files import replacing
from ictmri.pages.letters import LETTERS
from ictmri.pages.templating import pages, webp_uri
from ictmri.pages.tiles import SIZE
from ictmri_baselines.localizer.figure import figure
from ictmri_baselines.localizer.localize import FLAGS

__all__ = ["PageCase", "figure", "localization_page"]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_RANK: Final = {flag: place for place, flag in enumerate(FLAGS)}
NUMBERS: Final = {
    "coarse_ml": ("coarse prior above one half", "ml"),
    "refined_ml": ("refined prior", "ml"),
    "components": ("parts of the refined prior", ""),
    "slices": ("slices with boxes", ""),
    "boxes": ("boxes", ""),
}
"""Numbers of a case that are shown: title and unit."""


@dataclass(frozen=True, slots=True)
class PageCase:
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
    path: Path, cases: Iterable[PageCase], *, title: str, synthetic: bool
) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        cases: all localized cases of the cohort, in any order. Flagged ones come first, by flag; the
            others follow by volume, the largest first.
        title: name of the cohort.
        synthetic: the cohort holds no patient, which the page says first.
    """
    ordered = sorted(cases, key=_rank)
    stream: Any = (
        pages(_TEMPLATES)
        .get_template("localization.html.j2")
        .stream(
            title=title,
            synthetic=synthetic,
            flagged=[case for case in ordered if case.flags],
            clean=[case for case in ordered if not case.flags],
            counts=_counts(ordered),
            shown=_shown,
            picture=webp_uri,
            size=SIZE,
            letters=LETTERS,
        )
    )
    with replacing(path, mode=0o600) as part, part.open("w", encoding="utf-8") as file:
        stream.dump(file)


def _rank(case: PageCase) -> tuple[int, float, str]:
    worst = min((_RANK[flag] for flag in case.flags), default=len(FLAGS))
    return worst, -case.numbers["refined_ml"], case.case_id


def _counts(cases: Sequence[PageCase]) -> list[tuple[str, int, str]]:
    times = Counter(flag for case in cases for flag in case.flags)
    return [(flag, times[flag], meaning) for flag, meaning in FLAGS.items() if times[flag]]


def _shown(case: PageCase) -> list[tuple[str, str]]:
    return [
        (title, f"{case.numbers[name]:.{1 if unit else 0}f} {unit}".strip())
        for name, (title, unit) in NUMBERS.items()
    ]
