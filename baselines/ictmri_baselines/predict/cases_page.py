"""The page that lists several virtual biopsies: what was refused first, then what is to be doubted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.pages.gallery import (
    Card,
    CardGroup,
    CardPicture,
    Gallery,
    Key,
    Line,
    Tone,
    write_gallery,
)
from ictmri.pages.triplanar import SIZE
from ictmri_baselines.localizer.figure import COARSE_INK, REFINED_INK
from ictmri_baselines.predict.result import NOTICE
from ictmri_baselines.predict.words import percent

_PRIVATE: Final = (
    "This page shows patients’ scans, under the names that you gave them. Keep it with the scans."
)
_LEGEND: Final = (
    "Pictures: the processed brain in MNI152 space, axial, coronal and sagittal, through the middle of the "
    "prior; of a scan without a prior, the scan."
)
_ALT: Final = "axial, coronal and sagittal plane with the outlines of the prior"


@dataclass(frozen=True, slots=True)
class PredictedCase:
    """One case of the page; pictures are read one by one.

    Attributes:
        case_id: its name.
        state: a key of :data:`~ictmri_baselines.predict.decision.STATES`, or ``unreadable``.
        sentence: the state in words.
        reasons: of it, ``code: text``.
        probabilities: (4,) that are meant to be believed, None where there are none.
        refined_ml: volume of the refined prior in the scan's own space, None where there is none.
        page: address of its report, empty where there is none.
        picture: file of its picture (WebP); may be missing.
        no_segmentation: why its prior was not made a DICOM segmentation, empty where it was or need not be.
    """

    case_id: str
    state: str
    sentence: str
    reasons: Sequence[str]
    probabilities: Sequence[float] | None
    refined_ml: float | None
    page: str
    picture: Path
    no_segmentation: str = ""

    @property
    def tone(self) -> Tone:
        """How bad it is: error, warning or clean."""
        if self.probabilities is None:
            return "error"
        return "clean" if self.state == "ok" else "warning"

    @property
    def first(self) -> str:
        """Title of the class with the highest probability, empty where there are none."""
        if self.probabilities is None:
            return ""
        best = max(range(len(CLASSES)), key=self.probabilities.__getitem__)
        return CLASS_TITLES[CLASSES[best]]

    @property
    def codes(self) -> list[str]:
        """Codes of its reasons."""
        return [reason.partition(":")[0] for reason in self.reasons]


def cases_page(
    path: Path, cases: Sequence[PredictedCase], *, title: str, synthetic: bool, model: str
) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        cases: all cases, in any order.
        title: what they are called together.
        synthetic: no case is a patient, which the page says first.
        model: which models were asked, and what is to be known of them, in sentences.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    groups = {tone: [case for case in ordered if case.tone == tone] for tone in _GROUPS}
    times = Counter(code for case in ordered for code in dict.fromkeys(case.codes))
    page = Gallery(
        title=f"{title}: virtual biopsies",
        heading=f"{title}: virtual biopsies",
        private="" if synthetic else _PRIVATE,
        heads=[
            (len(ordered), "case" if len(ordered) == 1 else "cases", ""),
            *((len(groups[tone]), word, tone) for tone, (word, _, _) in _GROUPS.items()),
        ],
        intro=f"{NOTICE} Asked: {model}",
        legend=_LEGEND,
        keys=[
            Key("refined prior", [REFINED_INK]),
            Key("coarse prior above one half", [COARSE_INK]),
        ],
        legend_after="Volumes (ml) are in the scan’s own space, not in MNI152 space.",
        choices=[(code, code, count) for code, count in times.most_common()],
        groups=[
            CardGroup(tone, word, heading, groups[tone], _card, "medium", text)
            for tone, (word, heading, text) in _GROUPS.items()
        ],
    )
    write_gallery(path, page)


_GROUPS: Final[dict[Tone, tuple[str, str, str]]] = {
    "error": (
        "without probabilities",
        "No probabilities",
        "They are not in `predictions.csv`, but with the reason in `refused.csv`.",
    ),
    "warning": ("to be doubted", "Probabilities to be doubted", ""),
    "clean": ("nothing against it", "Nothing speaks against the probabilities", ""),
}


def _card(case: PredictedCase) -> Card:
    numbers = {}
    if case.probabilities is not None:
        shares = zip(CLASSES, case.probabilities, strict=True)
        numbers = {CLASS_TITLES[name]: percent(share) for name, share in shares}
    if case.refined_ml is not None:
        numbers["refined prior"] = f"{case.refined_ml:.1f} ml"
    lines = [Line(case.tone, f"{code}:", text.strip()) for code, _, text in _parts(case.reasons)]
    if case.tone == "error":
        lines.insert(0, Line("error", "", f"{case.sentence}."))
    return Card(
        case.case_id,
        [CardPicture(case.picture, SIZE, f"{case.case_id}: {_ALT}")],
        blank="No picture: the scan cannot be read.",
        aside=case.first,
        lines=lines,
        numbers=numbers,
        codes=case.codes,
        page=case.page,
    )


def _parts(reasons: Sequence[str]) -> list[tuple[str, str, str]]:
    return [reason.partition(":") for reason in reasons]
