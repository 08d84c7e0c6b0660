"""Made-up entries for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.made_predictions import write_predictions

from ictmri.folds import FoldTable
from ictmri_benchmark.board.entry import BenchmarkRef, Entry, InputsUsed, MethodInfo, write_entry


def bound(cohort: FoldTable) -> BenchmarkRef:
    """What binds an entry to a cohort."""
    return BenchmarkRef(
        cohort=cohort.name, splits_sha256=cohort.sha256, data_sha256=cohort.data_sha256
    )


def made_entry(cohort: FoldTable, slug: str, **changes: object) -> Entry:
    """An entry of which everything but the slug has a plain value; changes may be those of its method."""
    texts: dict[str, object] = {"name": slug.title(), "summary": "Made up.", "authors": ("A",)}
    texts |= {key: changes.pop(key) for key in MethodInfo.model_fields if key in changes}
    fields: dict[str, object] = {
        "slug": slug,
        "benchmark": bound(cohort),
        "synthetic": True,
        "method": MethodInfo(**{"licence": "MIT", **texts}),
        "selection": "fixed-epoch",
        "seeds": (0,),
        "inputs": InputsUsed(image=True, prior="none", demographics=False),
    }
    return Entry(**(fields | changes))


def add_entry(folder: Path, cohort: FoldTable, described: Entry, values: np.ndarray) -> Path:
    """Write an entry with its predictions into a folder of entries, and return its own folder."""
    place = folder / described.slug
    write_predictions(place / "predictions.csv", cohort, values)
    write_entry(place / "entry.yaml", described)
    return place


def hand_in(folder: Path, cohort: FoldTable, entry: Entry, values: np.ndarray) -> tuple[Path, Path]:
    """Write what a submitter has: predictions.csv and entry.yaml."""
    write_entry(folder / "entry.yaml", entry)
    return write_predictions(folder / "predictions.csv", cohort, values), folder / "entry.yaml"
