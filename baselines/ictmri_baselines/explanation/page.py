"""The page of ``ictmri explain``: the numbers of a run, and some cases with their maps; one offline file.

Where the cohort is a patients' one it shows their scans, and only the owner may read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.pages.gallery import (
    Card,
    CardGroup,
    CardPicture,
    Gallery,
    Key,
    PageSection,
    write_gallery,
)
from ictmri.pages.triplanar import DASH, SIZE, Planes, Point, brain_grey, deepest, draw, heat_scale
from ictmri_baselines.explanation.attention_share import MEASURES

_PRIORS: Final = {"none": "no prior", "coarse": "the coarse prior", "refined": "the refined prior"}
_PRIVATE: Final = (
    "This page shows patients’ scans. It is no part of an entry; keep it with the scans."
)
_NO_TRUTH: Final = (
    "Nobody drew the true lesions of this cohort, so there is no number: the pictures alone do not "
    "show that the attention is where it should be."
)
_INTERVALS: Final = (
    "Intervals: cases drawn within their class, 10,000 draws. The true lesion is core, necrosis "
    "and oedema as the generator drew them."
)
_REGION: Final = (
    "The network sees a region around the prior; lesion, brain and attention are those within it, "
    "so the numbers do not compare with those of a whole brain."
)
_SHARES: Final = {
    "in_lesion": "in the lesion",
    "uniform": "of a uniform map",
    "best_possible": "at most",
}
PRIOR_INK: Final = (90, 200, 255)
LESION_INK: Final = (120, 240, 120)
Volume = NDArray[np.float32]


def explanation_page(
    path: Path, content: Mapping[str, Any], cases: Sequence[tuple[Mapping[str, Any], bytes]]
) -> None:
    """Write the page.

    Args:
        path: the file.
        content: of ``explanation.json``.
        cases: those that are shown, each with its figure (WebP).
    """
    known = content["summary"] is not None
    spread, planes = (
        ("from the smallest share to the largest", "deepest point of the true lesion")
        if known
        else ("over the cohort", "centre of the attention")
    )
    prior = content["network"]["localisation"] != "none"
    page = Gallery(
        title=f"{content['recipe']}: where the network looks",
        heading=f"{content['recipe']}: where the network looks",
        private="" if content["synthetic"] else _PRIVATE,
        intro=_intro(content),
        sections=[_numbers(content) if known else PageSection("No number", after=_NO_TRUTH)],
        legend=f"Cases evenly spread {spread}. Planes through the {planes}.",
        keys=[
            Key("attention from 0 to its largest value", heat_scale()),
            *([Key("true lesion", [LESION_INK])] if known else []),
            *([Key("the prior that the network was given", [PRIOR_INK], True)] if prior else []),
        ],
        legend_after="" if prior else "This network takes no prior.",
        choices=_choices([_flags(case) for case, _ in cases]),
        groups=[
            CardGroup(
                "clean",
                "",
                f"Shown, out of {content['n_cases']} cases",
                cases,
                partial(_card, known=known),
                "medium",
            )
        ],
    )
    write_gallery(path, page, mode=0o644 if content["synthetic"] else 0o600)


def _intro(content: Mapping[str, Any]) -> str:
    def listed(name: str) -> str:
        values = content[f"{name}s"]
        return f"{name}{'s' if len(values) > 1 else ''} {', '.join(map(str, values))}"

    return (
        f"3D Grad-CAM of the predicted class at the backbone’s feature map, of {content['n_cases']} "
        f"cases of {content['cohort']}, each explained by the model that never saw it "
        f"({listed('fold')}; {listed('seed')}; profile {content['profile']}). {not_explained(content)}"
        f"Network: {network_in_words(content['network'])}. Input: {view_in_words(content['view'])}. "
        "For research, not a medical device."
    )


def not_explained(content: Mapping[str, Any]) -> str:
    """Return the sentence about cases of other folds, with a space behind it; empty where none are left."""
    n_left = content["n_not_explained"]
    folds = "folds that are not finished, or were not asked for"
    return f"{n_left} more cases are in {folds}. " if n_left else ""


def _numbers(content: Mapping[str, Any]) -> PageSection:
    rows = []
    for name, title in MEASURES.items():
        row = content["summary"][name]
        interval = (
            "" if row["value"] is None else f"{percent(row['low'])} to {percent(row['high'])}"
        )
        rows.append(((title, ""), percent(row["value"]), interval, row["n"]))
    empty, of = content["n_empty_maps"], len(content["cases"])
    maps = (
        f"{empty} map{'s' if empty > 1 else ''} of {of} {'are' if empty > 1 else 'is'} 0 everywhere: "
        "nothing on the feature map speaks for the predicted class; such maps have no share and are left "
        "out of its mean."
    )
    region = content["view"]["of"] == "region"
    return PageSection(
        "How much of the attention lies in the true lesion",
        [
            ("Measure", "name"),
            ("Mean", "number"),
            ("95 % interval", "number"),
            ("Cases", "number"),
        ],
        rows,
        after=" ".join([_INTERVALS, *([_REGION] if region else []), *([maps] if empty else [])]),
    )


def _flags(case: Mapping[str, Any]) -> list[str]:
    wrong = ["wrong"] if case["label"] != case["predicted"] else []
    return [*wrong, *(["no attention"] if case["empty_map"] else [])]


def _choices(flags: Sequence[Sequence[str]]) -> list[tuple[str, str, int]]:
    times = {flag: sum(flag in each for each in flags) for flag in ("wrong", "no attention")}
    return [(flag.replace(" ", "-"), flag, count) for flag, count in times.items() if count]


def _card(shown: tuple[Mapping[str, Any], bytes], *, known: bool) -> Card:
    case, picture = shown
    case_id, flags = case["case_id"], _flags(case)
    alt = f"{case_id}: axial, coronal and sagittal plane with the attention as colours"
    shares = {title: percent(case[name]) for name, title in _SHARES.items()} if known else {}
    numbers = {
        "predicted": f"{case['predicted']} ({percent(case['probability'])})",
        "true": case["label"],
        **shares,
    }
    codes = [flag.replace(" ", "-") for flag in flags]
    return Card(
        case_id, [CardPicture(picture, SIZE, alt)], flags=flags, numbers=numbers, codes=codes
    )


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


def figure(
    image: Volume, brain: Volume, found: Volume, prior: Volume | None, lesion: Volume | None
) -> bytes:
    """Return a WebP picture of three planes through the true lesion, or through the map's centre.

    The prior's half is outlined in blue dashes, the true lesion in green.

    Args:
        image: (s, s, s) standardised intensities.
        brain: (s, s, s) in [0, 1]; the rest is drawn black.
        found: (s, s, s) the map in [0, 1].
        prior: (s, s, s) in [0, 1]; None where the network takes none.
        lesion: (s, s, s) in [0, 1]; None where nobody knows it.
    """
    x, y, z = ((count - 1) / 2 for count in found.shape)
    planes, voxels = Planes(_centre(found, lesion), (x, y, z), float(max(found.shape))), np.eye(4)
    lines = [(prior, PRIOR_INK, DASH), (lesion, LESION_INK, 0)]
    return draw(
        planes,
        planes.cut(brain_grey(image, brain > 0.5) * brain, voxels),
        heat=planes.cut(found, voxels),
        lines=[(planes.cut(v, voxels), ink, dash) for v, ink, dash in lines if v is not None],
    )


def _centre(found: Volume, lesion: Volume | None) -> Point:
    """Return the voxel of the lesion that is deepest, else the map's centre, else the middle."""
    inside = None if lesion is None else deepest(lesion > 0.5)
    if inside is not None:
        return inside
    if found.any():
        x, y, z = (float(round(place)) for place in ndimage.center_of_mass(found))
    else:
        x, y, z = (float(count // 2) for count in found.shape)
    return x, y, z
