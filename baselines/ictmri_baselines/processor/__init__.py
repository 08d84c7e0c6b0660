"""MRI-Processor [equation 1]: brain extraction, N4 and SyN, from a scan to a brain in MNI152 space."""

from ictmri_baselines.processor.mapping import Mapping
from ictmri_baselines.processor.process import Processed, process, used_steps
from ictmri_baselines.processor.settings import PRESETS, ProcessorSettings, preset

__all__ = [
    "PRESETS",
    "Mapping",
    "Processed",
    "ProcessorSettings",
    "preset",
    "process",
    "used_steps",
]
