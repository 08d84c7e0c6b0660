"""MRI-Processor [equation 1]: steps from a scan to a brain in MNI152 space; here the light settings."""

from ictmri_baselines.processor.light import Processed, ProcessingError, process

__all__ = ["Processed", "ProcessingError", "process"]
