"""What every brain extraction ends with: one piece, without holes, as large as a brain may be."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from ictmri_baselines.processor.volume import Mask, Volume

MIN_BRAIN_ML: Final = 200.0
"""Less is no brain: a newborn's has about 350 ml, and half a head's half of an adult's about 600."""


class ExtractionError(ValueError):
    """An extraction that found no brain; the message says what it found."""


def cleaned(mask: Mask, volume: Volume, name: str) -> Mask:
    """Return the largest piece of a mask with its holes filled.

    Args:
        mask: what the extraction found.
        volume: the scan it belongs to.
        name: of the extraction, for the message.

    Raises:
        ExtractionError: less than :data:`MIN_BRAIN_ML` is left.
    """
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    filled: Mask = ndimage.binary_fill_holes(mask)
    millilitres = filled.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    if millilitres < MIN_BRAIN_ML:
        raise ExtractionError(
            f"{name} found {millilitres:.0f} ml of brain; no head, or not seen whole"
        )
    return filled
