"""Made-up predictions, and files of them."""

from pathlib import Path

import numpy as np

from ictmri.folds import FoldTable


def probabilities(cohort: FoldTable, skill: float, seed: int = 0) -> np.ndarray:
    """Random probabilities (n, 4), the better the larger ``skill``; six decimals, sums exactly 1."""
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet([1] * 4, len(cohort.rows))
    drawn[np.arange(len(drawn)), cohort.labels] += skill
    millionths = np.floor(1e6 * drawn / drawn.sum(axis=1, keepdims=True)).astype(int)
    millionths[np.arange(len(drawn)), drawn.argmax(axis=1)] += 1_000_000 - millionths.sum(axis=1)
    return millionths / 1e6


def write_predictions(path: Path, cohort: FoldTable, values: np.ndarray) -> Path:
    """Write (n, 4) probabilities or (n,) labels."""
    from ictmri.classes import CLASSES

    if values.ndim == 1:
        lines = ["case_id,prediction"]
        lines += [f"{r.case_id},{CLASSES[v]}" for r, v in zip(cohort.rows, values, strict=True)]
    else:
        lines = ["case_id," + ",".join(f"p_{name}" for name in CLASSES)]
        lines += [
            ",".join([row.case_id, *(f"{p:.6f}" for p in cells)])
            for row, cells in zip(cohort.rows, values, strict=True)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
