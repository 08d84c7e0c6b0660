"""Two detectors' boxes on one cohort: how many cores they find, how exactly, and on which side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.atlas.template import ORIGIN_MM
from ictmri.cohort import Cohort
from ictmri.errors import InputError, nearest
from ictmri.io.tables import Table
from ictmri.io.volumes import unpack
from ictmri_baselines.localizer.agreement import agreement
from ictmri_baselines.localizer.box_controls import mirrored_boxes, moved_boxes
from ictmri_baselines.localizer.boxes import SliceBoxes, read_boxes
from ictmri_baselines.localizer.prior import stacked_boxes
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.localizer.replay import missing_cases
from ictmri_baselines.pipeline.localize import mapping_of

Mask = npt.NDArray[np.bool_]
MIDLINE_MM: Final = 5.0
"""Nearer to the midline a place is on neither side."""
OEDEMA: Final = 3
"""Label of the phantom's truth that is no core."""
_NOTES: Final = (
    "cores found: covered by a quarter; IoU: of the stacked boxes and those around the true core, mean "
    "over cases; sides: of the middles of both, where both lie off the midline",
    "mirrored: the same boxes on the other side; at random: each case's stack anywhere in its brain",
)
_AGAINST: Final = (
    "no truth in this cohort: the boxes of the first file are held against the second's"
)


@dataclass(frozen=True, slots=True)
class _Case:
    """Boxes of both files, and what they are held against, on one grid."""

    boxes: dict[str, list[SliceBoxes]]
    brain: Mask
    true: Mask
    spacing_mm: float


def compare_boxes(cohort: Cohort, first: str, second: str) -> Table:
    """Return a row for each file, and for its boxes mirrored and at random.

    Args:
        cohort: processed; where it is SYNTHETIC, its truth is what boxes are held against.
        first: a boxes file, or its name in the cohort (``saliency`` for ``boxes/saliency.jsonl``).
        second: another; where there is no truth, what the first is held against.

    Raises:
        InputError: not processed; no such file; a file that cannot be used.
    """
    if "process" not in cohort.manifest.steps:
        raise InputError(str(cohort.root), ["not processed yet"], f"ictmri process {cohort.root}")
    paths = [_boxes_file(cohort, name) for name in (first, second)]
    titles = [Path(name).name for name in (first, second)]
    if titles[0] == titles[1]:
        titles = [f"{title} ({place})" for title, place in zip(titles, "AB", strict=True)]
    known = "truth" in cohort.manifest.configs
    cases = list(_cases(cohort, dict(zip(titles, paths, strict=True)), known=known))
    shown = titles if known else titles[:1]
    rows = [row for title in shown for row in _rows(title, cases)]
    against = "the truth" if known else titles[1]
    return Table.of(
        rows,
        title=f"{cohort.name}: boxes against {against}",
        notes=_NOTES if known else (*_NOTES, _AGAINST),
        synthetic=cohort.synthetic,
    )


def _boxes_file(cohort: Cohort, name: str) -> Path:
    inside = cohort.root / "boxes" / f"{name}.jsonl"
    if inside.is_file() or Path(name).is_file():
        return inside if inside.is_file() else Path(name)
    there = [path.stem for path in (cohort.root / "boxes").glob("*.jsonl")]
    problem = f"{name!r} is no boxes file{nearest(name, there)}"
    raise InputError(
        "--compare", [problem], f"a file, or one of: {', '.join(there) or 'none here'}"
    )


def _cases(cohort: Cohort, paths: Mapping[str, Path], *, known: bool) -> Iterator[_Case]:
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")} if known else {}
    ids = [row.case_id for row in cohort.folds().rows]
    processed = set(ids) - set(cohort.manifest.left_out)
    found: dict[str, Any] = {}
    for row in cohort.rows("processed", ["case_id", "brain_mask", "scan_from_mni", "warp"]):
        mask = unpack(row["brain_mask"])
        spacing = round(float(mask.header.get_zooms()[0]))
        for title, path in paths.items():
            if title not in found:
                found[title] = read_boxes(path, spacing_mm=spacing, case_ids=ids)
                if absent := sorted(processed - set(found[title])):
                    raise missing_cases(path, absent)
        boxes = {title: found[title].get(row["case_id"], []) for title in paths}
        brain = np.asarray(mask.dataobj) > 0
        if known:
            true = true_core(row, truths[row["case_id"]])
        else:
            true = stacked_boxes(list(boxes.values())[-1], brain.shape)
        yield _Case(boxes, brain, true, float(spacing))


def true_core(row: dict[str, Any], lesion: dict[str, Any]) -> Mask:
    """Return the true core on the grid of a processed case.

    Args:
        row: of ``processed``: ``brain_mask``, ``scan_from_mni``, ``warp``.
        lesion: the case's ``lesion_mask``, on the scan's grid.
    """
    spacing = round(float(unpack(row["brain_mask"]).header.get_zooms()[0]))
    truth = mapping_of(row).to_mni(unpack(lesion), spacing, order=0)
    return np.asarray((truth > 0) & (truth != OEDEMA))


def _rows(title: str, cases: Sequence[_Case]) -> Iterator[dict[str, Any]]:
    given = [case.boxes[title] for case in cases]
    yield _row(title, given, cases)
    other = [
        mirrored_boxes(rows, case.brain.shape[0]) for rows, case in zip(given, cases, strict=True)
    ]
    yield _row(f"{title}, mirrored", other, cases)
    random = np.random.default_rng(0)
    moved = [moved_boxes(rows, case.brain, random) for rows, case in zip(given, cases, strict=True)]
    yield _row(f"{title}, at random", moved, cases)


def _row(title: str, boxes: Sequence[list[SliceBoxes]], cases: Sequence[_Case]) -> dict[str, Any]:
    found = cores = empty = same = other = 0
    overlaps = []
    for rows, case in zip(boxes, cases, strict=True):
        marked = stacked_boxes(rows, case.true.shape)
        empty += not marked.any()
        agreed = agreement(marked, case.true, [case.spacing_mm] * 3)
        found, cores = found + agreed.cores_found, cores + agreed.cores
        true = stacked_boxes(Region(case.true.astype(np.float32), "true").boxes(), case.true.shape)
        either = np.count_nonzero(marked | true)
        overlaps.append(np.count_nonzero(marked & true) / either if either else 1.0)
        sides = [_side(volume, case.spacing_mm) for volume in (marked, case.true)]
        same += sides[0] == sides[1] != 0
        other += sides[0] == -sides[1] != 0
    return {
        "boxes": title,
        "cases": len(cases),
        "without a box": empty,
        "cores": cores,
        "cores found": found,
        "recall": found / cores if cores else None,
        "IoU": float(np.mean(overlaps)) if overlaps else None,
        "same side": same,
        "other side": other,
    }


def _side(volume: Mask, spacing_mm: float) -> int:
    """Return -1 for the left, 1 for the right, 0 for neither or where nothing is."""
    if not volume.any():
        return 0
    across = np.arange(volume.shape[0]) * spacing_mm + ORIGIN_MM[0]
    middle = float(np.average(across, weights=volume.sum(axis=(1, 2))))
    return 0 if abs(middle) <= MIDLINE_MM else int(np.sign(middle))
