"""A small network trained on synthetic heads says where a tumour is; the evidence draws its outline.

The network sees the evidence of the whole brain at 4 mm. The map is what it takes for the core; where the
classical candidates lie, a much smaller share is enough. A second network that looked again at 2 mm in
boxes added nothing to that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from scipy import ndimage

from ictmri_baselines.localizer.classical.evidence import Evidence, evidence_of
from ictmri_baselines.localizer.classical.grid_2mm import Field, on_brain_grid
from ictmri_baselines.localizer.classical.saliency import reported, whole
from ictmri_baselines.localizer.detectors import DetectorSettings
from ictmri_baselines.localizer.learned.channels import channels_of, fields_of, uncropped
from ictmri_baselines.localizer.learned.network import UNet
from ictmri_baselines.localizer.learned.weights import SHIPPED, digest_of, load_network
from ictmri_baselines.localizer.region import MARKED, Region

if TYPE_CHECKING:
    from collections.abc import Collection

    from ictmri_baselines.cases import Brain
    from ictmri_baselines.localizer.boxes import SliceBoxes

MARKED_FROM: Final = 0.4
"""Share of core from which a voxel is marked; ..."""
CANDIDATE_FROM: Final = 0.05
"""... inside the classical candidates from this on; what is less counts as none. Both chosen on phantoms of
seed 501 and on the real scans of docs/localization.md, which are development cases."""


class SyntheticDetector:
    """The network on a processed brain."""

    def __init__(self, network: UNet) -> None:
        self._network = network

    def detect(self, brain: Brain) -> list[SliceBoxes] | Region:
        """Return a map on the brain's own grid.

        Raises:
            InputError: the brain lies on neither of the template's grids.
        """
        seen = evidence_of(brain)
        if seen is None:
            return []
        return Region(on_brain_grid(self.map_of(seen), brain), Synthetic.name)

    def map_of(self, seen: Evidence) -> Field:
        """Return the map on the 2 mm grid: above one half from :data:`MARKED_FROM` on; 1 in a candidate."""
        core = self.core_of(seen)
        some = seen.mask & (core > CANDIDATE_FROM)
        found = np.where(some, np.minimum(core * np.float32(MARKED / MARKED_FROM), 1), 0)
        if kept := reported(seen):
            found[whole(kept) & some] = 1
        return np.asarray(found, dtype=np.float32)

    def core_of(self, seen: Evidence) -> Field:
        """Return how much of a voxel the network takes for core, on the 2 mm grid."""
        with torch.inference_mode():
            channels = torch.from_numpy(channels_of(fields_of(seen)))[None]
            channels = channels.contiguous(memory_format=torch.channels_last_3d)
            core, _ = torch.sigmoid(self._network(channels))[0].numpy()
        fine = ndimage.zoom(core, 2, order=1, grid_mode=True, mode="nearest")
        return uncropped(fine, seen.mask.shape)


class Synthetic(DetectorSettings):
    """A small network trained on synthetic heads alone, with the evidence's outline; offline."""

    name = "synthetic"
    version = "2"
    pinned = True
    unrecorded = frozenset({"weights"})

    weights: Path = SHIPPED

    def facts(self) -> dict[str, Any]:
        """Return the digest of the weights, and what they learned from."""
        return {"weights_sha256": digest_of(self.weights), "trained_on": "synthetic heads"}

    def prepare(self, case_ids: Collection[str], left_out: Collection[str] = ()) -> None:  # noqa: ARG002
        """Load the weights."""
        load_network(self.weights, digest_of(self.weights))

    def detector(self, *, case_id: str = "", journal: Path | None = None) -> SyntheticDetector:  # noqa: ARG002
        """Return the detector."""
        return SyntheticDetector(load_network(self.weights, digest_of(self.weights)))
