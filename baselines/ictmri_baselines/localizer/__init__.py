"""Tumor-Localizer [equations 2 to 5]: slices to boxes, coarse prior, refined prior."""

from ictmri_baselines.localizer.localize import Localization, localize, voxels_of
from ictmri_baselines.localizer.prior import coarse_prior

__all__ = ["Localization", "coarse_prior", "localize", "voxels_of"]
