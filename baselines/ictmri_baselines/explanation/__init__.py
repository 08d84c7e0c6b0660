"""Where a network looks [Fig. 6], how much of that lies in the lesion, and how unusual a case is."""

from ictmri_baselines.explanation.gradcam import attention_map
from ictmri_baselines.explanation.unusual import (
    VERDICTS,
    Reference,
    Unusual,
    describe,
    load_reference,
    reference,
    save_reference,
    unusual,
)

__all__ = [
    "VERDICTS",
    "Reference",
    "Unusual",
    "attention_map",
    "describe",
    "load_reference",
    "reference",
    "save_reference",
    "unusual",
]
