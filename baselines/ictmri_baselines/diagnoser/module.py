"""The training itself as a LightningModule: batches of an epoch, loss, optimiser, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import functional

from ictmri.classes import CLASSES
from ictmri_baselines.diagnoser.augmentation import Augmentation, Variant, draw
from ictmri_baselines.diagnoser.inputs import Batch, Batches, Buffers, Inputs, in_turn, shuffled
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser

INNER_LOSS: Final = "inner_loss"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Optimisation(BaseModel):
    """How the network is trained: the paper's recipe (section 5), and what it leaves open.

    Attributes:
        epochs: passes over the training cases. "Up to 250" in the paper; here all of them, see
            :class:`~ictmri_baselines.diagnoser.fit.Selection`.
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
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: Count = 250
    batch: Count = 2
    accumulate: Count = 2
    learning_rate: Positive = 5e-5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    period: Count = 10
    clip: Positive = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    class_weights: Literal["none", "sqrt", "inverse"] = "none"


class Stream(IntEnum):
    """What randomness is for; each has a stream of its own, a function of seed and place."""

    WEIGHTS = 0
    ORDER = 1
    VARIANT = 2
    NETWORK = 3
    SPLIT = 4


def stream(seed: int, purpose: Stream, *place: int) -> np.random.Generator:
    """Return the generator for a purpose at a place (epoch, case, ...)."""
    return np.random.default_rng([seed, purpose, *place])


def torch_seed(seed: int, purpose: Stream, *place: int) -> int:
    """Return the seed of torch's generators for a purpose at a place."""
    return int(stream(seed, purpose, *place).integers(2**63))


@dataclass(frozen=True, slots=True)
class Labelled:
    """Some cases and their classes.

    Attributes:
        inputs: n cases.
        labels: (n,).
    """

    inputs: Inputs
    labels: NDArray[np.int64]


class Training(LightningModule):  # type: ignore[misc]
    """One network, and the cases that it learns from."""

    weights: Tensor

    def __init__(
        self,
        network: AdaptiveDiagnoser,
        optimisation: Optimisation,
        augmentation: Augmentation,
        train: Labelled,
        *,
        inner: Labelled | None,
        seed: int,
        threads: int = 1,
    ) -> None:
        """Hold them.

        Args:
            network: freshly initialised.
            optimisation: how it is trained.
            augmentation: what is changed about the cases.
            train: cases to learn from.
            inner: training cases that are held back for selection.
            seed: order, variants and dropout follow from it.
            threads: of each process that trains.
        """
        super().__init__()
        self.network = network
        self.optimisation = optimisation
        self.augmentation = augmentation
        self.train_cases = train
        self.inner_cases = inner
        self.seed = seed
        self.threads = threads
        self._memory: Buffers | None = None
        weights = class_weights(train.labels, optimisation.class_weights)
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Set the number of threads, in each process."""
        torch.set_num_threads(self.threads)

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule."""
        chosen = self.optimisation
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, chosen.period)
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def train_dataloader(self) -> Batches:
        """Return this device's batches of the current epoch; the trainer asks for them every epoch."""
        epoch, inputs = self.current_epoch, self.train_cases.inputs
        self._memory = self._memory or Buffers(self.optimisation.batch, inputs.edge)
        rng = stream(self.seed, Stream.ORDER, epoch)
        order = shuffled(len(inputs), self.optimisation.batch, self.optimisation.accumulate, rng)

        def variant(case: int) -> Variant:
            return draw(self.augmentation, stream(self.seed, Stream.VARIANT, epoch, case))

        return Batches(
            inputs,
            self.train_cases.labels,
            order[self.trainer.global_rank :: self.trainer.world_size],
            variant=variant,
            noise_sd=self.augmentation.noise_sd,
            buffers=self._memory,
        )

    def val_dataloader(self) -> Batches | list[Any]:
        """Return the cases that are held back, as they are."""
        if self.inner_cases is None:
            return []
        inputs, labels = self.inner_cases.inputs, self.inner_cases.labels
        return Batches(inputs, labels, in_turn(len(inputs), self.optimisation.batch))

    def on_train_epoch_start(self) -> None:
        """Set torch's generators, from which dropout draws; log the learning rate."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("learning_rate", rate, sync_dist=self._shared)
        place = (self.current_epoch, self.global_rank)
        torch.manual_seed(torch_seed(self.seed, Stream.NETWORK, *place))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._loss(batch)
        self._log("loss", loss.detach(), len(batch[0]))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Log the loss of a batch that is held back."""
        image, prior, labels = batch
        loss = functional.cross_entropy(self.network(image, prior).float(), labels)
        self._log(INNER_LOSS, loss, len(labels))

    @property
    def _shared(self) -> bool:
        return bool(self.trainer.world_size > 1)

    def _log(self, name: str, value: Tensor, count: int) -> None:
        """Log the epoch's mean of a value."""
        self.log(
            name, value, on_step=False, on_epoch=True, batch_size=count, sync_dist=self._shared
        )

    def _loss(self, batch: Batch) -> Tensor:
        image, prior, labels = batch
        details = self.network(image, prior, details=True)
        each = functional.cross_entropy(
            details.logits.float(),
            labels,
            weight=self.weights,
            label_smoothing=self.optimisation.label_smoothing,
            reduction="none",
        )
        # Not the weighted mean: in a batch of two of one class it would cancel the weight.
        loss = each.mean()
        return loss if details.own_loss is None else loss + details.own_loss


def class_weights(labels: NDArray[np.int64], kind: str) -> NDArray[np.float32]:
    """Return the weight of each class (4,), 1 on average over the cases; 0 for a class without cases."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    power = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}[kind]
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    scaled: NDArray[np.float32] = (weights / weights[labels].mean()).astype(np.float32)
    return scaled
