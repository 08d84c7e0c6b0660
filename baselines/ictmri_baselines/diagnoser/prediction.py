"""Probabilities of a trained network, averaged over variants of a case where asked for."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ictmri.classes import CLASSES
from ictmri_baselines.diagnoser.augmentation import Variant
from ictmri_baselines.diagnoser.inputs import Batches, Inputs, in_turn
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser

Variants = Literal["none", "mirror", "turns"]
_QUARTERS: Final = range(4)


def variants(kind: Variants, inputs: Inputs) -> list[Variant]:
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
    network: AdaptiveDiagnoser, inputs: Inputs, *, batch: int, tta: Variants = "none"
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
