r"""How much a diagnosis depends on the priors: of detectors, of boxes right and wrong, of the true core.

    python perf/box_sensitivity.py ictmri-phantom --out out/priors
    python perf/box_sensitivity.py ictmri-phantom --out out/priors --jobs 1 \
        --recipes controls/radiomics beyond/radiomics-ensemble light/virtual-biopsy

One table in Markdown. Each row is a copy of the SYNTHETIC cohort, which must be processed, with priors made
in one way; how well they fit the true core, on the MNI152 grid; and the recipes' macro-F1 in them. Boxes
and cores are replayed (``--detector boxes``, ``masks``). Priors of the true core are the ceiling: no entry
may use them. What is finished in ``--out`` is kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np

from ictmri.atlas.box import box_of
from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io.files import replacing, write_bytes
from ictmri.io.parallel import run_all
from ictmri.io.states import facts_in, kept, write_record
from ictmri.io.tables import Table
from ictmri.io.volumes import pack, unpack
from ictmri.lookup import find_cohort
from ictmri_baselines.localizer.agreement import agreement
from ictmri_baselines.localizer.box_controls import mirrored_boxes, moved_boxes
from ictmri_baselines.localizer.boxes import SliceBoxes, read_boxes, write_boxes
from ictmri_baselines.localizer.detectors import DetectorSettings, detector_settings
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.localizer.replay import MaskReplay, Replay
from ictmri_baselines.pipeline import Workers, localized_copy
from ictmri_baselines.pipeline.compare_boxes import Mask, true_core
from ictmri_baselines.reproduction.recipe import PROFILES, Recipe, load_recipe
from ictmri_baselines.reproduction.reproduce import reproduce

KINDS: Final = {
    "saliency": "map of saliency",
    "synthetic": "map of synthetic",
    "detected": "boxes of saliency",
    "mirrored": "the same boxes, mirrored",
    "random": "the same boxes, at random",
    "true-boxes": "boxes of the true core",
    "true-map": "the true core",
}
"""How a prior was made."""
PRIORS: Final = {"prior_coarse": 127, "prior_refined": 0}
"""Stored level above which a prior marks a voxel."""
MARGIN: Final = 4
"""Voxels around all that is marked or true: nothing farther away changes how both agree."""
NOTES: Final = (
    "agreement with the true core on the MNI152 grid, of the coarse and of the refined prior; a core "
    "counts as covered from a quarter on",
    "macro-F1 with its 95 % interval; no entry may use a prior of the true core, which is the ceiling",
)


def prepared(cohort: Cohort, out: Path, workers: Workers) -> dict[str, Cohort]:
    """Return a localized copy of the cohort for each kind of prior."""

    def copy(detector: DetectorSettings) -> Cohort:
        return localized_copy(cohort, detector, folder=out / "cohorts", workers=workers)

    copies = {name: copy(detector_settings(name)) for name in ("saliency", "synthetic")}
    _write_truth(copies["saliency"], out)
    files = (kind for kind in KINDS if kind not in copies and kind != "true-map")
    copies |= {kind: copy(Replay(boxes=out / f"{kind}.jsonl")) for kind in files}
    return {**copies, "true-map": copy(MaskReplay(masks=out / "cores"))}


def _write_truth(detected: Cohort, out: Path) -> None:
    """Write what is replayed: all boxes, and the true cores as masks."""
    boxes: dict[str, list[bytes]] = {}
    found = read_boxes(detected.root / "boxes" / "saliency.jsonl")
    random = np.random.default_rng(0)
    (out / "cores").mkdir(exist_ok=True)
    for row, core in cores(detected):
        case_id, mask = row["case_id"], unpack(row["brain_mask"])
        rows = found.get(case_id, [])
        made: dict[str, list[SliceBoxes]] = {
            "detected": rows,
            "mirrored": mirrored_boxes(rows, core.shape[0]),
            "random": moved_boxes(rows, np.asarray(mask.dataobj) > 0, random),
            "true-boxes": Region(core.astype(np.float32), "boxes").boxes(),
        }
        part, spacing = out / "case.part", float(mask.header.get_zooms()[0])
        for kind, chosen in made.items():
            write_boxes(part, case_id, chosen, spacing_mm=spacing, detector="boxes")
            boxes.setdefault(kind, []).append(part.read_bytes())
        part.unlink()
        true = nib.Nifti1Image(core.astype(np.uint8), mask.affine)
        write_bytes(out / "cores" / f"{case_id}.nii.gz", pack(true, case_id)["bytes"])
    for kind, lines in boxes.items():
        with replacing(out / f"{kind}.jsonl") as file:
            file.write_bytes(b"".join(lines))


def cores(cohort: Cohort) -> Iterator[tuple[dict[str, Any], Mask]]:
    """Yield each processed case, and its true core on its grid."""
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")}
    columns = ["case_id", "brain_mask", "scan_from_mni", "warp", *PRIORS]
    for row in cohort.rows("processed", columns):
        yield row, true_core(row, truths[row["case_id"]])


def fit(out: Path, copy: tuple[str, Path]) -> dict[str, list[list[float]]]:
    """Return Dice, cores and covered cores of each case by prior; what is known of a copy is kept."""
    kind, root = copy
    cohort, path = open_cohort(root), out / f"{kind}.fit.json"
    data = cohort.manifest.digest_of("processed")
    known = kept(path, facts_in)
    if known is None or known["data"] != data:
        rows: dict[str, list[list[float]]] = {name: [] for name in PRIORS}
        for row, core in cores(cohort):
            spacing = [float(n) for n in unpack(row["brain_mask"]).header.get_zooms()]
            for name, level in PRIORS.items():
                marked = np.asarray(unpack(row[name]).dataobj) > level
                box = box_of(marked | core, MARGIN)
                found = agreement(marked[box], core[box], spacing)
                rows[name].append([found.dice, found.cores, found.cores_found])
        known = {"data": data, "rows": rows}
        write_record(path, known)
    return dict(known["rows"])


def fit_cells(rows: dict[str, list[list[float]]]) -> dict[str, str]:
    """Return the cells of how well priors fit: of the coarse ones, then of the refined ones."""
    found = [np.array(rows[name]) for name in PRIORS]
    cells = {
        "core's Dice, median": [np.median(each[:, 0]) for each in found],
        "Dice at least .5": [np.mean(each[:, 0] >= 0.5) for each in found],
        "cores covered": [each[:, 2].sum() / each[:, 1].sum() for each in found],
    }
    return {title: ", ".join(f"{value:.2f}" for value in pair) for title, pair in cells.items()}


def table(
    copies: dict[str, Cohort],
    recipes: Sequence[Recipe],
    out: Path,
    *,
    profile: Any,
    jobs: int | None,
) -> Table:
    """Measure the priors and run the recipes in them; a row for each kind."""
    places = [(kind, cohort.root) for kind, cohort in copies.items()]
    measured = run_all(partial(fit, out), places, total=len(places), title="fit", jobs=jobs)
    rows = []
    for kind, fitted in zip(copies, measured, strict=True):
        row: dict[str, Any] = {"priors made of": KINDS[kind], **fit_cells(fitted)}
        for recipe in recipes:
            place = out / "runs" / kind / recipe.slug
            done = reproduce(recipe, copies[kind], place, profile=profile, jobs=jobs)
            if done.report is not None:
                row[recipe.id] = done.report.content["pooled"]["macro_f1"]
        rows.append(row)
    title = f"What a diagnosis owes to its prior, {len(next(iter(measured))['prior_coarse'])} cases"
    return Table.of(rows, title=title, notes=NOTES, synthetic=True)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", help="name or folder of a SYNTHETIC cohort, processed")
    parser.add_argument("--out", type=Path, required=True, help="copies of the cohort, and runs")
    parser.add_argument("--recipes", nargs="+", default=["controls/radiomics"])
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--jobs", type=int, help="processes [default: all cores]")
    given = parser.parse_args()
    cohort = find_cohort(given.cohort)
    if "truth" not in cohort.manifest.configs:
        problem = "no truth: only a SYNTHETIC cohort has it"
        raise InputError(given.cohort, [problem], "ictmri build phantom")
    recipes = [load_recipe(name) for name in given.recipes]
    if named := [f"names its own detector, {r.detector}: {r.id}" for r in recipes if r.detector]:
        raise InputError("--recipes", named, "give the recipe that it extends")
    given.out.mkdir(parents=True, exist_ok=True)
    copies = prepared(cohort, given.out, Workers(given.jobs))
    found = table(copies, recipes, given.out, profile=given.profile, jobs=given.jobs)
    print(found.render("markdown"))


if __name__ == "__main__":
    main()
