"""What a model of a run is shown of the cases that it never saw, and where it looks in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ictmri.cohort import Cohort
from ictmri_baselines.cases import load_cases
from ictmri_baselines.diagnoser.checkpoint import load_model
from ictmri_baselines.diagnoser.inputs import open_inputs
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.explanation.gradcam import attention_map
from ictmri_baselines.explanation.run import FoldModel
from ictmri_baselines.explanation.truth import masks_of, on_input

Volume = NDArray[np.float32]
Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Looking:
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


def looked_at(
    cohort: Cohort,
    model: FoldModel,
    wanted: frozenset[str] | None = None,
    *,
    own: str | None = None,
) -> Iterator[Looking]:
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
        if masks.case_id not in places:
            continue
        place = places[masks.case_id]
        image, prior = (torch.zeros((inputs.edge,) * 3) for _ in range(2))
        inputs.write(place, inputs.central, image, prior)
        label = int(model.predictions[masks.case_id].argmax())
        yield Looking(
            case_id=masks.case_id,
            image=image.numpy(),
            prior=prior.numpy() if network.config.needs_prior else None,
            brain=on_input(masks.brain, cases, place, view, localisation),
            lesion=None
            if masks.lesion is None
            else on_input(masks.lesion, cases, place, view, localisation),
            found=attention_map(network, image[None, None], prior[None, None], label),
            grid=grid,
            extent=network.backbone.extent(image.shape),
        )


def _grid(network: AdaptiveDiagnoser, edge: int) -> Size:
    """Return F's grid as it is: of one's own network, the backbone can only estimate it."""
    with torch.no_grad():
        first, second, third = network.backbone(torch.zeros(1, 1, edge, edge, edge)).shape[2:]
    return first, second, third
