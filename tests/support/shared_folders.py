"""Folders that the test processes share, for cohorts that are slow to make and never changed."""

import os
from pathlib import Path

import pytest


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder of this test run; whoever builds a cohort in it first does so for all."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    return folder
