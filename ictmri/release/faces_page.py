"""``<cohort>.faces.html``: every scan before and after its face was removed, the doubtful ones first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ictmri.pages.gallery import Card, CardGroup, CardPicture, Gallery, write_gallery
from ictmri.pages.triplanar import SMALL_SIZE
from ictmri.release.faces import FaceOutcome, picture_path

_PRIVATE: Final = (
    "The pictures on the left show faces. This page stays on this machine; what is published is in the "
    "release folder."
)
_LOOK: Final = (
    "The head was not found with confidence, so the face may still be there, or brain may be gone. "
    "If no face can be recognised and no brain is missing, publish with `--faces-checked`; else "
    "leave the case out with `ictmri withdraw`."
)


def faces_page_path(root: Path) -> Path:
    """Return where the page of a cohort lies: beside it, since it shows faces."""
    return root.with_name(root.name + ".faces.html")


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
