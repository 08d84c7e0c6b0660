"""One voxel-wise MLP for a whole cohort, learnt from what every case's boxes enclose [equation 5].

Boxes are all that it learns from: no class, no truth. It sees voxels of all cases, of test folds too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.files import replacing
from ictmri.io.volumes import unpack
from ictmri_baselines.brain import Brain
from ictmri_baselines.localizer import voxels_of
from ictmri_baselines.localizer.classical.refine import Samples, VoxelModel, fit
from ictmri_baselines.localizer.detectors import DetectorSettings, make_detector
from ictmri_baselines.pipeline.resumable import Workers, each_case, finish_case

MAX_VOXELS: Final = 200_000
"""Learnt from at most, each case giving as many: with more, training takes longer and learns no more."""


def cohort_model(
    cohort: Cohort,
    case_ids: Sequence[str],
    detector: DetectorSettings,
    *,
    work: Path,
    workers: Workers,
) -> VoxelModel:
    """Draw voxels of every case and train on all of them; finished cases are kept in ``work``.

    Raises:
        InputError: no case's boxes hold enough voxels.
    """
    folder = work / "voxels"
    folder.mkdir(exist_ok=True)
    each_case(
        partial(_drawn, folder, work / "answers.journal", detector),
        cohort.rows("processed", ["case_id", "image", "brain_mask"]),
        total=len(case_ids),
        work=folder,
        title="voxels",
        workers=workers,
    )
    found = [part for case_id in case_ids if (part := _kept(folder / f"{case_id}.npz"))]
    if not found:
        problem = "no case's boxes hold enough voxels to learn from"
        raise InputError(str(cohort.root), [problem], "look at the page of --voxel-model case")
    each = MAX_VOXELS // len(found)
    return fit([_some(part, each, place) for place, part in enumerate(found)])


def _drawn(folder: Path, journal: Path, detector: DetectorSettings, row: dict[str, Any]) -> None:
    case_id = row["case_id"]
    brain = Brain(unpack(row["image"]), unpack(row["brain_mask"]))
    found = voxels_of(brain, make_detector(detector, case_id=case_id, journal=journal))
    if found is not None:
        with replacing(folder / f"{case_id}.npz") as part, part.open("wb") as file:
            np.savez(file, features=found.features, tumour=found.tumour)
    finish_case(folder, case_id, {"voxels": 0 if found is None else len(found.tumour)})


def _kept(path: Path) -> Samples | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return Samples(stored["features"], stored["tumour"])


def _some(part: Samples, most: int, place: int) -> Samples:
    if len(part.tumour) <= most:
        return part
    chosen = np.sort(np.random.default_rng(place).permutation(len(part.tumour))[:most])
    return Samples(part.features[chosen], part.tumour[chosen])
