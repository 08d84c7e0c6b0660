"""deepbet on CPU: two small networks from its wheel, a box first, then the brain in it.

Source: Fisch et al., deepbet: fast brain extraction of T1-weighted MRI using convolutional neural
networks, Computers in Biology and Medicine 2024, doi:10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.errors import MissingDependencyError
from ictmri_baselines.processor.extraction.network import (
    ExtractionError,
    cleaned,
    network_grid,
    on_scan,
    one_torch_thread,
)
from ictmri_baselines.processor.step import described, version_of
from ictmri_baselines.processor.volume import Volume

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
        if importlib.util.find_spec("deepbet") is None:
            raise MissingDependencyError(_WHAT, "baselines")
        from deepbet import BrainExtraction

        voxels, affine = network_grid(volume, place, GRID_MM)
        try:
            with one_torch_thread():
                found = BrainExtraction(no_gpu=True).run_model(np.ascontiguousarray(voxels))
        except (ValueError, AssertionError) as error:
            # It fails so where its first network leaves nothing to look at.
            raise ExtractionError("deepbet found no brain in this scan") from error
        inside = on_scan(np.asarray(found, dtype=np.float32), affine, volume)
        return volume.with_mask(cleaned(inside > 0.5, volume, "deepbet"))
