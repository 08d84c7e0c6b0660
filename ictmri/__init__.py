"""ICT-MRI: a cohort of deep intracranial tumours on T1 contrast-enhanced MRI, as a dataset.

>>> import ictmri
>>> table = ictmri.cases("ictmri-phantom")  # who is in it, in pandas; no volume is read or made
>>> fold = ictmri.load_dataset("ictmri-phantom", fold=0)  # DatasetDict with "train" and "test"

Everything heavy is imported when it is first used: importing this package costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from ictmri.classes import CLASSES
from ictmri.version import __version__

if TYPE_CHECKING:
    from ictmri.case_table import cases
    from ictmri.loader import load_dataset

__all__ = ["CLASSES", "__version__", "cases", "load_dataset"]

_LATER: Final = {"cases": "ictmri.case_table", "load_dataset": "ictmri.loader"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'ictmri' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
