"""Probabilities of a trained network: averaged over variants of a case, calibrated by one number.

Source of the calibration: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import softmax

from ictmri.classes import CLASSES
from ictmri_baselines.diagnoser.augmentation import Variant
from ictmri_baselines.diagnoser.inputs import Batches, NetworkInputs, in_turn
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser

Variants = Literal["none", "mirror", "turns"]
_QUARTERS: Final = range(4)


def variants(kind: Variants, inputs: NetworkInputs) -> list[Variant]:
    """Return the variants of each case that are looked at.

    Args:
        kind: ``none``, the case as it is; ``mirror``, also left and right swapped; ``turns``, both of
            these after each quarter turn in the axial plane: all that the training shows.
        inputs: the cases.
    """
    shift = inputs.central.shift
    flips = (False,) if kind == "none" else (False, True)
    turns = _QUARTERS if kind == "turns" else (0,)
    return [Variant(shift, flip, turn) for flip in flips for turn in turns]


@torch.inference_mode()
def predict(
    network: AdaptiveDiagnoser, inputs: NetworkInputs, *, batch: int, tta: Variants = "none"
) -> NDArray[np.float64]:
    """Return probabilities (n, 4) in float64; passes through the network are made in float32.

    Args:
        network: on the device where it shall run.
        inputs: n cases.
        batch: cases in one pass.
        tta: variants of a case whose probabilities are averaged.
    """
    network.eval()
    unknown = np.zeros(len(inputs), dtype=np.int64)
    device = next(network.parameters()).device
    total = np.zeros((len(inputs), len(CLASSES)))
    chosen = variants(tta, inputs)
    for one in chosen:
        order = in_turn(len(inputs), batch)
        batches = Batches(inputs, unknown, order, variant=lambda _, one=one: one)  # type: ignore[misc]
        for cases, (image, prior, _) in zip(order, batches, strict=True):
            logits = network(image.to(device), prior.to(device))
            total[cases] += torch.softmax(logits.double(), dim=1).cpu().numpy()
    return total / len(chosen)


LARGEST_LOG: Final = float(np.log(20))
"""Of the temperature, to either side: beyond a factor of 20, a few dozen cases say nothing about it."""
SMALLEST: Final = 1e-12
"""A probability below this counts as this."""


def apply_temperature(
    probabilities: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Return probabilities (n, 4) whose logarithms were divided by a temperature; 1 changes nothing."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    scaled: NDArray[np.float64] = softmax(logits, axis=1)
    return scaled


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log-loss on some cases.

    Args:
        probabilities: (n, 4).
        labels: (n,) their classes.
    """

    def loss(log_temperature: float) -> float:
        chosen = apply_temperature(probabilities, float(np.exp(log_temperature)))
        right = chosen[np.arange(len(labels)), labels]
        return -float(np.log(np.maximum(right, SMALLEST)).mean())

    found = optimize.minimize_scalar(
        loss, bounds=(-LARGEST_LOG, LARGEST_LOG), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))
