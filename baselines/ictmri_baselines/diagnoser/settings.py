"""Everything that can be chosen about the recipes' method, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ictmri_baselines.diagnoser.augmentation import Augmentation
from ictmri_baselines.diagnoser.inputs import InputView
from ictmri_baselines.diagnoser.network import DiagnoserConfig
from ictmri_baselines.diagnoser.prediction import Variants
from ictmri_baselines.diagnoser.training import Compute, Optimisation
from ictmri_baselines.settings import CheckedSettings


class Selection(CheckedSettings):
    """Which epoch's weights are kept. The paper is silent; the test fold is never asked.

    Attributes:
        by: ``fixed-epoch``, the weights after the last one: nothing is chosen, and all training cases are
            learned from. ``inner-validation``: a part of the training cases is held back, and the weights
            with the lowest loss on it are kept.
        inner_share: of each class, the part that is held back.
        temperature: calibrate by a temperature fitted on what was held back.
    """

    by: Literal["fixed-epoch", "inner-validation"] = "fixed-epoch"
    inner_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    temperature: bool = False

    @model_validator(mode="after")
    def _has_cases(self) -> Self:
        if self.temperature and self.by != "inner-validation":
            raise ValueError("a temperature needs cases that were held back; take inner-validation")
        return self


class Prediction(CheckedSettings):
    """How cases are predicted; the paper's way is one network and the case as it is.

    Attributes:
        tta: variants of a case whose probabilities are averaged, see
            :func:`~ictmri_baselines.diagnoser.prediction.variants`.
        members: networks whose probabilities are averaged, each with a seed of its own.
    """

    tta: Variants = "none"
    members: Annotated[int, Field(ge=1, le=1000)] = 1


class DiagnoserSettings(CheckedSettings):
    """Everything that a recipe can say about the method; the defaults are the paper's row 5.

    Attributes:
        network: backbone, attention, which prior.
        view: what the network is shown.
        augmentation: what is changed about training cases at random.
        optimisation: epochs, optimiser, loss.
        selection: which weights are kept.
        prediction: how they are used.
        compute: where it runs.
    """

    network: DiagnoserConfig = DiagnoserConfig()
    view: InputView = InputView()
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = Optimisation()
    selection: Selection = Selection()
    prediction: Prediction = Prediction()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.view.of == "region" and self.network.localisation == "none":
            raise ValueError("a region is cut around a prior; take localisation coarse or refined")
        return self


def read_settings(given: Mapping[str, Any]) -> DiagnoserSettings:
    """Check the settings of a recipe.

    Raises:
        InputError: with everything that is wrong.
    """
    return DiagnoserSettings.read(given, "settings of the diagnoser")


def device_of(given: Mapping[str, Any]) -> str:
    """Return where settings let the method run: ``cpu``, or the GPU's name.

    Raises:
        InputError: with everything that is wrong.
    """
    return read_settings(given).compute.device_name
