"""The report: one canonical JSON document, from which every view is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASS_TITLES, CLASSES, SEXES
from ictmri.cohort import AGE_GROUPS, PHANTOM
from ictmri.errors import nearest
from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json
from ictmri.io.tables import Table
from ictmri_benchmark.score import protocol
from ictmri_benchmark.score.intervals import (
    Drawn,
    bca_interval,
    percentile_interval,
    percentile_intervals,
)
from ictmri_benchmark.score.metrics import (
    BY_CLASS,
    METRICS,
    RANK_KEY,
    confusion,
    cost_report,
    headline,
    mean_over,
    per_class,
)
from ictmri_benchmark.score.predictions import Predictions
from ictmri_benchmark.score.probabilistic import probability_report, selective_report
from ictmri_benchmark.score.proportions import wilson

if TYPE_CHECKING:
    import pandas as pd

_LAST_DIGITS: Final = 1e-9
_GROUPS: Final = (*SEXES, *(name for name, _ in AGE_GROUPS))
"""Subgroups in the order of the report."""
SYNTHETIC_WARNING = "synthetic cohort: these numbers say nothing about patients"


class External(NamedTuple):
    """What is known of a model that did not learn from the cohort that it is scored on.

    Attributes:
        trained_on: name of the cohort that it learned from.
        overlap: whether that cohort and this one share patients.
    """

    trained_on: str
    overlap: protocol.Overlap = "unknown"


class Estimate(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A score with its uncertainty; ``content`` follows the schema ``ictmri/report/1``.

    Each metric of :data:`~ictmri_benchmark.score.metrics.METRICS` is an attribute: ``report.macro_f1.low``.
    """

    content: dict[str, Any]

    def __getattr__(self, name: str) -> Estimate:
        if name not in METRICS:
            raise AttributeError(f"a report has no {name!r}{nearest(name, METRICS)}")
        return Estimate(**self.content["pooled"][name])

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *METRICS})

    def __repr__(self) -> str:
        return self.render()

    def to_frame(self) -> pd.DataFrame:
        """Return the metrics, a row each: value, ends of the interval, mean and sd over the folds.

        An external report has no folds, and no columns of them.
        """
        import pandas as pd

        folds = self.content["fold_mean"] or {}
        rows = {
            name: found | {f"fold_{key}": n for key, n in folds.get(name, {}).items()}
            for name, found in self.content["pooled"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index", dtype="float64").rename_axis("metric")

    def table(self) -> Table:
        """Return the metrics, a row each: value with its interval, mean and sd over the folds."""
        folds = self.content["fold_mean"] or {}
        return Table.of(
            (
                {"metric": METRICS[name].title, "value": found}
                | {f"{key} over folds": number for key, number in folds.get(name, {}).items()}
                for name, found in self.content["pooled"].items()
            ),
            title=f"{_title(self.content)}, with 95 % interval",
            notes=tuple(text for text in self.content["warnings"] if text != SYNTHETIC_WARNING),
            synthetic=self.content["benchmark"]["synthetic"],
        )

    def to_latex(self) -> str:
        """Return :meth:`table` for a paper."""
        return self.table().render("latex")

    def to_json(self) -> str:
        """Return the canonical JSON text: equal inputs give equal bytes."""
        return canonical_json(self.content)

    def render(self) -> str:
        """Return the report as a table for the terminal."""
        return "\n".join(_rendered(self.content))


def is_report_of(stored: bytes, report: Report) -> bool:
    """Say whether a stored report is this one; only the last digits of its numbers may differ.

    Reports are equal to the byte wherever they are made, but those of earlier releases summed otherwise.
    """
    if stored == report.to_json().encode():
        return True
    try:
        content = json.loads(stored)
        return canonical_json(content).encode() == stored and _alike(content, report.content)
    except (ValueError, RecursionError):
        return False


def protocol_of(stored: bytes) -> str:
    """Return the version of the protocol that a stored report names, empty where it names none."""
    try:
        return str(json.loads(stored)["benchmark"]["version"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""


def _alike(stored: object, made: object) -> bool:
    if isinstance(stored, dict) and isinstance(made, dict):
        return list(stored) == list(made) and all(_alike(stored[key], made[key]) for key in made)
    if isinstance(stored, list) and isinstance(made, list):
        return len(stored) == len(made) and all(map(_alike, stored, made))
    if isinstance(stored, float) and isinstance(made, float):
        return abs(stored - made) <= _LAST_DIGITS
    return type(stored) is type(made) and stored == made


def score(
    predictions: Predictions,
    cohort: FoldTable,
    drawn: Drawn,
    *,
    synthetic: bool,
    entry: int = 0,
    interval: protocol.IntervalKind = "percentile",
    of_folds: int | None = None,
    external: External | None = None,
) -> Report:
    """Return the report of predictions whose bootstrap values ``drawn`` are column ``entry``.

    Where the cohort is but some folds of ``of_folds``, the report says so, and that it is never ranked.
    An ``external`` model has seen no fold: all cases are scored at once, and there are no means over folds.
    """
    truth = np.array(cohort.labels, dtype=np.int64)
    matrices = np.array([confusion(truth, labels) for labels in predictions.labels])
    every, folds = predictions.probabilities, np.array(cohort.folds) * (external is None)
    content = {
        "schema": protocol.REPORT_SCHEMA,
        "benchmark": {
            "name": protocol.BENCHMARK,
            "version": protocol.VERSION,
            "cohort": cohort.name,
            "synthetic": synthetic,
        },
        "n_cases": len(truth),
        **({} if of_folds is None else {"folds": sorted(set(cohort.folds))}),
        **({} if external is None else {"external": external._asdict()}),
        "n_draws": drawn.n_draws,
        "interval": interval,
        "seeds": list(predictions.seeds),
        "pooled": _pooled(matrices, predictions, truth, drawn, entry, interval),
        "seed_sd": _seed_sd(matrices),
        "fold_mean": None if external else _fold_mean(predictions, cohort, truth),
        "per_class": _per_class(matrices, drawn, entry),
        "confusion": matrices.sum(axis=0).tolist(),
        "probabilistic": None if every is None else probability_report(truth, every, folds),
        "selective": None if every is None else selective_report(truth, every),
        "cost": cost_report(matrices),
        "subgroups": subgroup_report(cohort, predictions.labels),
        "digests": cohort_digests(cohort) | {"predictions": predictions.sha256},
        "warnings": _warnings(predictions, truth, synthetic=synthetic),
    }
    if of_folds is not None:
        content["warnings"].insert(0, partial_warning(content["folds"], of_folds))
    if external is not None:
        content["warnings"][:0] = external_warnings(external)
    return Report(content)


_OVERLAPS: Final[dict[protocol.Overlap, str]] = {
    "yes": "it learned from cases that are scored here: optimistic by an unknown amount",
    "no": "no patient is in both cohorts, it is said",
    "unknown": "whether it learned from cases that are scored here is not known",
}


def external_warnings(external: External) -> list[str]:
    """Return what a report of a model that was trained elsewhere says first."""
    said = (
        f"external: the model was trained on {external.trained_on}; {_OVERLAPS[external.overlap]}"
    )
    made = [f"{external.trained_on} is synthetic: the model never saw a patient"]
    return [said, *(made if external.trained_on == PHANTOM else [])]


def partial_warning(folds: Sequence[int], of_folds: int) -> str:
    """Return what a report of some folds says first."""
    which = ", ".join(map(str, folds))
    return f"only fold {which} of 0 to {of_folds - 1} is scored: for development, never ranked"


def cohort_digests(cohort: FoldTable) -> dict[str, str]:
    """Return what binds a report or a board to its cohort."""
    return {"splits": cohort.sha256, "labels": cohort.labels_sha256}


def _pooled(
    matrices: NDArray[np.int64],
    predictions: Predictions,
    truth: NDArray[np.int64],
    drawn: Drawn,
    entry: int,
    interval: protocol.IntervalKind,
) -> dict[str, dict[str, float]]:
    values = {name: float(mean_over(found, 0)) for name, found in headline(matrices).items()}
    pooled = {}
    for name in METRICS:
        draws = drawn.headline[name][:, entry]
        low, high = (
            percentile_interval(draws)
            if interval == "percentile"
            else bca_interval(draws, values[name], truth, predictions.labels, name)
        )
        pooled[name] = {"value": values[name], "low": low, "high": high}
    return pooled


def _seed_sd(matrices: NDArray[np.int64]) -> dict[str, float] | None:
    """Return the sd (ddof 1) of each headline metric over the seeds, None where there is one seed."""
    if len(matrices) == 1:
        return None
    return {name: stdev(values.tolist()) for name, values in headline(matrices).items()}


def _fold_mean(
    predictions: Predictions, cohort: FoldTable, truth: NDArray[np.int64]
) -> dict[str, dict[str, float | None]]:
    """Return mean and sd (ddof 1) over folds of each fold's mean over seeds: the paper's convention.

    One fold alone has no sd.
    """
    folds = np.array(cohort.folds)
    by_fold = [
        headline(
            np.array([confusion(truth[folds == k], p[folds == k]) for p in predictions.labels])
        )
        for k in np.unique(folds)
    ]
    means = {n: [fmean(fold[n]) for fold in by_fold] for n in METRICS}
    return {n: {"mean": fmean(v), "sd": stdev(v) if len(v) > 1 else None} for n, v in means.items()}


def _per_class(matrices: NDArray[np.int64], drawn: Drawn, entry: int) -> dict[str, dict[str, Any]]:
    values = per_class(matrices)
    support = matrices[0].sum(axis=1)
    intervals = {n: percentile_intervals(drawn.by_class[n][:, entry]) for n in BY_CLASS}
    return {
        name: {
            **{metric: fmean(values[metric][:, label]) for metric in values},
            "support": int(support[label]),
            "intervals": {
                metric: [float(low[label]), float(high[label])]
                for metric, (low, high) in intervals.items()
            },
        }
        for label, name in enumerate(CLASSES)
    }


def subgroup_report(cohort: FoldTable, labels: NDArray[np.int64]) -> dict[str, Any] | None:
    """Return accuracy and macro-F1 of each group of cases, None where nobody told who is in which.

    Groups of fewer than :data:`.protocol.SMALLEST_GROUP` cases have their size only. A class that is absent
    from a group counts as 0 in its macro-F1, so groups of another class mix do not compare by it.

    Args:
        cohort: labels and, by kind (``sex``, ``age``), the group of each case.
        labels: (S, N) predictions.
    """
    truth = np.array(cohort.labels)
    return {
        kind: {
            name: _group_scores(truth, labels, np.array([group == name for group in groups]))
            for name in sorted(set(groups) - {""}, key=_GROUPS.index)
        }
        for kind, groups in sorted(cohort.groups.items())
    } or None


def _group_scores(
    truth: NDArray[np.int64], labels: NDArray[np.int64], members: NDArray[np.bool_]
) -> dict[str, Any]:
    n = int(members.sum())
    if n < protocol.SMALLEST_GROUP:
        return {"n": n}
    values = headline(np.array([confusion(truth[members], seed[members]) for seed in labels]))
    accuracy = fmean(values["accuracy"])
    low, high = wilson(accuracy * n, n)
    return {
        "n": n,
        "accuracy": {"value": accuracy, "low": low, "high": high},
        RANK_KEY: fmean(values[RANK_KEY]),
    }


def _warnings(predictions: Predictions, truth: NDArray[np.int64], *, synthetic: bool) -> list[str]:
    warnings = [SYNTHETIC_WARNING] if synthetic else []
    warnings += predictions.notes
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


def _title(content: dict[str, Any]) -> str:
    """Say what was scored, and of what is never ranked that it is not."""
    external, folds = content.get("external"), content.get("folds")
    how = f"by a model trained on {external['trained_on']}" if external else "pooled out-of-fold"
    how += f", FOLDS {', '.join(map(str, folds))} ALONE: NOT RANKABLE" if folds else ""
    return f"{content['benchmark']['cohort']}: {content['n_cases']} cases, {how}"


def _rendered(content: dict[str, Any]) -> list[str]:
    means = content["fold_mean"]
    synthetic = " (SYNTHETIC)" if content["benchmark"]["synthetic"] else ""
    lines = [_title(content) + synthetic, ""]
    head = f"{'metric':<34}{'value':>7}  {'95 % interval':<17}{'fold mean ± sd' if means else ''}"
    lines.append(head.rstrip())
    for name, metric in METRICS.items():
        pooled, spread = content["pooled"][name], ""
        if means:
            sd = means[name]["sd"]
            spread = metric.text(means[name]["mean"]) + (
                "" if sd is None else f" ± {metric.text(sd)}"
            )
        value = metric.text(pooled["value"])
        line = f"{metric.title:<34}{value:>7}  {metric.interval(pooled):<17}{spread}"
        lines.append(line.rstrip())
    lines += ["", f"{'class':<12}{'precision':>10}{'recall':>9}{'F1':>8}{'cases':>8}   confusion"]
    width = max(len(str(n)) for row in content["confusion"] for n in row) + 2
    for name, row in zip(CLASSES, content["confusion"], strict=True):
        scores = content["per_class"][name]
        counts = "".join(f"{count:>{width}}" for count in row)
        lines.append(
            f"{CLASS_TITLES[name]:<12}{scores['precision']:>10.3f}{scores['recall']:>9.3f}"
            f"{scores['f1']:>8.3f}{scores['support']:>8}   {counts}"
        )
    lines += [*_rendered_probabilities(content), *_rendered_subgroups(content["subgroups"])]
    return lines + [f"note: {warning}" for warning in content["warnings"]]


def _rendered_probabilities(content: dict[str, Any]) -> list[str]:
    given, selective = content["probabilistic"], content["selective"]
    if given is None:
        return []
    ranking = given["auroc"].get("macro")
    within = " (mean within folds)" if content["fold_mean"] else ""
    shown = "" if ranking is None else f", AUROC {ranking:.3f}{within}"
    at = ", ".join(f"{v:.3f} at {share} %" for share, v in selective["accuracy_at"].items())
    return [
        "",
        f"probabilities: log-loss {given['log_loss']:.3f}, Brier {given['brier']:.3f}, "
        f"calibration error {given['calibration_error']['macro']:.3f}{shown}",
        f"accuracy on the most certain cases: {at} coverage",
    ]


def _rendered_subgroups(subgroups: dict[str, Any] | None) -> list[str]:
    lines = []
    for kind, groups in (subgroups or {}).items():
        cells = [
            f"{name} {group['accuracy']['value']:.3f} "
            f"[{group['accuracy']['low']:.3f}, {group['accuracy']['high']:.3f}] n={group['n']}"
            if "accuracy" in group
            else f"{name} n={group['n']} (too few)"
            for name, group in groups.items()
        ]
        lines.append(f"accuracy by {kind}: {'; '.join(cells)}")
    return lines
