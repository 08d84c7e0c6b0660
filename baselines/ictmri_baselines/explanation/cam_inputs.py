"""What the models of a run are shown of cases that they never saw, and where they look in them.

The true lesion is for tables, never on the way to a label; only phantoms have one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from ictmri.atlas.template import SHAPE, SPACING_MM
from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri.io.states import json_mapping, needed
from ictmri.io.volumes import unpack
from ictmri.lookup import cohorts_nearby, local_cohort
from ictmri_baselines.cases import Cases, load_cases
from ictmri_baselines.diagnoser.checkpoint import MODEL, load_model, read_description
from ictmri_baselines.diagnoser.inputs import InputView, open_inputs
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, Localisation
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.explanation.gradcam import attention_map
from ictmri_baselines.localizer.detectors import detector_settings
from ictmri_baselines.methods import RUN, read_run
from ictmri_baselines.pipeline import Workers, localized_copy
from ictmri_baselines.processor.mapping import Mapping
from ictmri_baselines.registry import OFFLINE
from ictmri_baselines.reproduction.reproduce import data_digest

_AGAIN: Final = "run ictmri reproduce again"
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


def cohort_of_run(run: Path) -> Cohort:
    """Return the cohort that a run was made with, where it lies on this machine.

    Raises:
        InputError: ``run`` is no run, or its cohort is not here.
    """
    identity = _identity(run)
    name = identity["cohort"]
    found = [
        cohort
        for cohort in (local_cohort(name), *cohorts_nearby())
        if cohort is not None and cohort.name == name
    ]
    found.sort(key=lambda cohort: "localize" not in cohort.manifest.steps)
    if not found:
        problem = f"was made with the cohort {name!r}, which is not here"
        raise InputError(str(run), [problem], "give the cohort's folder: --cohort DIR")
    same = (each for each in found if each.manifest.folds_sha256 == identity["folds_sha256"])
    return next(same, found[0])


def with_priors_of_run(
    run: Path, cohort: Cohort, workers: Workers, fold: int | None = None
) -> Cohort:
    """Return the cohort, or where the run's recipe named a detector the copy with that one's priors.

    Raises:
        InputError: ``run`` is no run, one of another cohort or without a model of the fold, or the cohort
            is not processed.
    """
    identity = _identity(run)
    named = identity.get("detector")
    if named not in OFFLINE:
        return cohort
    # Before a cohort is localized for nothing.
    _check_same(run, identity, _of(cohort))
    models_of(run, fold)
    return localized_copy(cohort, detector_settings(named), workers=workers)


def identity_of_run(run: Path, cohort: Cohort) -> dict[str, Any]:
    """Return what the run says about itself.

    Raises:
        InputError: it is no run, or one of another cohort, other folds or other data.
    """
    identity = _identity(run)
    _check_same(run, identity, _of(cohort) | {"data_sha256": _data_digest(cohort)})
    return identity


def _of(cohort: Cohort) -> dict[str, str]:
    return {"cohort": cohort.name, "folds_sha256": cohort.manifest.folds_sha256}


def _check_same(run: Path, identity: dict[str, Any], here: dict[str, str]) -> None:
    problems = [
        f"made with another cohort: {key} is {identity.get(key)}, not {value}"
        for key, value in here.items()
        if identity.get(key) != value
    ]
    if problems:
        raise InputError(str(run), problems, "give the cohort that it was made with: --cohort")


def _identity(run: Path) -> dict[str, Any]:
    path = run / RUN
    if not path.is_file():
        raise InputError(
            str(run), ["no run: there is no run.json"], "give the --out of ictmri reproduce"
        )
    return needed(path, read_run, "make the run again: ictmri reproduce")


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
            needed(folder.with_suffix(".csv"), _predictions, _AGAIN),
        )
        for folder in (run / "folds").glob("seed*-fold*")
        if (match := _FOLDER.fullmatch(folder.name)) and (folder / MODEL).is_file()
        # The record is written last, and vouches for the others.
        if all(folder.with_suffix(ending).is_file() for ending in (".csv", ".json"))
    ]
    chosen = [model for model in found if fold in (None, model.fold)]
    problems = [f"{model.path}: {what}" for model in chosen for what in _strange(model)]
    if problems:
        raise InputError(str(run), problems, _AGAIN)
    if not chosen:
        which = "no finished model" if fold is None else f"no finished model of fold {fold}"
        gone = any(
            MODEL in path.read_text(encoding="utf-8") for path in run.glob("folds/seed*.json")
        )
        which += " (the run wrote one: it is gone)" if gone and not found else ""
        step = "run ictmri reproduce with a recipe that trains a network, e.g. table2/5"
        if found:
            others = sorted({model.fold for model in found})
            step = f"finished are the folds {', '.join(map(str, others))}"
        raise InputError(str(run), [which], _AGAIN if gone and not found else step)
    return sorted(chosen, key=lambda model: (model.seed, model.fold))


def _strange(model: FoldModel) -> Iterator[str]:
    """Say where a fold's model or its predictions are not those that the run wrote."""
    origin = read_description(model.path).origin
    for name, here in (("fold", model.fold), ("seed", model.seed)):
        if (there := origin.get(name, here)) != here:
            yield f"this model is of {name} {there}: it may have learned from these test cases"
    record = model.path.parent.with_suffix(".json")
    files = needed(record, json_mapping, _AGAIN).get("files", {})
    for name, digest in files.items():
        file = record.with_name(name)
        if not file.is_file() or sha256_file(file) != digest:
            yield f"{name} is not as the run wrote it"


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


Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Masks:
    """What is known of a case on the MNI152 grid of 2 mm.

    Attributes:
        case_id: the case.
        brain: (X, Y, Z) float32, 1 in the brain.
        lesion: (X, Y, Z) float32, 1 in the lesion: core, necrosis and oedema. None where nobody knows it.
    """

    case_id: str
    brain: Volume
    lesion: Volume | None


def has_truth(cohort: Cohort) -> bool:
    """Whether the cohort's true lesions are known."""
    return "truth" in cohort.manifest.configs


def masks_of(cohort: Cohort, fold: int) -> Iterator[Masks]:
    """Yield the masks of the processed cases of a fold, in the order in which they are stored."""
    truth: dict[str, Any] = {}
    if has_truth(cohort):
        rows = cohort.rows("truth", ["case_id", "fold", "lesion_mask"])
        truth = {row["case_id"]: row["lesion_mask"] for row in rows if row["fold"] == fold}
    columns = ["case_id", "fold", "brain_mask", "scan_from_mni", "warp"]
    for row in cohort.rows("processed", columns):
        if row["fold"] == fold:
            stored = truth.get(row["case_id"])
            lesion = None if stored is None else _in_mni(unpack(stored), row)
            yield Masks(row["case_id"], _brain(unpack(row["brain_mask"])), lesion)


def on_input(
    volume: Volume, cases: Cases, index: int, view: InputView, localisation: Localisation
) -> Volume:
    """Return a volume on the grid of a case's input: the cube that the network is shown of the case.

    Args:
        volume: (X, Y, Z) on the MNI152 grid of 2 mm.
        cases: processed cases.
        index: the case among them.
        view: what is shown.
        localisation: the prior that a region is cut around.

    Returns:
        (s, s, s) float32; where the input's voxels are larger, averages.
    """
    if cases.volumes is None:
        raise ValueError("cases without volumes")
    row = cases.rows[index]
    volumes = replace(
        cases.volumes,
        image=volume[None].astype(np.float16),
        prior=cases.volumes.prior[row][None],
        refined=cases.volumes.refined[row][None],
    )
    unknown = np.full(1, np.nan)
    one = Cases([cases.case_ids[index]], unknown, unknown, np.zeros(1, dtype=np.int64), volumes)
    return open_inputs(one, view, localisation).as_it_is(0)[0].numpy()


def _in_mni(mask: nib.Nifti1Image, row: dict[str, Any]) -> Volume:
    warp = None if row["warp"] is None else unpack(row["warp"])
    mapping = Mapping(np.reshape(row["scan_from_mni"], (4, 4)), warp)
    whole = nib.Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.float32), mask.affine)
    return (mapping.to_mni(whole, int(SPACING_MM)) > 0.5).astype(np.float32)


def _brain(mask: nib.Nifti1Image) -> Volume:
    voxels = np.asarray(mask.dataobj) > 0
    step = 1 if voxels.shape == SHAPE else 2
    return voxels[::step, ::step, ::step].astype(np.float32)


Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CamInputs:
    """What a network was shown of a case, and where it looked, all on the grid of its input.

    Attributes:
        case_id: the case.
        image: (s, s, s) the volume.
        prior: (s, s, s) in [0, 1]; None where the network takes none.
        brain: (s, s, s) share of each voxel that is brain.
        lesion: (s, s, s) share of each voxel that is lesion; None where nobody knows it.
        found: (s, s, s) the map of the predicted class, see
            :func:`~ictmri_baselines.explanation.gradcam.attention_map`.
        grid: (D, H, W) of F, which spans ``extent`` voxels of the input.
        extent: see :meth:`~ictmri_baselines.backbones.base.Backbone.extent`.
    """

    case_id: str
    image: Volume
    prior: Volume | None
    brain: Volume
    lesion: Volume | None
    found: Volume
    grid: Size
    extent: Size


def cam_inputs(
    cohort: Cohort,
    model: FoldModel,
    wanted: frozenset[str] | None = None,
    *,
    own: str | None = None,
) -> Iterator[CamInputs]:
    """Yield where a model looks in its test cases, one in memory at a time.

    Args:
        cohort: processed and localized.
        model: of one fold.
        wanted: only these cases; all that were processed where None.
        own: see :func:`~ictmri_baselines.diagnoser.checkpoint.load_model`.
    """
    network, description = load_model(model.path, own=own)
    view, localisation = read_settings(description.settings).view, network.config.localisation
    cases = load_cases(cohort, with_volumes=True)
    tested = np.array(cohort.folds().folds) == model.fold
    chosen = np.array([wanted is None or case_id in wanted for case_id in cases.case_ids])
    cases = cases.subset(tested & chosen & cases.processed)
    inputs = open_inputs(cases, view, localisation)
    grid = _grid(network, inputs.edge)
    places = {case_id: place for place, case_id in enumerate(cases.case_ids)}
    for masks in masks_of(cohort, model.fold):
        place = places.get(masks.case_id)
        if place is None:
            continue
        image, prior = inputs.as_it_is(place)
        label = int(model.predictions[masks.case_id].argmax())
        cut = partial(on_input, cases=cases, index=place, view=view, localisation=localisation)
        yield CamInputs(
            case_id=masks.case_id,
            image=image.numpy(),
            prior=prior.numpy() if network.config.needs_prior else None,
            brain=cut(masks.brain),
            lesion=None if masks.lesion is None else cut(masks.lesion),
            found=attention_map(network, image[None, None], prior[None, None], label),
            grid=grid,
            extent=network.backbone.extent(image.shape),
        )


def _grid(network: AdaptiveDiagnoser, edge: int) -> Size:
    """Return F's grid as it is: of one's own network, the backbone can only estimate it."""
    with torch.no_grad():
        first, second, third = network.backbone(torch.zeros(1, 1, edge, edge, edge)).shape[2:]
    return first, second, third
