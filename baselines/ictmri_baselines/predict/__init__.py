"""Virtual biopsies of one's own scans: process, localise, diagnose, offline pages. Research use only."""

from ictmri_baselines.predict.biopsy import Request, virtual_biopsy
from ictmri_baselines.predict.several import predict_scans
from ictmri_baselines.predict.sources import find_scans

__all__ = ["Request", "find_scans", "predict_scans", "virtual_biopsy"]
