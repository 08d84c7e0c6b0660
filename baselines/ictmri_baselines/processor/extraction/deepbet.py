"""deepbet on CPU: two small networks from its wheel, a box first, then the brain in it.

Source: Fisch et al., deepbet: fast brain extraction of T1-weighted MRI using convolutional neural
networks, Computers in Biology and Medicine 2024, doi:10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.extras import need
from ictmri_baselines.processor.extraction.network import (
    ExtractionError,
    brain_by,
    one_torch_thread,
)
from ictmri_baselines.processor.points import Array
from ictmri_baselines.processor.step import described, version_of
from ictmri_baselines.processor.volume import Volume, Voxels

GRID_MM: Final = 1.0
"""deepbet looks up nearest voxels; on thick slices that leaves steps, so it gets cubes."""

_WHAT: Final = "Brain extraction with deepbet"


@dataclass(frozen=True, slots=True)
class DeepBet:
    """deepbet with its default threshold."""

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters.

        Raises:
            MissingDependencyError: deepbet is not installed.
        """
        return described("deepbet", version_of("deepbet", _WHAT), threshold=0.5, dilation=0)

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with a brain mask.

        Raises:
            ExtractionError: no brain was found.
            MissingDependencyError: deepbet is not installed.
        """
        need("baselines", _WHAT, "deepbet")
        return brain_by(_probability, volume, place, GRID_MM, "deepbet")


def _probability(voxels: Voxels) -> Array:
    from deepbet import BrainExtraction

    try:
        with one_torch_thread():
            found = BrainExtraction(no_gpu=True).run_model(np.ascontiguousarray(voxels))
    except (ValueError, AssertionError) as error:
        # It fails so where its first network leaves nothing to look at.
        raise ExtractionError("deepbet found no brain in this scan") from error
    return np.asarray(found, dtype=np.float32)
