"""The report: one canonical JSON document, from which every view is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASS_TITLES, CLASSES
from ictmri.files import canonical_json
from ictmri.folds import FoldTable
from ictmri_benchmark import protocol
from ictmri_benchmark.intervals import bootstrap, percentile_interval
from ictmri_benchmark.metrics import brier, confusion, headline, log_loss, per_class
from ictmri_benchmark.predictions import Predictions, read_predictions

METRIC_TITLES = {
    "macro_precision": "macro precision",
    "macro_recall": "macro recall (balanced accuracy)",
    "macro_f1": "macro F1 (ranks the board)",
    "accuracy": "accuracy",
}
SYNTHETIC_WARNING = "synthetic cohort: these numbers say nothing about patients"


@dataclass(frozen=True, slots=True)
class Report:
    """A score with its uncertainty; ``content`` follows the schema ``ictmri/report/1``."""

    content: dict[str, Any]

    def to_json(self) -> str:
        """Return the canonical JSON text: equal inputs give equal bytes."""
        return canonical_json(self.content)

    def render(self) -> str:
        """Return the report as a table for the terminal."""
        return "\n".join(_rendered(self.content))


def evaluate(
    predictions: Path,
    cohort: FoldTable,
    *,
    synthetic: bool = False,
    n_draws: int = protocol.N_DRAWS,
) -> Report:
    """Score a predictions file on a cohort. The labels are the cohort's, never the caller's.

    Args:
        predictions: CSV file, see :mod:`ictmri_benchmark.predictions`.
        cohort: the fold table that holds the labels.
        synthetic: marks the report of a phantom.
        n_draws: bootstrap draws.

    Raises:
        InputError: the file is not a valid and complete set of predictions.
    """
    read = read_predictions(predictions, cohort)
    return score(read, cohort, bootstrap(cohort, [read.labels], n_draws), synthetic=synthetic)


def score(
    predictions: Predictions,
    cohort: FoldTable,
    drawn: dict[str, NDArray[np.float64]],
    *,
    synthetic: bool,
    entry: int = 0,
) -> Report:
    """Return the report of predictions whose bootstrap values ``drawn`` are column ``entry``."""
    truth = np.array(cohort.labels, dtype=np.int64)
    matrices = np.array([confusion(truth, labels) for labels in predictions.labels])
    content = {
        "schema": protocol.REPORT_SCHEMA,
        "benchmark": {
            "name": protocol.BENCHMARK,
            "version": protocol.VERSION,
            "cohort": cohort.name,
            "synthetic": synthetic,
        },
        "n_cases": len(truth),
        "n_draws": len(drawn[protocol.RANK_KEY]),
        "seeds": list(predictions.seeds),
        "pooled": _pooled(matrices, {name: values[:, entry] for name, values in drawn.items()}),
        "fold_mean": _fold_mean(predictions, cohort, truth),
        "per_class": _per_class(matrices),
        "confusion": matrices.sum(axis=0).tolist(),
        "probabilistic": _probabilistic(predictions, truth),
        "digests": {
            "splits": cohort.sha256,
            "labels": cohort.labels_sha256,
            "predictions": predictions.sha256,
        },
        "warnings": _warnings(predictions, truth, synthetic=synthetic),
    }
    return Report(content)


def _pooled(
    matrices: NDArray[np.int64], drawn: dict[str, NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    values = headline(matrices)
    pooled = {}
    for name in protocol.HEADLINE:
        low, high = percentile_interval(drawn[name])
        pooled[name] = {"value": float(values[name].mean()), "low": low, "high": high}
    return pooled


def _fold_mean(
    predictions: Predictions, cohort: FoldTable, truth: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Return mean and sd (ddof 1) over folds of each fold's mean over seeds: the paper's convention."""
    folds = np.array(cohort.folds)
    by_fold = [
        headline(
            np.array([confusion(truth[folds == k], p[folds == k]) for p in predictions.labels])
        )
        for k in range(cohort.n_folds)
    ]
    means = {n: np.array([fold[n].mean() for fold in by_fold]) for n in protocol.HEADLINE}
    return {n: {"mean": float(v.mean()), "sd": float(v.std(ddof=1))} for n, v in means.items()}


def _per_class(matrices: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    values = per_class(matrices)
    support = matrices[0].sum(axis=1)
    return {
        name: {
            **{metric: float(values[metric][:, label].mean()) for metric in values},
            "support": int(support[label]),
        }
        for label, name in enumerate(CLASSES)
    }


def _probabilistic(predictions: Predictions, truth: NDArray[np.int64]) -> dict[str, float] | None:
    if predictions.probabilities is None:
        return None
    every = predictions.probabilities
    return {
        "log_loss": float(np.mean([log_loss(truth, p) for p in every])),
        "brier": float(np.mean([brier(truth, p) for p in every])),
    }


def _warnings(predictions: Predictions, truth: NDArray[np.int64], *, synthetic: bool) -> list[str]:
    warnings = [SYNTHETIC_WARNING] if synthetic else []
    support = np.bincount(truth, minlength=len(CLASSES))
    predicted = np.bincount(predictions.labels.ravel(), minlength=len(CLASSES))
    for name, cases, times in zip(CLASSES, support, predicted, strict=True):
        if not cases:
            warnings.append(f"class {name} has no case: it counts as 0 in every macro mean")
        elif cases == 1:
            warnings.append(f"class {name} has one case: its share of the interval has no width")
        if cases and not times:
            warnings.append(f"class {name} is never predicted: its precision counts as 0")
    if predictions.ties:
        warnings.append(f"{predictions.ties} rows have a tie: the first class of the tie counts")
    return warnings


def _rendered(content: dict[str, Any]) -> list[str]:
    bench = content["benchmark"]
    title = f"{bench['cohort']}: {content['n_cases']} cases, pooled out-of-fold"
    lines = [title + (" (SYNTHETIC)" if bench["synthetic"] else ""), ""]
    lines.append(f"{'metric':<34}{'value':>7}  {'95 % interval':<17}fold mean ± sd")
    for name in protocol.HEADLINE:
        pooled, folds = content["pooled"][name], content["fold_mean"][name]
        interval = f"[{pooled['low']:.3f}, {pooled['high']:.3f}]"
        spread = f"{folds['mean']:.3f} ± {folds['sd']:.3f}"
        lines.append(f"{METRIC_TITLES[name]:<34}{pooled['value']:>7.3f}  {interval:<17}{spread}")
    lines += ["", f"{'class':<12}{'precision':>10}{'recall':>9}{'F1':>8}{'cases':>8}   confusion"]
    width = max(len(str(n)) for row in content["confusion"] for n in row) + 2
    for name, row in zip(CLASSES, content["confusion"], strict=True):
        scores = content["per_class"][name]
        counts = "".join(f"{count:>{width}}" for count in row)
        lines.append(
            f"{CLASS_TITLES[name]:<12}{scores['precision']:>10.3f}{scores['recall']:>9.3f}"
            f"{scores['f1']:>8.3f}{scores['support']:>8}   {counts}"
        )
    return lines + [f"note: {warning}" for warning in content["warnings"]]
