"""``<cohort>.faces.html``: every scan before and after its face was removed, the doubtful ones first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ictmri.io.files import replacing
from ictmri.pages.letters import LETTERS
from ictmri.pages.montage import SIZE
from ictmri.pages.templating import pages, webp_uri
from ictmri.release.faces import FaceOutcome, picture_path

_TEMPLATES: Final = Path(__file__).parent / "templates"


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

    def picture(case_id: str, when: str) -> str:
        return webp_uri(picture_path(work, case_id, when))

    worst_first = sorted(outcomes, key=lambda done: (done.overlap, done.case_id))
    stream = (
        pages(_TEMPLATES)
        .get_template("faces.html.j2")
        .stream(
            name=name,
            unsure=[done for done in worst_first if not done.sure],
            removed=[done for done in worst_first if done.sure and not done.extracted],
            extracted=sum(done.extracted for done in outcomes),
            picture=picture,
            size=SIZE,
            letters=LETTERS,
        )
    )
    with replacing(path, mode=0o600) as part:
        stream.dump(str(part), encoding="utf-8")
