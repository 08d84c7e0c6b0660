"""MRI-Processor [equation 1]: steps from a scan to a brain in MNI152 space; here the light settings."""

from ictmri_baselines.processor.light import Processed, process

__all__ = ["Processed", "process"]
