"""A brain in MNI152 space: what the Tumor-Localizer and the Adaptive-Diagnoser look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nibabel as nib


@dataclass(frozen=True, slots=True)
class Brain:
    """A processed volume; it carries no label.

    Attributes:
        image: on the MNI152 grid of 1 or 2 mm; (x - median) / (1.4826 MAD) of the brain, 0 outside it.
        mask: uint8 brain mask, same grid.
    """

    image: nib.Nifti1Image
    mask: nib.Nifti1Image
