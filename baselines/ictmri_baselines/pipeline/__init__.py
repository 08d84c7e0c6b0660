"""Processing and localisation of a whole cohort: case by case, resumable, results in ``processed``."""

from ictmri_baselines.pipeline.localize import (
    boxes_tally,
    localize_cohort,
    unmeasured,
)
from ictmri_baselines.pipeline.priors import copy_digest, ensure_priors, localized_copy
from ictmri_baselines.pipeline.process import process_cohort
from ictmri_baselines.pipeline.resumable import Workers

__all__ = [
    "Workers",
    "boxes_tally",
    "copy_digest",
    "ensure_priors",
    "localize_cohort",
    "localized_copy",
    "process_cohort",
    "unmeasured",
]
