"""Made-up entries for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.made_predictions import write_predictions

from ictmri.folds import FoldTable
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo, write_entry


def made_entry(cohort: FoldTable, slug: str, **changes: object) -> Entry:
    fields: dict[str, object] = {
        "slug": slug,
        "benchmark": BenchmarkRef(cohort=cohort.name, splits_sha256=cohort.sha256),
        "synthetic": True,
        "method": MethodInfo(name=slug.title(), summary="Made up.", authors=("A",), licence="MIT"),
        "selection": "fixed-epoch",
        "seeds": (0,),
        "inputs": InputsUsed(image=True, prior="none", demographics=False),
    }
    return Entry(**(fields | changes))


def hand_in(folder: Path, cohort: FoldTable, entry: Entry, values: np.ndarray) -> tuple[Path, Path]:
    """Write what a submitter has: predictions.csv and entry.yaml."""
    write_entry(folder / "entry.yaml", entry)
    return write_predictions(folder / "predictions.csv", cohort, values), folder / "entry.yaml"
