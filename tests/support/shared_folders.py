"""Folders that the test processes share, for cohorts that are slow to make and never changed."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from ictmri.cohort import Cohort, open_cohort


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder of this test run; whoever builds a cohort in it first does so for all."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    return folder


def shared_copy(cohort: Cohort, factory: pytest.TempPathFactory, name: str) -> Cohort:
    """Return a copy of a cohort in a shared folder, for what is added to it once for all."""
    folder = shared_folder(factory, name)
    root = folder / cohort.root.name
    with FileLock(folder / "copy.lock"):
        if not root.exists():
            shutil.copytree(cohort.root, folder / "part")
            (folder / "part").rename(root)
    return open_cohort(root)
