"""Everything that can be chosen about the recipes' method, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator

from ictmri_baselines.diagnoser.augmentation import Augmentation
from ictmri_baselines.diagnoser.inputs import InputView
from ictmri_baselines.diagnoser.network import DiagnoserConfig
from ictmri_baselines.diagnoser.prediction import Variants
from ictmri_baselines.settings import CheckedSettings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Optimisation(CheckedSettings):
    """How the network is trained: the paper's recipe (section 5), and what it leaves open.

    Attributes:
        epochs: passes over the training cases. "Up to 250" in the paper; here all of them, see
            :class:`Selection`.
        batch: cases in one pass through the network.
        accumulate: batches in one step of the optimiser, over all devices: the effective batch stays
            what it is however many there are.
        learning_rate: of AdamW, at the start of each period.
        weight_decay: of AdamW, on every parameter, as PyTorch applies it.
        period: epochs from one warm restart of the cosine schedule to the next, T0; the rate changes
            once an epoch. The factor by which periods grow is not printed; 1, PyTorch's default,
            makes 250 epochs 25 whole periods, so that training ends with the rate at its lowest.
        clip: largest norm of the gradient.
        label_smoothing: epsilon of the cross-entropy.
        class_weights: weight of a case in the loss by the frequency f of its class among the training
            cases: ``none``, the plain cross-entropy that the paper prints; ``sqrt``, f^(-1/2); or
            ``inverse``, 1/f. The weights are 1 on average.
        average: decay a step of the exponential average of weights that is kept instead of the last ones;
            0 keeps the last ones.
    """

    epochs: Count = 250
    batch: Count = 2
    accumulate: Count = 2
    learning_rate: Positive = 5e-5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    period: Count = 10
    clip: Positive = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    class_weights: Literal["none", "sqrt", "inverse"] = "none"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0


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


class Compute(CheckedSettings):
    """Where a training runs and how; nothing here is part of the method.

    On a CPU, equal settings give equal bytes, on another one where instruction sets are pinned
    (:mod:`ictmri_baselines.machine`). On a GPU, three-dimensional pooling adds its gradients in no fixed
    order, so the last bits of a run may differ from those of the next. float32 without channels-last and
    compilation is the default: on the CPU that was tried, bfloat16 took densenet3d at 96^3 in 1.7 times
    less time and the small one at 48^3 in no less (``perf/training.py``), and it has ended ConvNeXt3D's
    backward pass in an illegal instruction.

    Attributes:
        device: ``auto`` takes a GPU where there is one.
        devices: GPUs (or processes on a CPU) on each machine.
        num_nodes: machines. Above 1, start the command with ``torchrun`` or ``srun``, a process a device.
        precision: of the passes through the network, in Lightning's words; predictions are always made in
            float32.
        channels_last: memory format of volumes and weights.
        compile: let ``torch.compile`` make the network's kernels.
        threads: of each process on the CPU; their number may change the last bits of a result.
        checkpoint_every: epochs between two states that a killed training can go on from.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Count = 1
    num_nodes: Count = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    threads: Count = 1
    checkpoint_every: Count = 10

    @property
    def processes(self) -> int:
        """Processes that train one network."""
        return self.devices * self.num_nodes

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU is used."""
        return self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())

    @property
    def device_name(self) -> str:
        """``cpu``, or the GPU's name."""
        return str(torch.cuda.get_device_name()) if self.on_gpu else "cpu"


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
