"""What the models of a run say of one brain: probabilities, where they look, how unusual it is to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.atlas.template import SHAPE, SPACING_MM, grid_affine
from ictmri_baselines.cases import LEVELS, Brain, Cases, Volumes, at_2mm
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.inputs import NetworkInputs, open_inputs, view_start
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    OutOfDistribution,
    describe,
    load_reference,
    out_of_distribution,
)
from ictmri_baselines.diagnoser.prediction import apply_temperature, predict
from ictmri_baselines.explanation import attention_map
from ictmri_baselines.localizer import Localization
from ictmri_baselines.predict.run import Model, Models

_NAME: Final = "scan"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the models say.

    Attributes:
        each: (m, 4) probabilities of each model, calibrated by its own temperature.
        attention: (X, Y, Z) float32 in [0, 1] on the MNI152 grid of 2 mm: the mean over the models of what
            speaks for ``label``.
        out_of_distribution: what each model that knows its training cases says of the brain; empty where
            none does.
    """

    each: NDArray[np.float64]
    attention: NDArray[np.float32]
    out_of_distribution: tuple[OutOfDistribution, ...]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the models' probabilities, (4,)."""
        average: NDArray[np.float64] = self.each.mean(axis=0)
        return average

    @property
    def label(self) -> int:
        """The class with the highest mean."""
        return int(self.mean.argmax())

    @property
    def agreeing(self) -> int:
        """How many models put that class first."""
        return int((self.each.argmax(axis=1) == self.label).sum())

    @property
    def middle(self) -> OutOfDistribution | None:
        """What the middle one of the models says about how unusual the brain is."""
        ordered = sorted(self.out_of_distribution, key=lambda found: found.share_of_training_beyond)
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def diagnose(
    brain: Brain, found: Localization, models: Models, done: Callable[[], Any] = lambda: None
) -> Diagnosis:
    """Ask every model.

    Args:
        brain: on the MNI152 grid of 1 or 2 mm.
        found: its priors.
        models: of the run; each is loaded when its turn comes.
        done: called after each model and each map, twice for each model.
    """
    case = case_of(brain, found)
    each, strange = [], []
    for model in models.each:
        network, inputs = _opened(model, case)
        each.append(_probabilities(network, inputs, model))
        if (model.path.parent / REFERENCE).is_file():
            strange.append(_compared(network, inputs, model))
        done()
    label = int(np.mean(each, axis=0).argmax())
    attention = np.zeros(SHAPE, dtype=np.float32)
    for model in models.each:
        attention += _attention(case, model, label) / np.float32(len(models.each))
        done()
    return Diagnosis(np.array(each), attention, tuple(strange))


def case_of(brain: Brain, found: Localization) -> Cases:
    """Return a brain as the models know cases: on the grid of 2 mm, as a cohort's cache holds it."""
    levels = np.round(np.asarray(found.coarse.dataobj) * LEVELS)
    inside = LEVELS * np.asarray(found.refined.dataobj, dtype=np.float32)
    volumes = Volumes(
        image=at_2mm(brain.image.get_fdata(dtype=np.float32))[None].astype(np.float16),
        prior=np.round(at_2mm(levels.astype(np.float32)))[None].astype(np.uint8),
        refined=np.round(at_2mm(inside))[None].astype(np.uint8),
        affine=grid_affine(SPACING_MM),
    )
    unknown = np.array([np.nan])
    return Cases([_NAME], unknown, unknown, np.zeros(1, dtype=np.int64), volumes)


def _opened(model: Model, case: Cases) -> tuple[AdaptiveDiagnoser, NetworkInputs]:
    network, _ = load_model(model.path, own=model.own)
    chosen = model.settings
    return network, open_inputs(case, chosen.view, chosen.network.localisation)


def _probabilities(
    network: AdaptiveDiagnoser, inputs: NetworkInputs, model: Model
) -> NDArray[np.float64]:
    found = predict(network, inputs, batch=1, tta=model.settings.prediction.tta)
    calibrated: NDArray[np.float64] = apply_temperature(found, model.description.temperature)[0]
    return calibrated


def _compared(network: AdaptiveDiagnoser, inputs: NetworkInputs, model: Model) -> OutOfDistribution:
    described = describe(network, *_tensors(inputs, network))
    return out_of_distribution(load_reference(model.path.parent, described.shape[1]), described)


def _tensors(
    inputs: NetworkInputs, network: AdaptiveDiagnoser
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the case as the network is shown it: volume and prior, (1, 1, s, s, s) each."""
    image, prior = inputs.as_it_is(0)
    return image[None, None], prior[None, None] if network.config.needs_prior else None


def _attention(case: Cases, model: Model, label: int) -> NDArray[np.float32]:
    """Return where one model looks, on the grid of 2 mm, 0 outside its view."""
    network, inputs = _opened(model, case)
    found = attention_map(network, *_tensors(inputs, network), label)
    view, localisation = model.settings.view, model.settings.network.localisation
    return on_2mm(found, view_start(case, 0, view, localisation), view.factor)


def on_2mm(
    cube: NDArray[np.float32], start: tuple[int, int, int], factor: int
) -> NDArray[np.float32]:
    """Put a cube of a view back where it was cut, linear between its voxels.

    Args:
        cube: (s, s, s).
        start: voxel of the 2 mm grid where the cube begins; it may lie outside.
        factor: voxels of 2 mm along the edge of one of its voxels.
    """
    fine = ndimage.zoom(cube, factor, order=1, grid_mode=True, mode="nearest")
    volume = np.zeros(SHAPE, dtype=np.float32)
    source, target = [], []
    for low, length in zip(start, SHAPE, strict=True):
        first, last = max(0, low), min(length, low + len(fine))
        target.append(slice(first, last))
        source.append(slice(first - low, last - low))
    volume[tuple(target)] = fine[tuple(source)]
    return volume
