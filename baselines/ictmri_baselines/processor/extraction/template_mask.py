"""The template's brain mask, carried to the scan through the affine: rough, instant, needs no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ictmri.atlas.alignment import Aligned
from ictmri.atlas.template import template
from ictmri_baselines.processor.points import look_up_affine
from ictmri_baselines.processor.volume import Volume


@dataclass(frozen=True, slots=True)
class TemplateMask:
    """Extraction by the template's mask."""

    name: ClassVar[str] = "template"

    def describe(self) -> dict[str, Any]:
        """Return name, version and parameters."""
        return {"name": self.name, "version": "1", "parameters": {}}

    def run(self, volume: Volume, place: Aligned) -> Volume:
        """Return the volume with the template's mask on its grid."""
        target = template()
        index = np.linalg.inv(target.affine) @ np.linalg.inv(place.scan_from_mni) @ volume.affine
        inside = look_up_affine(target.mask.astype(np.float32), index, volume.voxels.shape)
        return volume.with_mask(inside > 0.5)
