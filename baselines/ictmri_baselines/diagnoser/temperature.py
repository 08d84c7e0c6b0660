"""Calibration by one number, fitted on cases that were held back from training.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

LARGEST_LOG: Final = float(np.log(20))
"""Of the temperature, to either side: beyond a factor of 20, a few dozen cases say nothing about it."""
SMALLEST: Final = 1e-12
"""A probability below this counts as this."""


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, 4) whose logarithms were divided by a temperature; 1 changes nothing."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log-loss on some cases.

    Args:
        probabilities: (n, 4).
        labels: (n,) their classes.
    """

    def loss(log_temperature: float) -> float:
        chosen = tempered(probabilities, float(np.exp(log_temperature)))
        right = chosen[np.arange(len(labels)), labels]
        return -float(np.log(np.maximum(right, SMALLEST)).mean())

    found = optimize.minimize_scalar(
        loss, bounds=(-LARGEST_LOG, LARGEST_LOG), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))
