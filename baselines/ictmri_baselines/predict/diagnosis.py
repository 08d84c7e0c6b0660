"""What the models of a run say of one brain: probabilities, where they look, how unusual it is to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ictmri.atlas.template import SHAPE, SPACING_MM, coarser, grid_affine
from ictmri_baselines.cases import Cases, Volumes
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.inputs import Inputs, open_inputs
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.out_of_distribution import (
    REFERENCE,
    Unusual,
    describe,
    load_reference,
    unusual,
)
from ictmri_baselines.diagnoser.prediction import predict
from ictmri_baselines.diagnoser.settings import Settings
from ictmri_baselines.diagnoser.temperature import tempered
from ictmri_baselines.explanation import attention_map

if TYPE_CHECKING:
    from ictmri_baselines.brain import Brain
    from ictmri_baselines.localizer import Localization
    from ictmri_baselines.predict.run import Model, Models

LEVELS: Final = 255
_NAME: Final = "scan"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the models say.

    Attributes:
        each: (m, 4) probabilities of each model, calibrated by its own temperature.
        attention: (X, Y, Z) float32 in [0, 1] on the MNI152 grid of 2 mm: the mean over the models of what
            speaks for ``label``.
        unusual: what each model that knows its training cases says of the brain; empty where none does.
    """

    each: NDArray[np.float64]
    attention: NDArray[np.float32]
    unusual: tuple[Unusual, ...]

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
    def middle(self) -> Unusual | None:
        """What the middle one of the models says about how unusual the brain is."""
        ordered = sorted(self.unusual, key=lambda found: found.share_of_training_beyond)
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
            strange.append(_unusual(network, inputs, model))
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
        image=_at_2mm(brain.image.get_fdata(dtype=np.float32))[None].astype(np.float16),
        prior=np.round(_at_2mm(levels.astype(np.float32)))[None].astype(np.uint8),
        refined=np.round(_at_2mm(inside))[None].astype(np.uint8),
        affine=grid_affine(SPACING_MM),
    )
    return _case(volumes)


def _case(volumes: Volumes) -> Cases:
    unknown = np.array([np.nan])
    return Cases([_NAME], unknown, unknown, np.zeros(1, dtype=np.int64), volumes)


def _at_2mm(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    return volume if volume.shape == SHAPE else coarser(volume, 2)


def _opened(model: Model, case: Cases) -> tuple[AdaptiveDiagnoser, Inputs]:
    network, _ = load_model(model.path, own=model.own)
    chosen = model.settings
    return network, open_inputs(case, chosen.view, chosen.network.localisation)


def _probabilities(network: AdaptiveDiagnoser, inputs: Inputs, model: Model) -> NDArray[np.float64]:
    found = predict(network, inputs, batch=1, tta=model.settings.prediction.tta)
    calibrated: NDArray[np.float64] = tempered(found, model.description.temperature)[0]
    return calibrated


def _unusual(network: AdaptiveDiagnoser, inputs: Inputs, model: Model) -> Unusual:
    described = describe(network, *_tensors(inputs, network))
    return unusual(load_reference(model.path.parent, described.shape[1]), described)


def _tensors(
    inputs: Inputs, network: AdaptiveDiagnoser
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the case as the network is shown it: volume and prior, (1, 1, s, s, s) each."""
    image, prior = (torch.zeros((inputs.edge,) * 3) for _ in range(2))
    inputs.write(0, inputs.central, image, prior)
    return image[None, None], prior[None, None] if network.config.needs_prior else None


def _attention(case: Cases, model: Model, label: int) -> NDArray[np.float32]:
    """Return where one model looks, on the grid of 2 mm, 0 outside its view."""
    network, inputs = _opened(model, case)
    found = attention_map(network, *_tensors(inputs, network), label)
    return on_2mm(found, view_start(case, model.settings), model.settings.view.factor)


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


def view_start(case: Cases, settings: Settings) -> tuple[int, int, int]:
    """Return the voxel of the 2 mm grid where a model's view of a case begins.

    It is read off what the view makes of the voxels' own indices, so that it cannot differ from where
    views are cut.
    """
    if case.volumes is None:
        raise ValueError("a case with a volume is needed")
    given, view = case.volumes, settings.view
    middle = view.edge // 2
    start = []
    for axis in range(3):
        numbers = np.broadcast_to(np.indices(SHAPE, sparse=True)[axis], SHAPE)
        counted = Volumes(
            numbers[None].astype(np.float16), given.prior, given.refined, given.affine
        )
        inputs = open_inputs(_case(counted), view, settings.network.localisation)
        image, prior = (torch.zeros((view.edge,) * 3) for _ in range(2))
        inputs.write(0, inputs.central, image, prior)
        at_middle = float(image[middle, middle, middle])
        start.append(round(at_middle - (view.factor - 1) / 2) - view.factor * middle)
    first, second, third = start
    return first, second, third
