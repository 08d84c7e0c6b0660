"""ICT-MRI: a cohort of deep intracranial tumours on T1 contrast-enhanced MRI, as a dataset.

>>> from ictmri import load_dataset
>>> fold = load_dataset("ictmri-phantom", fold=0)  # DatasetDict with "train" and "test"

Everything heavy is imported when it is first used: importing this package costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ictmri.classes import CLASSES
from ictmri.version import __version__

if TYPE_CHECKING:
    from ictmri.loader import load_dataset

__all__ = ["CLASSES", "__version__", "load_dataset"]


def __getattr__(name: str) -> object:
    if name == "load_dataset":
        from ictmri.loader import load_dataset

        return load_dataset
    raise AttributeError(f"module 'ictmri' has no attribute {name!r}")
