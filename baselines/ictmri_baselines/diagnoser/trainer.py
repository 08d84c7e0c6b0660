"""Lightning's Trainer as this package uses it: quiet, resumable, on whatever there is."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pydantic import BaseModel, ConfigDict, Field
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from ictmri.errors import InputError
from ictmri.io.files import replacing
from ictmri_baselines.diagnoser.module import INNER_LOSS, Optimisation

LAST: Final = "last"
BEST: Final = "best"
LOGS: Final = ("log", "tensorboard")
"""Folders of the CSV log and of TensorBoard's."""

Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Compute(BaseModel):
    """Where a training runs and how; nothing here is part of the method.

    On a CPU, equal settings give equal bytes. On a GPU, three-dimensional pooling adds its gradients in no
    fixed order, so the last bits of a run may differ from those of the next. float32 without channels-last
    and compilation is the default: on the CPU that was tried, bfloat16 took densenet3d at 96^3 in 1.7 times
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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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
    plugins: list[Any] = [WholeFiles(folder)]
    if not launched():
        # Else Lightning would take the variables of a SLURM job for those of a launch by srun.
        plugins.append(LightningEnvironment())
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
        callbacks=_checkpoints(compute, folder, select=select),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=plugins,
    )


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
