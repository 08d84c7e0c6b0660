"""The page of ``ictmri explain``: the numbers of a run, and some cases with their maps; one offline file.

Where the cohort is a patients' one it shows their scans, and only the owner may read it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ictmri.io.files import replacing
from ictmri.pages.letters import LETTERS
from ictmri.pages.templating import pages
from ictmri.pages.tiles import SIZE
from ictmri_baselines.explanation.attention_share import MEASURES

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PRIORS: Final = {"none": "no prior", "coarse": "the coarse prior", "refined": "the refined prior"}


def explanation_page(
    path: Path, content: Mapping[str, Any], cases: Sequence[tuple[Mapping[str, Any], bytes]]
) -> None:
    """Write the page.

    Args:
        path: the file.
        content: of ``explanation.json``.
        cases: those that are shown, each with its figure (WebP).
    """
    text = (
        pages(_TEMPLATES)
        .get_template("explanation.html.j2")
        .render(
            content=content,
            cases=cases,
            measures=MEASURES,
            network=network_in_words(content["network"]),
            view=view_in_words(content["view"]),
            percent=percent,
            picture=_uri,
            size=SIZE,
            letters=LETTERS,
        )
    )
    mode = 0o644 if content["synthetic"] else 0o600
    with replacing(path, mode=mode) as part:
        part.write_text(text, encoding="utf-8", newline="")


def network_in_words(network: Mapping[str, Any]) -> str:
    """Return what a network is made of, in a few words."""
    attention = "masked channel attention" if network["attention"] else "no attention"
    return f"{network['backbone']}, {_PRIORS[network['localisation']]}, {attention}"


def view_in_words(view: Mapping[str, Any]) -> str:
    """Return what a network is shown, in a few words."""
    part = "the whole brain" if view["of"] == "brain" else "a region around the prior"
    return f"{part}, {view['edge']}³ voxels of {view['spacing_mm']} mm"


def percent(share: float | None) -> str:
    """Return a share as a reader sees it."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _uri(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()
