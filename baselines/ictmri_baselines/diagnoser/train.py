"""Training of the light diagnoser: a fixed number of epochs, no look at the test cases."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ictmri.classes import CLASSES
from ictmri_baselines.cases import Cases
from ictmri_baselines.diagnoser.crops import augment, central, crop_cases
from ictmri_baselines.diagnoser.model import AdaptiveDiagnoser, Architecture


def virtual_biopsy(  # noqa: PLR0913
    train: Cases,
    labels: NDArray[np.int64],
    test: Cases,
    *,
    seed: int,
    size: int,
    margin: int,
    epochs: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    label_smoothing: float,
    clip: float,
    attention: bool,
) -> NDArray[np.float64]:
    """Train on cubes around the prior and predict the test cases' cubes.

    One thread and deterministic kernels: the same inputs give the same predictions, however many
    folds run beside each other. The model after the last epoch is the model (selection: fixed-epoch).

    Args:
        train: training cases.
        labels: (n,) their labels.
        test: test cases.
        seed: of initialisation, order and augmentation.
        size: edge of the cube in voxels.
        margin: voxels by which the cube may shift as an augmentation.
        epochs: passes over the training cases.
        batch: cases a step.
        learning_rate: peak of the one-cycle schedule for AdamW.
        weight_decay: AdamW's.
        label_smoothing: epsilon of the cross-entropy.
        clip: largest gradient norm.
        attention: masked channel attention on or off.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = AdaptiveDiagnoser(Architecture(attention=attention))
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(train) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    cubes = crop_cases(train, size=size, margin=margin)
    weights = _class_weights(labels)
    model.train()
    for _ in range(epochs):
        for chosen in np.array_split(rng.permutation(len(train)), steps // epochs):
            inputs = np.stack([augment(cubes[i], margin, rng) for i in chosen])
            loss = functional.cross_entropy(
                _logits(model, inputs),
                torch.from_numpy(labels[chosen]),
                weight=weights,
                label_smoothing=label_smoothing,
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimiser.step()
            schedule.step()
    return _predict(model, central(crop_cases(test, size=size, margin=margin), margin))


def _logits(model: AdaptiveDiagnoser, inputs: NDArray[np.float32]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(inputs))
    logits: Tensor = model(tensor[:, :1], tensor[:, 1:])
    return logits


def _class_weights(labels: NDArray[np.int64]) -> Tensor:
    """Return square roots of inverse class frequencies, mean 1 over the training cases."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0.0)
    return torch.tensor(weights / weights[labels].mean(), dtype=torch.float32)


@torch.inference_mode()
def _predict(model: AdaptiveDiagnoser, cubes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities (n, 4), averaged over each cube and its mirror image."""
    model.eval()
    logits = [_logits(model, cubes), _logits(model, cubes[:, :, ::-1])]
    averaged: NDArray[np.float64] = np.mean(
        [torch.softmax(x.double(), dim=1).numpy() for x in logits], axis=0
    )
    return averaged
