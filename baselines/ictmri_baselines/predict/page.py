"""The page of a virtual biopsy: one HTML file that asks no host for anything, for the scan's owner alone.

Every style and script stands in it and is named by its digest in the page's policy, so that a browser runs
no other and sends no request.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ictmri.atlas.template import SPACING_MM, grid_affine
from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.io.files import canonical_json, write_text
from ictmri.io.volumes import pack
from ictmri.pages.templating import pages, policy, webp_uri
from ictmri.pages.triplanar import LETTERS, SIZE, SMALL_SIZE, heat_scale, montage
from ictmri_baselines.localizer.figure import centre_of, figure, shown_brain
from ictmri_baselines.localizer.page import shown_numbers
from ictmri_baselines.predict import words
from ictmri_baselines.predict.result import Biopsy
from ictmri_baselines.processor.qc.apply_rules import MEASURES

_HERE: Final = Path(__file__).parent
_TEMPLATES: Final = _HERE / "templates"
_VENDORED: Final = _HERE / "vendored"
BAR: Final = 400
"""Width of a probability of 1 in the units of the bars' drawing."""


def write_page(
    path: Path,
    biopsy: Biopsy,
    content: Mapping[str, Any],
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write the page, readable by the owner alone; the same biopsy gives the same bytes.

    Args:
        path: the file.
        biopsy: what became of the scan.
        content: its numbers, of :func:`~ictmri_baselines.predict.result.content_of`.
        pictures: of :func:`pictures_of`, made where None.
    """
    made = pictures_of(biopsy) if pictures is None else pictures
    context = _context(biopsy, content, made)
    text = pages(_TEMPLATES).get_template("biopsy.html.j2").render(context)
    write_text(path, text, mode=0o600)


def _context(
    biopsy: Biopsy, content: Mapping[str, Any], made: Mapping[str, bytes]
) -> dict[str, Any]:
    style, own = _text("page.css"), _text("viewer.js")
    volumes = volumes_of(biopsy)
    library = (_VENDORED / "niivue.umd.js").read_text(encoding="utf-8") if volumes else ""
    return {
        "content": content,
        "bars": _bars(content),
        "titles": CLASS_TITLES,
        "words": words,
        "calibration": words.calibration(content),
        "letters": LETTERS,
        "localization_numbers": shown_numbers(content["localization"]["summary"])
        if content["localization"]
        else {},
        "measures": MEASURES,
        "pictures": {name: webp_uri(picture) for name, picture in made.items()},
        "sizes": {"scan": SMALL_SIZE} | dict.fromkeys(("prior", "attention", "qc"), SIZE),
        "scale": heat_scale(),
        "width": BAR,
        "centre": _centre(biopsy),
        "volumes": canonical_json(volumes),
        "style": style,
        "library": library,
        "script": own,
        "licences": "\n\n".join(
            (_VENDORED / name).read_text(encoding="utf-8")
            for name in ("LICENSE-niivue.txt", "LICENSE-bundled.txt")
        ),
        "policy": policy(style, library, own),
    }


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _bars(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each class's bar: its probability, the models' dots, and the cohort's share of the class."""
    made, rates = content["diagnosis"], content["calibration"]["base_rates"]
    if made is None:
        return []
    return [
        {
            "name": name,
            "first": name == made["class"],
            "mean": made["probabilities"][name],
            "low": made["lowest"][name],
            "high": made["highest"][name],
            "dots": [row[name] for row in made["by_model"]],
            "rate": rates and rates[name]["share"],
        }
        for name in CLASSES
    ]


def pictures_of(biopsy: Biopsy) -> dict[str, bytes]:
    """Return the pictures that there are, WebP, by name; the first one shows the most."""
    processed, found, image = biopsy.processed, biopsy.found, biopsy.scan.image
    if processed is None or found is None:
        return {"scan": montage(image)}
    from ictmri_baselines.processor.qc import figure as qc

    made = {"prior": figure(processed.brain, found, boxes=False)}
    if biopsy.diagnosis is not None:
        made["attention"] = figure(processed.brain, found, attention=biopsy.diagnosis.attention)
    made["qc"] = qc.figure(processed, image, qc.centre_of(biopsy.numbers))
    return made


def _centre(biopsy: Biopsy) -> list[float]:
    return [] if biopsy.found is None else list(centre_of(biopsy.found))


def volumes_of(biopsy: Biopsy) -> dict[str, str]:
    """Return gzipped NIfTI in base64: ``brain`` and ``prior``, and ``attention`` where there is one.

    One byte a voxel, in MNI152 space, cut to what holds anything. Empty where the scan could not be
    processed.
    """
    processed, found = biopsy.processed, biopsy.found
    if processed is None or found is None:
        return {}
    affine = np.asarray(processed.brain.image.affine, dtype=np.float64)
    prior = np.asarray(found.refined.dataobj, dtype=np.float32)
    volumes = {
        "brain": packed(shown_brain(processed.brain), affine),
        "prior": packed(prior, affine),
    }
    if biopsy.diagnosis is not None:
        step = round(SPACING_MM / float(affine[0, 0]))
        inside = np.asarray(processed.brain.mask.dataobj)[(slice(None, None, step),) * 3] > 0
        attention = biopsy.diagnosis.attention * inside
        volumes["attention"] = packed(attention, grid_affine(SPACING_MM))
    return volumes


def packed(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> str:
    """Return a volume (X, Y, Z) in [0, 1], affine in mm, as NIfTI in 0..255, cut to what is not 0."""
    levels = np.round(volume * 255).astype(np.uint8)
    places = np.argwhere(levels)
    low, high = (places.min(axis=0), places.max(axis=0) + 1) if len(places) else ([0] * 3, [1] * 3)
    part = levels[tuple(slice(first, last) for first, last in zip(low, high, strict=True))]
    placed = affine.copy()
    placed[:3, 3] = affine[:3, :3] @ np.asarray(low) + affine[:3, 3]
    image = nib.Nifti1Image(np.ascontiguousarray(part), placed)
    image.set_sform(placed, 4)
    image.set_qform(placed, 4)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(pack(image, "volume")["bytes"]).decode()
