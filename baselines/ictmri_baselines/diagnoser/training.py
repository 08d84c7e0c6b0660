"""The training: an epoch's batches, loss, optimiser and schedule, and Lightning's Trainer around them."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor
from torch.nn import functional

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri.io.files import replacing
from ictmri_baselines.diagnoser.augmentation import Augmentation, Variant, draw
from ictmri_baselines.diagnoser.inputs import (
    Batch,
    Batches,
    Buffers,
    NetworkInputs,
    in_turn,
    shuffled,
)
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.settings import Compute, Optimisation

INNER_LOSS: Final = "inner_loss"


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

    inputs: NetworkInputs
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
            self.network.parameters(),
            lr=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            # Takes its roots itself: MKL's differ between AMD's and Intel's CPUs. Lightning cannot clip
            # gradients for it in mixed precision.
            fused=self.trainer.precision == "32-true",
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
        logits, own_loss = self.network.training_pass(image, prior)
        each = functional.cross_entropy(
            logits.float(),
            labels,
            weight=self.weights,
            label_smoothing=self.optimisation.label_smoothing,
            reduction="none",
        )
        # Not the weighted mean: in a batch of two of one class it would cancel the weight.
        loss = each.mean()
        return loss if own_loss is None else loss + own_loss


def class_weights(labels: NDArray[np.int64], kind: str) -> NDArray[np.float32]:
    """Return the weight of each class (4,), 1 on average over the cases; 0 for a class without cases."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    power = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}[kind]
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    scaled: NDArray[np.float32] = (weights / weights[labels].mean()).astype(np.float32)
    return scaled


LAST: Final = "last"
BEST: Final = "best"
LOGS: Final = ("log", "tensorboard")
"""Folders of the CSV log and of TensorBoard's."""


class WholeFiles(CheckpointIO):
    """Checkpoints that are either whole or not there, and that hold nothing but tensors and numbers.

    Lightning's own writer moves a file from the temporary folder, which is no single step where that
    lies on another disk.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder in which checkpoints may be removed; none where None."""
        super().__init__()
        self._folder = folder

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002
    ) -> None:
        """Write a checkpoint."""
        with replacing(Path(path)) as part:
            torch.save(checkpoint, part)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ValueError, OSError, RuntimeError: it is damaged.
        """
        with zipfile.ZipFile(path) as file:
            # PyTorch's own reader does not look at the checksums.
            damaged = file.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        found: dict[str, Any] = torch.load(
            path, map_location=map_location, weights_only=weights_only is not False
        )
        return found

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint of this training; a state names others where somebody else wrote it."""
        place = Path(path).resolve()
        if self._folder is not None and place.parent == self._folder.resolve():
            place.unlink(missing_ok=True)


def make_trainer(
    compute: Compute, optimisation: Optimisation, folder: Path, *, select: bool
) -> Trainer:
    """Return a trainer that keeps its state in ``folder``.

    Args:
        compute: where it runs.
        optimisation: epochs, accumulation, clipping.
        folder: of checkpoints and logs.
        select: keep the weights of the epoch with the lowest loss on the cases held back.

    Raises:
        InputError: the devices do not share the batches of a step evenly.
    """
    share, rest = divmod(optimisation.accumulate, compute.processes)
    if rest:
        problem = f"{optimisation.accumulate} batches a step for {compute.processes} devices"
        raise InputError("compute", [problem], "change accumulate, devices or num_nodes")
    return Trainer(
        accelerator="gpu" if compute.on_gpu else "cpu",
        devices=compute.devices,
        num_nodes=compute.num_nodes,
        strategy=_strategy(compute),
        precision=compute.precision,
        max_epochs=optimisation.epochs,
        accumulate_grad_batches=share,
        gradient_clip_val=optimisation.clip,
        deterministic="warn" if compute.on_gpu else True,
        benchmark=False,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if select else 0,
        logger=_loggers(folder),
        callbacks=[
            *([EMAWeightAveraging(decay=optimisation.average)] if optimisation.average else []),
            *_checkpoints(compute, folder, select=select),
        ],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=_plugins(folder),
    )


def _plugins(folder: Path) -> list[Any]:
    # Without an environment, Lightning would take a SLURM job's variables for those of a launch by srun.
    environment = [] if launched() else [LightningEnvironment()]
    return [WholeFiles(folder), *environment]


def launched() -> bool:
    """Whether this process was started by torchrun or srun beside others of its kind."""
    return any(
        int(os.environ.get(name, "1")) > 1 for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
    )


def _strategy(compute: Compute) -> str:
    if compute.processes == 1:
        return "auto"
    if launched():
        return "ddp"
    # A fork shares what is loaded already; CUDA does not outlive one, and other systems advise against it.
    return "ddp_fork" if not compute.on_gpu and sys.platform == "linux" else "ddp_spawn"


def _checkpoints(compute: Compute, folder: Path, *, select: bool) -> list[Any]:
    last = ModelCheckpoint(
        dirpath=folder,
        filename=LAST,
        every_n_epochs=compute.checkpoint_every,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    best = ModelCheckpoint(
        dirpath=folder,
        filename=BEST,
        monitor=INNER_LOSS,
        save_weights_only=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    # The best is written first: a state that says so must not exist before it.
    return [best, last] if select else [last]


def _loggers(folder: Path) -> list[Logger]:
    """Return a CSV log of its own for each start of a training, and TensorBoard's where installed."""
    table, board = LOGS
    version = f"part-{len(list((folder / table).glob('part-*')))}"
    loggers: list[Logger] = [CSVLogger(folder, name=table, version=version)]
    if importlib.util.find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(folder, name=board, version=version))
    return loggers


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's notes and hints off the terminal; errors still arrive."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in ("pytorch_lightning", "lightning_fabric"):
                warnings.filterwarnings("ignore", module=module)
            warnings.filterwarnings("ignore", message=".*deterministic implementation.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
