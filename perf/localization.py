"""How well the localizer's priors agree with truth, as the tables of docs/localization.md.

    python perf/localization.py --phantoms 40                     # SYNTHETIC phantoms of another seed
    python perf/localization.py --phantoms 40 --tumour-free 40    # and as many heads without a tumour
    python perf/localization.py --cohort out/ictmri-phantom      # a SYNTHETIC cohort, processed
    python perf/localization.py --cohort out/real --masks $ICTMRI_REAL_SCANS/masks

``--detectors saliency,stored`` looks with several, each from the processed brain on; ``stored`` takes the
priors that a localized cohort holds. With ``--masks`` the cohort's link file must lie beside it: a mask
belongs to the case whose source id its file name begins with; a case without one is tumour-free where its
source id is named in ``--normal``. The masks are compared on the scans' own grids, so the way back from
MNI152 space is part of what is measured.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ictmri.cohort import open_cohort
from ictmri.io.parallel import run_all
from ictmri.io.volumes import unpack
from ictmri.phantom import render, roster
from ictmri_baselines.cases import Brain
from ictmri_baselines.localizer import localize
from ictmri_baselines.localizer.agreement import Agreement, agreement
from ictmri_baselines.localizer.classical.evidence import evidence_of
from ictmri_baselines.localizer.detectors import Detector, detector_settings
from ictmri_baselines.pipeline.localize import mapping_of
from ictmri_baselines.processor import PRESETS, Mapping, process
from ictmri_baselines.registry import DEFAULT_DETECTOR

ENHANCING = 4
"""BraTS 2013's label of enhancing tumour."""
OEDEMA = {"phantom": 3, "cohort": 2, "whole": 0}
"""Labels of oedema: of the phantom, and of BraTS 2013; other masks say nothing about it."""


@dataclass(frozen=True)
class Row:
    """One prior of one case: agreement with the whole lesion, the core's Dice, the enhancing share."""

    case: str
    detector: str
    prior: str
    whole: Agreement
    core_dice: float
    enhancing: float
    seconds: float


class Timed:
    """A detector whose time is taken, the evidence included."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.seconds = 0.0

    def detect(self, brain: Brain) -> Any:
        """Return what the detector returns."""
        evidence_of.cache_clear()
        start = time.perf_counter()
        found = self._detector.detect(brain)
        self.seconds = time.perf_counter() - start
        return found


Priors = dict[str, tuple[nib.Nifti1Image, float]]
"""Of each kind the prior, and the seconds until it was there."""


def _priors(brain: Brain, detector: str) -> Priors:
    timed = Timed(detector_settings(detector).detector())
    start = time.perf_counter()
    found = localize(brain, timed)
    total = time.perf_counter() - start
    return {"coarse": (found.coarse, timed.seconds), "refined": (found.refined, total)}


def of_phantom(
    index: int, *, seed: int, spacing: float, detectors: list[str], tumour_free: bool
) -> list[Row]:
    """Return the agreement of all detectors' priors on one phantom."""
    case = roster(seed)[index]
    drawn = render(case, spacing=spacing, tumour_free=tumour_free)
    processed = process(drawn.image, PRESETS["light"])
    truth = np.asarray(drawn.lesion_mask.dataobj)
    name = f"{case.case_id}{' tumour-free' if tumour_free else ''}"
    return [
        row
        for detector in detectors
        for row in _rows(
            name,
            detector,
            _priors(processed.brain, detector),
            processed.mapping,
            drawn.image,
            truth,
            OEDEMA["phantom"],
        )
    ]


def of_synthetic(root: Path, detectors: list[str]) -> Iterator[Row]:
    """Yield the agreement of all priors with the truth on each case of a SYNTHETIC cohort."""
    cohort = open_cohort(root)
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")}
    for row in cohort.rows("processed"):
        lesion = unpack(truths[row["case_id"]])
        truth = np.asarray(lesion.dataobj)
        yield from _of_row(row, lesion, truth, row["case_id"], "phantom", detectors)


def of_cohort(root: Path, masks: Path, normal: list[str], detectors: list[str]) -> Iterator[Row]:
    """Yield the agreement of all priors on each case that has a mask, or is known to be normal."""
    cohort = open_cohort(root)
    with root.with_name(f"{root.name}.link.csv").open(newline="") as stream:
        names = {row["case_id"]: row["patient_id"] for row in csv.DictReader(stream)}
    scans = {row["case_id"]: row["image"] for row in cohort.rows("default", ["case_id", "image"])}
    for row in cohort.rows("processed"):
        name, scan = names[row["case_id"]], unpack(scans[row["case_id"]])
        truths = [_voxels(path) for path in sorted(masks.glob(f"{name}*_tumour.*"))]
        if not truths and name in normal:
            truths = [np.zeros(scan.shape, np.uint8)]
        for truth in truths:
            kind = "cohort" if (truth == ENHANCING).any() else "whole"
            yield from _of_row(row, scan, truth, name, kind, detectors)


def _of_row(
    row: dict[str, Any],
    scan: nib.Nifti1Image,
    truth: np.ndarray,
    name: str,
    kind: str,
    detectors: list[str],
) -> Iterator[Row]:
    brain = Brain(unpack(row["image"]), unpack(row["brain_mask"]))
    for detector in detectors:
        found = _stored(row) if detector == "stored" else _priors(brain, detector)
        yield from _rows(name, detector, found, mapping_of(row), scan, truth, OEDEMA[kind])


def _stored(row: dict[str, Any]) -> Priors:
    levels = unpack(row["prior_coarse"])
    coarse = nib.Nifti1Image(np.asarray(levels.dataobj) / np.float32(255), levels.affine)
    nothing = float("nan")
    return {"coarse": (coarse, nothing), "refined": (unpack(row["prior_refined"]), nothing)}


def _voxels(path: Path) -> np.ndarray:
    if path.suffix == ".nrrd":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    return np.asarray(nib.load(path).dataobj)


def _rows(
    name: str,
    detector: str,
    priors: Priors,
    mapping: Mapping,
    scan: nib.Nifti1Image,
    truth: np.ndarray,
    oedema: int,
) -> Iterator[Row]:
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0).tolist()
    core, enhancing = (truth > 0) & (truth != oedema), truth == ENHANCING
    for prior, (volume, seconds) in priors.items():
        marked = np.asarray(mapping.to_scan(volume, scan).dataobj) > 0.5
        share = float(marked[enhancing].mean()) if enhancing.any() else float("nan")
        whole = agreement(marked, truth > 0, spacing, core)
        dice = agreement(marked, core, spacing).dice
        yield Row(name, detector, prior, whole, dice, share, seconds)


COLUMNS = (
    "cases", "detector", "prior", "cores found", "whole lesions found", "Dice core, median", ">= .5",
    "Dice whole", "enhancing recall", "volume ratio", "false positive ml: median, 95 %, max",
    "tumour-free ml: median, 95 %, max", "seconds",
)  # fmt: skip


def table(rows: list[Row], *, each: bool) -> str:
    """Return a Markdown table: medians over all cases, or each case for itself."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    names = sorted({row.case for row in rows}) if each else [""]
    kinds = list(dict.fromkeys((row.detector, row.prior) for row in rows))
    for name in names:
        for kind in kinds:
            chosen = [r for r in rows if (r.detector, r.prior) == kind and name in ("", r.case)]
            lines.append(_line(name or str(len({row.case for row in chosen})), chosen))
    return "\n".join(lines)


def _line(title: str, rows: list[Row]) -> str:
    def median(values: list[float]) -> str:
        known = [value for value in values if not np.isnan(value)]
        return f"{np.median(known):.2f}" if known else "-"

    def spread(values: list[float]) -> str:
        shown = [*np.percentile(values, (50, 95)), max(values)] if values else []
        return ", ".join(f"{value:.1f}" for value in shown) or "-"

    found = [row.whole for row in rows if row.whole.lesions]
    dice = [row.core_dice for row in rows if row.whole.lesions]
    cells = [
        f"{sum(a.cores_found for a in found)} of {sum(a.cores for a in found)}",
        f"{sum(a.found for a in found)} of {sum(a.lesions for a in found)}",
        median(dice),
        f"{np.mean([d >= 0.5 for d in dice]):.3f}" if dice else "-",
        median([a.dice for a in found]),
        median([row.enhancing for row in rows]),
        median([a.volume_ratio for a in found]),
        spread([a.false_ml for a in found]),
        spread([row.whole.false_ml for row in rows if not row.whole.lesions]),
        median([row.seconds for row in rows]),
    ]
    return f"| {title} | {rows[0].detector} | {rows[0].prior} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=0, help="number of SYNTHETIC phantoms")
    parser.add_argument("--tumour-free", type=int, default=0, help="of the same, without tumours")
    parser.add_argument("--seed", type=int, default=11, help="of the phantoms")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm, of the phantoms")
    parser.add_argument("--cohort", type=Path, help="a processed cohort")
    parser.add_argument(
        "--masks", type=Path, help="folder of true masks; a SYNTHETIC cohort has its own"
    )
    parser.add_argument("--normal", default="", help="source ids of tumour-free scans, by commas")
    parser.add_argument("--detectors", default=DEFAULT_DETECTOR, help="by commas; or: stored")
    parser.add_argument("--jobs", type=int, help="processes, for phantoms")
    given = parser.parse_args()
    detectors = given.detectors.split(",")
    rows: list[Row] = []
    for count, free in ((given.phantoms, False), (given.tumour_free, True)):
        work = partial(
            of_phantom,
            seed=given.seed,
            spacing=given.spacing,
            detectors=detectors,
            tumour_free=free,
        )
        title = "tumour-free heads" if free else "phantoms"
        done = run_all(work, range(count), total=count, title=title, jobs=given.jobs)
        rows += [row for found in done for row in found]
    if rows:
        print("SYNTHETIC phantoms, light settings; medians over cases\n")
        print(table(rows, each=False))
    if given.cohort and not given.masks:
        print("SYNTHETIC cohort; medians over cases\n")
        print(table(list(of_synthetic(given.cohort, detectors)), each=False))
    if given.cohort and given.masks:
        normal = given.normal.split(",")
        print(table(list(of_cohort(given.cohort, given.masks, normal, detectors)), each=True))


if __name__ == "__main__":
    main()
