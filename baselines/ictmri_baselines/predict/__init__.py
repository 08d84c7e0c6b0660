"""A virtual biopsy of one's own scan: process, localise, diagnose, one offline page. Research use only."""

from ictmri_baselines.predict.biopsy import Request, virtual_biopsy

__all__ = ["Request", "virtual_biopsy"]
