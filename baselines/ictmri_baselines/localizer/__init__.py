"""Tumor-Localizer [equations 2 to 5]: slices to boxes, boxes to the coarse prior."""

from ictmri_baselines.localizer.prior import Prior, coarse_prior, localize

__all__ = ["Prior", "coarse_prior", "localize"]
