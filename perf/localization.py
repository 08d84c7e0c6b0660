"""How well the localizer's priors agree with truth, as the table of docs/localization.md.

    python perf/localization.py --phantoms 40                    # SYNTHETIC phantoms of another seed
    python perf/localization.py --cohort out/ictmri-phantom     # a SYNTHETIC cohort, localized
    python perf/localization.py --cohort out/real --masks $ICTMRI_REAL_SCANS/masks

With ``--masks`` the cohort must be processed and localized, and its link file must lie beside it: a mask
belongs to the case whose source id its file name begins with. The masks are compared on the scans' own
grids, so the way back from MNI152 space is part of what is measured.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
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
from ictmri_baselines.localizer import localize
from ictmri_baselines.localizer.agreement import Agreement, agreement
from ictmri_baselines.localizer.classical.saliency import SaliencyDetector
from ictmri_baselines.pipeline.localize import mapping_of
from ictmri_baselines.processor import PRESETS, Mapping, process

ENHANCING = 4
"""BraTS 2013's label of enhancing tumour."""
OEDEMA = {"phantom": 3, "cohort": 2, "whole": 0}
"""Labels of oedema: of the phantom, and of BraTS 2013; other masks say nothing about it."""
Row = tuple[str, str, Agreement, float]
"""Case, prior, agreement with the whole lesion, share of the enhancing part that is marked."""


def of_phantom(index: int, *, seed: int, spacing: float) -> list[Row]:
    """Return both priors' agreement on one phantom."""
    case = roster(seed)[index]
    drawn = render(case, spacing=spacing)
    processed = process(drawn.image, PRESETS["light"])
    found = localize(processed.brain, SaliencyDetector())
    truth = np.asarray(drawn.lesion_mask.dataobj)
    return list(
        _rows(
            case.case_id,
            found.coarse,
            found.refined,
            processed.mapping,
            drawn.image,
            truth,
            OEDEMA["phantom"],
        )
    )


def of_synthetic(root: Path) -> Iterator[Row]:
    """Yield both stored priors' agreement with the truth on each case of a SYNTHETIC cohort."""
    cohort = open_cohort(root)
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")}
    for row in cohort.rows("processed"):
        lesion = unpack(truths[row["case_id"]])
        yield from _of_row(row, lesion, np.asarray(lesion.dataobj), row["case_id"], "phantom")


def of_cohort(root: Path, masks: Path) -> Iterator[Row]:
    """Yield both stored priors' agreement on each case that has a mask."""
    cohort = open_cohort(root)
    with root.with_name(f"{root.name}.link.csv").open(newline="") as stream:
        names = {row["case_id"]: row["patient_id"] for row in csv.DictReader(stream)}
    scans = {row["case_id"]: row["image"] for row in cohort.rows("default", ["case_id", "image"])}
    for row in cohort.rows("processed"):
        name = names[row["case_id"]]
        for path in sorted(masks.glob(f"{name}*_tumour.*")):
            truth = _voxels(path)
            kind = "cohort" if (truth == ENHANCING).any() else "whole"
            yield from _of_row(row, unpack(scans[row["case_id"]]), truth, name, kind)


def _of_row(
    row: dict[str, Any], scan: nib.Nifti1Image, truth: np.ndarray, name: str, kind: str
) -> Iterator[Row]:
    mapping = mapping_of(row)
    levels = unpack(row["prior_coarse"])
    coarse = nib.Nifti1Image(np.asarray(levels.dataobj) / np.float32(255), levels.affine)
    refined = unpack(row["prior_refined"])
    yield from _rows(name, coarse, refined, mapping, scan, truth, OEDEMA[kind])


def _voxels(path: Path) -> np.ndarray:
    if path.suffix == ".nrrd":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    return np.asarray(nib.load(path).dataobj)


def _rows(
    name: str,
    coarse: nib.Nifti1Image,
    refined: nib.Nifti1Image,
    mapping: Mapping,
    scan: nib.Nifti1Image,
    truth: np.ndarray,
    oedema: int,
) -> Iterator[Row]:
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0).tolist()
    core = (truth > 0) & (truth != oedema)
    for prior, volume in (("coarse", coarse), ("refined", refined)):
        marked = np.asarray(mapping.to_scan(volume, scan).dataobj) > 0.5
        enhancing = truth == ENHANCING
        share = marked[enhancing].mean() if enhancing.any() else float("nan")
        yield name, prior, agreement(marked, truth > 0, spacing, core), float(share)


def table(rows: list[Row], *, each: bool) -> str:
    """Return a Markdown table: medians over all cases, or each case for itself."""
    lines = [
        "| cases | prior | cores found | whole lesions found | touched | voxel recall "
        "| enhancing recall | Dice | volume ratio | false positive ml, largest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    names = sorted({row[0] for row in rows}) if each else [""]
    for name in names:
        for prior in ("coarse", "refined"):
            chosen = [row for row in rows if row[1] == prior and name in ("", row[0])]
            lines.append(_line(name or str(len(chosen)), prior, chosen))
    return "\n".join(lines)


def _line(title: str, prior: str, rows: list[Row]) -> str:
    def median(values: list[float]) -> str:
        known = [value for value in values if not np.isnan(value)]
        return f"{np.median(known):.2f}" if known else "-"

    found = [row[2] for row in rows]
    cells = [
        f"{sum(a.cores_found for a in found)} of {sum(a.cores for a in found)}",
        f"{sum(a.found for a in found)} of {sum(a.lesions for a in found)}",
        f"{sum(a.touched for a in found)} of {sum(a.lesions for a in found)}",
        median([a.voxel_recall for a in found]),
        median([row[3] for row in rows]),
        median([a.dice for a in found]),
        median([a.volume_ratio for a in found]),
        f"{np.median([a.false_ml for a in found]):.0f}, {max(a.false_ml for a in found):.0f}",
    ]
    return f"| {title} | {prior} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=0, help="number of SYNTHETIC phantoms")
    parser.add_argument("--seed", type=int, default=11, help="of the phantoms")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm, of the phantoms")
    parser.add_argument("--cohort", type=Path, help="a localized cohort")
    parser.add_argument(
        "--masks", type=Path, help="folder of true masks; a SYNTHETIC cohort has its own"
    )
    given = parser.parse_args()
    if given.phantoms:
        work = partial(of_phantom, seed=given.seed, spacing=given.spacing)
        done = run_all(work, range(given.phantoms), total=given.phantoms, title="phantoms")
        print("SYNTHETIC phantoms, light settings; medians over cases\n")
        print(table([row for rows in done for row in rows], each=False))
    if given.cohort and not given.masks:
        print("SYNTHETIC cohort; medians over cases\n")
        print(table(list(of_synthetic(given.cohort)), each=False))
    if given.cohort and given.masks:
        print(table(list(of_cohort(given.cohort, given.masks)), each=True))


if __name__ == "__main__":
    main()
