"""What ``ictmri reproduce`` left of a run: the model of each fold and seed, and what it predicted."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.states import needed
from ictmri_baselines.diagnoser.checkpoint import MODEL
from ictmri_baselines.reproduction.reproduce import data_digest
from ictmri_baselines.workspace import RUN, read_run

_FOLDER: Final = re.compile(r"seed(\d+)-fold(\d+)")


@dataclass(frozen=True, slots=True)
class FoldModel:
    """The model of one fold and seed; of several members, the first.

    Attributes:
        path: ``model.safetensors``.
        fold: its test cases have never been seen by it.
        seed: of the run.
        predictions: by test case (4,) probabilities, those of the entry.
    """

    path: Path
    fold: int
    seed: int
    predictions: dict[str, NDArray[np.float64]]


def identity_of_run(run: Path, cohort: Cohort) -> dict[str, Any]:
    """Return what the run says about itself.

    Raises:
        InputError: it is no run, or one of another cohort, other folds or other data.
    """
    path = run / RUN
    if not path.is_file():
        raise InputError(
            str(run), ["no run: there is no run.json"], "give the --out of ictmri reproduce"
        )
    identity = needed(path, read_run, "make the run again: ictmri reproduce")
    here = {
        "cohort": cohort.name,
        "folds_sha256": cohort.manifest.folds_sha256,
        "data_sha256": _data_digest(cohort),
    }
    problems = [
        f"made with another cohort: {key} is {identity.get(key)}, not {value}"
        for key, value in here.items()
        if identity.get(key) != value
    ]
    if problems:
        raise InputError(str(run), problems, "give the cohort that it was made with: --cohort")
    return identity


def models_of(run: Path, fold: int | None = None) -> list[FoldModel]:
    """Return the finished models of a run, by seed and fold.

    Args:
        run: the run's folder.
        fold: only this one's; all where None.

    Raises:
        InputError: there is none.
    """
    found = [
        FoldModel(
            folder / MODEL,
            int(match[2]),
            int(match[1]),
            needed(folder.with_suffix(".csv"), _predictions, "run ictmri reproduce again"),
        )
        for folder in (run / "folds").glob("seed*-fold*")
        if (match := _FOLDER.fullmatch(folder.name)) and (folder / MODEL).is_file()
        if folder.with_suffix(".csv").is_file()
    ]
    chosen = [model for model in found if fold in (None, model.fold)]
    if not chosen:
        which = "no finished model" if fold is None else f"no finished model of fold {fold}"
        step = "run ictmri reproduce with a recipe that trains a network, e.g. table2/5"
        raise InputError(str(run), [which], step)
    return sorted(chosen, key=lambda model: (model.seed, model.fold))


def _predictions(path: Path) -> dict[str, NDArray[np.float64]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return {
            row["case_id"]: np.array([float(row[f"p_{name}"]) for name in CLASSES])
            for row in csv.DictReader(stream)
        }


def _data_digest(cohort: Cohort) -> str:
    if "processed" not in cohort.manifest.configs:
        step = f"ictmri localize {cohort.root}"
        raise InputError(str(cohort.root), ["not processed and localized yet"], step)
    return data_digest(cohort, processed=True)
