"""Where a network looks [Fig. 6], and how much of that lies in the lesion."""

from ictmri_baselines.explanation.gradcam import attention_map

__all__ = ["attention_map"]
