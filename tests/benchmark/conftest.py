from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ictmri.folds import Candidate, FoldTable, assign_folds, read_folds, write_folds


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., FoldTable]:
    """Makes a cohort from class names or integer labels."""

    def make(labels: list[str] | np.ndarray, n_folds: int = 5, name: str = "mini") -> FoldTable:
        from ictmri.classes import CLASSES

        names = [x if isinstance(x, str) else CLASSES[x] for x in labels]
        rows = assign_folds(
            [Candidate(f"mini-{i:04d}", f"mini-p{i:04d}", x) for i, x in enumerate(names)], n_folds
        )
        path = tmp_path / f"{name}.csv"
        write_folds(path, rows)
        return read_folds(path, name)

    return make


@pytest.fixture
def cohort(make_cohort: Callable[..., FoldTable]) -> FoldTable:
    """The class mix that the phantom assumes."""
    return make_cohort(["glioma"] * 120 + ["pcnsl"] * 60 + ["germinoma"] * 40 + ["rare"] * 29)
