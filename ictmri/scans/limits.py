"""What is too large to be a head: checked in headers, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ictmri.errors import ScanError

MAX_VOXELS: Final = 2**27
"""Largest volume that is read (a 512^3 cube): more is a damaged header, not a head."""


def check_size(shape: Sequence[int]) -> None:
    """Refuse shapes that are no volume or too large.

    Raises:
        ScanError: the shape is implausible.
    """
    told = f"implausible size {' x '.join(map(str, shape))}"
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(told, code="not-one-volume")
    if math.prod(map(int, shape)) > MAX_VOXELS:
        raise ScanError(told, code="too-large")
