"""Training: what Lightning adds to a plain loop, what this CPU's options give, loading beside MONAI's.

Each pair is measured in turns in one process of one thread, and by the processor time that it used, so that
other work on the machine weighs on both sides alike. The volumes are made up; their size and types are
those of the cache. The default network needs 2 GB and 2 s a batch on one core.

Example: python perf/training.py --cases 8 --rounds 3 --json training.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.lib.format import open_memmap
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.nn import functional

from ictmri.atlas.template import SHAPE, grid_affine
from ictmri_baselines.backbones import BACKBONES
from ictmri_baselines.cases import LEVELS, Cases, Volumes
from ictmri_baselines.diagnoser.augmentation import Augmentation, draw
from ictmri_baselines.diagnoser.fit import DiagnoserSettings, read_settings
from ictmri_baselines.diagnoser.inputs import Batches, Buffers, InputView, open_inputs, shuffled
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.training import (
    Labelled,
    Stream,
    Training,
    make_trainer,
    quiet,
    stream,
)

MOST_OVER_PLAIN: Final = 1.03
LEAST_FASTER: Final = 1.3
LEAST_OF_MONAI: Final = 4.0
LOADED: Final = 32
"""Cases of an epoch of loading: 5 of them have noise."""
SETTINGS_TRIED: Final = ("float32", "channels_last", "bf16", "bf16, channels_last", "compile")

clock = time.process_time


def made_cases(n: int, folder: Path) -> Cases:
    """Write n volumes of noise and their priors as the cache holds them, and map them."""
    rng = np.random.default_rng(0)
    names = {"image": np.float16, "prior": np.uint8, "refined": np.uint8}
    for name, dtype in names.items():
        array = open_memmap(folder / f"{name}.npy", "w+", dtype, (n, *SHAPE))
        for index in range(n):
            volume = rng.standard_normal(SHAPE, dtype=np.float32)
            array[index] = volume if name == "image" else (volume > 2) * LEVELS
        array.flush()
    maps = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
    unknown = np.full(n, np.nan)
    volumes = Volumes(*maps, grid_affine(2))
    return Cases([str(i) for i in range(n)], unknown, unknown, np.arange(n), volumes)


def best_of(rounds: int, works: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the least processor time of each work, done in turns, after one turn to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            started = clock()
            work()
            if turn:
                seconds[name].append(clock() - started)
    return {name: min(found) for name, found in seconds.items()}


# Lightning beside a plain loop


class Beside(Callback):
    """After each epoch of Lightning's, an epoch of a plain loop over the same batches."""

    def __init__(self, network: AdaptiveDiagnoser, settings: DiagnoserSettings) -> None:
        self.network = network.train()
        self.settings = settings
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=5e-5, weight_decay=1e-4)
        self.lightning: list[float] = []
        self.plain: list[float] = []
        self._since = clock()

    def on_train_epoch_end(self, trainer: Any, pl_module: Training) -> None:  # noqa: ARG002
        """Take Lightning's time since the last plain epoch, and that of a plain epoch."""
        self.lightning.append(clock() - self._since)
        started = clock()
        self._epoch(pl_module.train_dataloader())
        self.plain.append(clock() - started)
        self._since = clock()

    def _epoch(self, batches: Batches) -> None:
        chosen = self.settings.optimisation
        for step, (image, prior, labels) in enumerate(batches):
            loss = functional.cross_entropy(
                self.network(image, prior), labels, label_smoothing=chosen.label_smoothing
            )
            (loss / chosen.accumulate).backward()
            if step % chosen.accumulate == chosen.accumulate - 1:
                nn.utils.clip_grad_norm_(self.network.parameters(), chosen.clip)
                self.optimiser.step()
                self.optimiser.zero_grad()


def lightning_over_plain(cases: Cases, rounds: int, given: dict[str, Any]) -> float:
    """Return processor time of an epoch with Lightning over that of a plain one."""
    settings = read_settings(given | {"optimisation": {"epochs": rounds + 1}})
    labels = np.arange(len(cases)) % 4
    inputs = open_inputs(cases, settings.view)
    training = Training(
        AdaptiveDiagnoser(settings.network),
        settings.optimisation,
        settings.augmentation,
        Labelled(inputs, labels),
        inner=None,
        seed=0,
    )
    beside = Beside(AdaptiveDiagnoser(settings.network), settings)
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = make_trainer(settings.compute, settings.optimisation, Path(folder), select=False)
        trainer.callbacks.insert(0, beside)
        trainer.fit(training)
    # The first round warms both sides up.
    return float(np.median(np.array(beside.lightning[1:]) / np.array(beside.plain[1:])))


# The options of this CPU


def steps(network: AdaptiveDiagnoser, edge: int, how: str) -> Callable[[], None]:
    """Return a pass forwards and backwards with two made-up cases, and a step."""
    image, prior = torch.randn(2, 1, edge, edge, edge), torch.rand(2, 1, edge, edge, edge)
    if "channels_last" in how:
        network = network.to(memory_format=torch.channels_last_3d)
    if how == "compile":
        network.compile()
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-5)
    labels = torch.tensor([0, 1])

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in how):
            loss = functional.cross_entropy(network(image, prior), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return work


def options_tried(
    name: str, *, small: bool, edge: int, rounds: int, compiled: bool
) -> dict[str, float]:
    """Return how many times faster than float32 each option makes a step of a network."""
    chosen = dict(BACKBONES[name].small) if small else {}
    works = {}
    for how in SETTINGS_TRIED if compiled else SETTINGS_TRIED[:-1]:
        torch.manual_seed(0)
        network = AdaptiveDiagnoser(
            read_settings({"network": {"backbone": name, "settings": chosen}}).network
        )
        works[how] = steps(network.train(), edge, how)
    seconds = best_of(rounds, works)
    return {how: seconds["float32"] / found for how, found in seconds.items()}


# Loading beside MONAI's PersistentDataset


def ours(cases: Cases) -> Callable[[], None]:
    """Return an epoch of augmented batches of two from the mapped cache."""
    augmentation = Augmentation()
    inputs = open_inputs(cases, InputView())
    labels = np.zeros(len(cases), dtype=np.int64)
    epochs = iter(range(10**9))
    buffers = Buffers(2, inputs.edge)

    def work() -> None:
        epoch = next(epochs)
        order = shuffled(len(cases), 2, 1, stream(0, Stream.ORDER, epoch))
        for _ in Batches(
            inputs,
            labels,
            order,
            variant=lambda case: draw(augmentation, stream(0, Stream.VARIANT, epoch, case)),
            noise_sd=augmentation.noise_sd,
            buffers=buffers,
        ):
            pass

    return work


def monais(cases: Cases, folder: Path) -> Callable[[], None]:
    """Return the same from a PersistentDataset with MONAI's transforms, in MONAI's DataLoader."""
    from monai.data import DataLoader, PersistentDataset
    from monai.transforms import (
        Compose,
        RandAdjustContrastd,
        RandFlipd,
        RandGaussianNoised,
        RandRotate90d,
        Transform,
    )

    inputs = open_inputs(cases, InputView())

    class Read(Transform):
        def __call__(self, case: int) -> dict[str, Tensor]:
            image, prior = torch.empty(96, 96, 96), torch.empty(96, 96, 96)
            inputs.write(case, inputs.central, image, prior)
            return {"image": image[None], "prior": prior[None]}

    both = ("image", "prior")
    transforms = Compose(
        [
            Read(),
            RandFlipd(both, prob=0.5, spatial_axis=0),
            RandRotate90d(both, prob=0.5, spatial_axes=(0, 1)),
            RandGaussianNoised("image", prob=0.15, std=0.01, sample_std=False),
            RandAdjustContrastd("image", prob=0.15, gamma=(0.9, 1.1)),
        ]
    )
    dataset = PersistentDataset(list(range(len(cases))), transforms, cache_dir=folder)
    loader = DataLoader(dataset, batch_size=2, shuffle=True, num_workers=0)

    def work() -> None:
        for _ in loader:
            pass

    return work


def loading(cases: Cases, rounds: int) -> dict[str, float]:
    """Return cases a second of processor time, ours and MONAI's."""
    with tempfile.TemporaryDirectory() as folder:
        works = {"ours": ours(cases), "PersistentDataset": monais(cases, Path(folder))}
        seconds = best_of(rounds, works)
    return {name: len(cases) / found for name, found in seconds.items()}


def report(options: argparse.Namespace) -> Iterator[tuple[str, float | dict[str, float]]]:
    """Measure everything and print it as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        cases = made_cases(max(options.cases, LOADED), Path(folder))
        found = loading(cases, options.rounds + 2)
        ratio = found["ours"] / found["PersistentDataset"]
        print(
            f"loading with augmentation, 96^3: ours {found['ours']:.0f} cases/s, MONAI "
            f"PersistentDataset {found['PersistentDataset']:.0f}: {ratio:.1f} times, "
            f"{_judged(ratio >= LEAST_OF_MONAI, f'at least {LEAST_OF_MONAI:.0f}')}",
            flush=True,
        )
        yield "loading", found
        few = cases.subset(np.arange(len(cases)) < options.cases)
        over = lightning_over_plain(few, options.rounds, {})
        print(
            f"an epoch of the default model with Lightning / a plain loop: {over:.4f}, "
            f"{_judged(over <= MOST_OVER_PLAIN, f'at most {MOST_OVER_PLAIN}')}",
            flush=True,
        )
        yield "lightning", over
    for small, edge in ((False, 96), (True, 48)):
        tried = options_tried(
            "densenet3d", small=small, edge=edge, rounds=options.rounds, compiled=options.compile
        )
        fastest = max(tried, key=tried.__getitem__)
        verdict = (
            f"{fastest} is {tried[fastest]:.2f} times as fast"
            if tried[fastest] >= LEAST_FASTER
            else f"nothing is {LEAST_FASTER} times as fast as float32"
        )
        shown = ", ".join(f"{how} {times:.2f}" for how, times in tried.items())
        print(
            f"densenet3d{' small' if small else ''} at {edge}^3, times float32: {shown}: {verdict}",
            flush=True,
        )
        yield f"densenet3d {edge}", tried


def _judged(holds: bool, claim: str) -> str:
    return f"{claim} holds" if holds else f"{claim} DOES NOT HOLD"


def main() -> None:
    """Print one line a claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=8, help="of an epoch of the default model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="try torch.compile too: minutes")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    found = dict(report(options))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
