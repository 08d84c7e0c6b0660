r"""How much a diagnosis depends on the boxes: detected, mirrored, at random, and around the true core.

    python perf/box_sensitivity.py out/ictmri-phantom --out out/boxes
    python perf/box_sensitivity.py out/ictmri-phantom --out out/boxes \
        --recipes controls/radiomics light/virtual-biopsy

Each set of boxes is replayed into priors (``--detector boxes``) in a copy of the SYNTHETIC cohort, which
must be processed and localized by a detector; then the recipes are run on it. What is finished is kept.
Detected boxes are replayed, too, so that nothing but the boxes differs.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ictmri.cohort import Cohort, open_cohort
from ictmri.errors import InputError
from ictmri.io.tables import Table
from ictmri.io.volumes import unpack
from ictmri_baselines.localizer.box_controls import mirrored_boxes, moved_boxes
from ictmri_baselines.localizer.boxes import SliceBoxes, read_boxes, write_boxes
from ictmri_baselines.localizer.region import Region
from ictmri_baselines.localizer.replay import Replay
from ictmri_baselines.pipeline import localize_cohort
from ictmri_baselines.pipeline.compare_boxes import true_core
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_baselines.reproduction.reproduce import reproduce

KINDS = ("detected", "mirrored", "random", "true")


def boxes_of_all(cohort: Cohort) -> dict[str, dict[str, list[SliceBoxes]]]:
    """Return the boxes of each kind and case."""
    detector = cohort.manifest.steps["localize"]["settings"]["detector"]
    detected = read_boxes(cohort.root / "boxes" / f"{detector}.jsonl")
    truths = {row["case_id"]: row["lesion_mask"] for row in cohort.rows("truth")}
    random = np.random.default_rng(0)
    found: dict[str, dict[str, list[SliceBoxes]]] = {kind: {} for kind in KINDS}
    for row in cohort.rows("processed", ["case_id", "brain_mask", "scan_from_mni", "warp"]):
        case_id = row["case_id"]
        brain = np.asarray(unpack(row["brain_mask"]).dataobj) > 0
        rows = detected.get(case_id, [])
        core = true_core(row, truths[case_id])
        found["detected"][case_id] = rows
        found["mirrored"][case_id] = mirrored_boxes(rows, brain.shape[0])
        found["random"][case_id] = moved_boxes(rows, brain, random)
        found["true"][case_id] = Region(core.astype(np.float32), "boxes").boxes()
    return found


def prepared(root: Path, out: Path) -> dict[str, Cohort]:
    """Return a localized copy of the cohort for each kind of boxes."""
    cohort, boxes = open_cohort(root), None
    copies = {}
    for kind in KINDS:
        copy, file = out / kind, out / f"{kind}.jsonl"
        if not copy.exists():
            shutil.copytree(root, out / f"{kind}.part", dirs_exist_ok=True)
            (out / f"{kind}.part").rename(copy)
        if not file.exists():
            boxes = boxes or boxes_of_all(cohort)
            _write(file, boxes[kind], cohort)
        copies[kind] = localize_cohort(open_cohort(copy), Replay(boxes=file))
    return copies


def _write(path: Path, cases: dict[str, list[SliceBoxes]], cohort: Cohort) -> None:
    first = next(cohort.rows("processed", ["brain_mask"]))
    spacing = float(unpack(first["brain_mask"]).header.get_zooms()[0])
    part = path.with_suffix(".part")
    lines = []
    for case_id, rows in cases.items():
        write_boxes(part, case_id, rows, spacing_mm=spacing, detector="boxes")
        lines.append(part.read_bytes())
    part.write_bytes(b"".join(lines))
    part.rename(path)


def table(copies: dict[str, Cohort], recipes: Sequence[str], out: Path) -> Table:
    """Run the recipes on each copy; a row for each kind of boxes."""
    rows: list[dict[str, Any]] = []
    for kind, cohort in copies.items():
        row: dict[str, Any] = {"boxes": kind}
        for name in recipes:
            recipe = load_recipe(name)
            done = reproduce(recipe, cohort, out / "runs" / kind / recipe.slug, profile="cpu")
            if done.report is not None:
                row[name] = done.report.content["pooled"]["macro_f1"]
        rows.append(row)
    return Table.of(
        rows, title="Macro-F1 by the boxes that the priors are made from", synthetic=True
    )


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path, help="a SYNTHETIC cohort, localized")
    parser.add_argument("--out", type=Path, required=True, help="copies of the cohort, and runs")
    parser.add_argument("--recipes", nargs="+", default=["controls/radiomics"])
    given = parser.parse_args()
    if "truth" not in open_cohort(given.cohort).manifest.configs:
        problem = "no truth: only a SYNTHETIC cohort has it"
        raise InputError(str(given.cohort), [problem], "ictmri build phantom")
    given.out.mkdir(parents=True, exist_ok=True)
    print(table(prepared(given.cohort, given.out), given.recipes, given.out).render("markdown"))


if __name__ == "__main__":
    main()
