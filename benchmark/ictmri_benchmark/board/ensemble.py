"""All ranked entries as one: what they would say together. Made by the board, never an entry of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ictmri.classes import CLASSES
from ictmri.io.files import sha256_bytes
from ictmri_benchmark.score.metrics import Floats
from ictmri_benchmark.score.predictions import Predictions, format_predictions


def mean_of(entries: Sequence[Predictions], case_ids: Sequence[str]) -> Predictions:
    """Return the mean of predictions, each entry counting once.

    An entry of several seeds counts with the mean over them; a label without probabilities as 1 for its
    class. Summed in the order given, one step after the other: the same bytes on every processor.

    Args:
        entries: at least one, of the same cases.
        case_ids: the cases.
    """
    mean = _mean([_mean(list(_probabilities(entry))) for entry in entries])
    highest = mean.max(axis=-1, keepdims=True)
    made = Predictions(
        seeds=(0,),
        labels=mean.argmax(axis=-1)[None],
        probabilities=mean[None],
        ties=int(((mean == highest).sum(axis=-1) > 1).sum()),
        sha256="",
    )
    return replace(made, sha256=sha256_bytes(format_predictions(made, case_ids).encode()))


def _probabilities(entry: Predictions) -> Floats:
    """Return (S, N, K) probabilities."""
    if entry.probabilities is not None:
        return entry.probabilities
    certain: Floats = (entry.labels[..., None] == np.arange(len(CLASSES))).astype(np.float64)
    return certain


def _mean(values: Sequence[Floats]) -> Floats:
    total: Floats = np.zeros_like(values[0])
    for one in values:
        total = total + one
    mean: Floats = total / len(values)
    return mean
