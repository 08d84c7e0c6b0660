"""Does something other than the voxels tell the class?

Two classifiers see only what can be known without a look at the voxels (header, sizes, order, acquisition),
are cross-validated on the cohort's own folds, and are compared with themselves on permuted labels; each
feature is tested on its own, too. Labels are permuted within folds, so that the folds stay stratified.
Because there are several tests, the p-value of the whole is that of the largest deviation among them
(Westfall and Young's maxT, on the same permutations). What is found is not always a fault of the data:
children have smaller heads, and smaller heads compress to smaller files.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ictmri.classes import CLASSES, label_of
from ictmri.cohort import Cohort, read_acquisition
from ictmri.errors import InputError
from ictmri.extras import need
from ictmri.io.parallel import run_all

_HEADER_BYTES: Final = 348
_GZIP_HEAD: Final = 10
_NUMBER: Final = re.compile(r"\d+")
Value = float | str
SCHEMA: Final = "ictmri/leakage/1"
N_PERMUTATIONS: Final = 200
LEVEL: Final = 0.01
"""p-value from which a report calls a cohort suspicious."""
N_TREES: Final = 15
MODELS: Final = ("random forest", "logistic regression")
_AT_ONCE: Final = 10
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HeaderFeatures:
    """A table of n cases and f features that vary.

    Attributes:
        case_ids: n case ids, in the order of the data files.
        names: f names, ``group.feature``; the groups are order, id, size, gzip, header, acquisition.
        values: (n, f) float64; words and free text as numbers of their place in the alphabet.
        labels: (n,) int64.
        folds: (n,) int64.
    """

    case_ids: list[str]
    names: list[str]
    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


def header_features(cohort: Cohort) -> HeaderFeatures:
    """Return all that is known of the cases of a cohort besides voxels, sex, age and subtype.

    Volumes pass one at a time; of each only its length and its first bytes are kept.
    """
    table = {row.case_id: row for row in cohort.folds().rows}
    acquisition = read_acquisition(cohort.root)
    rows: list[dict[str, Value]] = []
    case_ids: list[str] = []
    for row in cohort.rows("default", ["case_id", "patient_id", "image", "fold"]):
        case_ids.append(row["case_id"])
        cells = acquisition.get(row["case_id"], {})
        place = len(rows)  # in file order
        rows.append(
            dict(_of_row(row, place))
            | {f"acquisition.{name}": cell for name, cell in cells.items()}
        )
    names, values = _as_numbers(rows)
    return HeaderFeatures(
        case_ids,
        names,
        values,
        np.array([label_of(table[case_id].label) for case_id in case_ids], np.int64),
        np.array([table[case_id].fold for case_id in case_ids], np.int64),
    )


def _of_row(row: dict[str, Any], place: int) -> Iterator[tuple[str, Value]]:
    content: bytes = row["image"]["bytes"]
    yield "order.place", float(place)
    for column in ("case_id", "patient_id"):
        numbers = _NUMBER.findall(row[column])
        yield f"id.{column}", float(numbers[-1]) if numbers else row[column]
    yield "id.file_name", row["image"]["path"].replace(row["case_id"], "")
    yield "size.stored_bytes", float(len(content))
    yield "gzip.head", content[:_GZIP_HEAD].hex()
    head = zlib.decompressobj(wbits=31).decompress(content, _HEADER_BYTES)
    voxels = 1.0
    for name, value in _header(head):
        yield name, value
        if re.fullmatch(r"header\.dim\[[1-3]\]", name) and isinstance(value, float):
            voxels *= value
    yield "size.bytes_a_voxel", len(content) / voxels


def _header(head: bytes) -> Iterator[tuple[str, Value]]:
    import nibabel as nib

    header = nib.Nifti1Header.from_fileobj(io.BytesIO(head), check=False)
    for field in header:
        value = np.atleast_1d(header[field])
        for index, item in enumerate(value.ravel()):
            name = f"header.{field}" if value.size == 1 else f"header.{field}[{index}]"
            yield name, item.hex() if isinstance(item, bytes) else float(item)


def _as_numbers(rows: list[dict[str, Value]]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the features that vary, each once, as columns of numbers."""
    columns: dict[bytes, tuple[str, NDArray[np.float64]]] = {}
    for name in {name: None for row in rows for name in row}:
        column = _column([row.get(name, "") for row in rows])
        if (column != column[0]).any():
            columns.setdefault(np.unique(column, return_inverse=True)[1].tobytes(), (name, column))
    names = [name for name, _ in columns.values()]
    kept = [column for _, column in columns.values()]
    return names, np.column_stack(kept) if kept else np.zeros((len(rows), 0))


def _column(cells: list[Value]) -> NDArray[np.float64]:
    """Return numbers as they are, what is missing below them all, words by their place in order."""
    try:
        numbers = np.array([np.nan if cell == "" else float(cell) for cell in cells])
    except ValueError:
        return np.unique(np.array(cells, dtype=str), return_inverse=True)[1].astype(np.float64)
    known = numbers[np.isfinite(numbers)]
    return np.where(np.isfinite(numbers), numbers, known.min() - 1 if known.size else 0.0)


def leakage_report(
    cohort: Cohort,
    *,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Test whether headers, sizes, ids, order or acquisition tell the class, see :func:`leakage_of`."""
    return {"cohort": cohort.name} | leakage_of(
        header_features(cohort), n_permutations=n_permutations, seed=seed, jobs=jobs
    )


def render_leakage(report: dict[str, Any]) -> str:
    """Return a report as lines for the terminal; it is a question, not a verdict."""
    verdict = (
        "the class can be told without the voxels: look at what is below"
        if report["suspicious"]
        else "nothing tells the class without the voxels"
    )
    lines = [
        f"leakage: {verdict} (p = {report['p_value']:.3f}, {report['n_features']} features, "
        f"{report['n_permutations']} permutations)"
    ]
    lines += [
        f"  {name}: macro-F1 {found['macro_f1']:.3f}, by chance {found['chance']['median']:.3f} "
        f"(99 % below {found['chance']['p99']:.3f})"
        for name, found in report["models"].items()
    ]
    lines += [f"  {found['name']}: p = {found['p_value']:.3f}" for found in report["features"]]
    return "\n".join(lines)


def leakage_of(
    features: HeaderFeatures,
    *,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Test whether features tell the class.

    Args:
        features: what the classifiers see.
        n_permutations: permutations of the labels; 100 at least for a level of 1 %.
        seed: of the permutations and of the forest.
        jobs: worker processes; all usable cores where None.

    Returns:
        ``p_value`` of the whole and ``suspicious`` (it is at most :data:`LEVEL`); ``models`` with macro-F1,
        its chance distribution and p-value; ``features``, those with a p-value (corrected for their
        number) of at most :data:`LEVEL`, strongest first.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        InputError: a fold has training cases of one class only.
    """
    need("baselines", "Testing for leakage", "sklearn")
    _refuse_one_class(features)
    if not features.names:
        return _report(features, np.zeros((1 + n_permutations, len(MODELS))), None)
    labels = _permuted(features, n_permutations, seed)
    blocks = [labels[start : start + _AT_ONCE] for start in range(0, len(labels), _AT_ONCE)]
    scores = run_all(
        partial(_scores, features, seed),
        blocks,
        total=len(blocks),
        title="leakage",
        unit="block",
        jobs=jobs,
    )
    return _report(features, np.concatenate(scores), between_classes(features.values, labels))


def _refuse_one_class(features: HeaderFeatures) -> None:
    alone = [
        f"fold {fold}: all training cases are of one class"
        for fold in np.unique(features.folds)
        if len(np.unique(features.labels[features.folds != fold])) < 2
    ]
    if alone:
        raise InputError("leakage", alone, "ask this of a cohort with more cases of each class")


def _permuted(features: HeaderFeatures, n: int, seed: int) -> Ints:
    """Return (1 + n, cases) labels: as they are, then permuted within folds."""
    rng = np.random.default_rng(seed)
    labels = np.tile(features.labels, (1 + n, 1))
    for fold in np.unique(features.folds):
        places = np.flatnonzero(features.folds == fold)
        labels[1:, places] = rng.permuted(labels[1:, places], axis=1)
    return labels


def _scores(features: HeaderFeatures, seed: int, block: Ints) -> Floats:
    """Return (block, models) macro-F1 of the predictions out of fold."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.preprocessing import StandardScaler

    forest = RandomForestClassifier(
        N_TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed
    )
    logistic = LogisticRegression(C=0.1, class_weight="balanced")
    scaled = StandardScaler().fit_transform(features.values)
    folds = PredefinedSplit(features.folds)
    return np.array(
        [
            [
                macro_f1(labels, cross_val_predict(model, values, labels, cv=folds))
                for model, values in ((forest, features.values), (logistic, scaled))
            ]
            for labels in block
        ]
    )


def macro_f1(truth: Ints, predicted: Ints) -> float:
    """Return the mean of the classes' F1, 0 for a class that is neither there nor predicted."""
    from sklearn.metrics import f1_score

    every = range(len(CLASSES))
    return float(f1_score(truth, predicted, labels=every, average="macro", zero_division=0))


def between_classes(values: Floats, labels: Ints) -> Floats:
    """Return (permutations, features): Kruskal and Wallis' spread of mean ranks between classes.

    One matrix product a class does what ``scipy.stats.kruskal`` would be called for tens of thousands of
    times.

    Args:
        values: (cases, features).
        labels: (permutations, cases).
    """
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    ranks = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    spread = np.zeros((len(labels), ranks.shape[1]))
    for label in range(len(CLASSES)):
        member = (labels == label).astype(np.float64)
        size = np.maximum(member.sum(axis=1, keepdims=True), 1.0)
        spread += (member @ ranks) ** 2 / size
    return spread


def _report(features: HeaderFeatures, scores: Floats, between: Floats | None) -> dict[str, Any]:
    tests = scores
    if between is not None:
        # The cube root of a chi-squared is about normal (Wilson and Hilferty 1931): comparable deviations.
        tests = np.column_stack([scores, np.cbrt(between.max(axis=1))])
    whole = _p_value(_standardised(tests).max(axis=1))
    return {
        "schema": SCHEMA,
        "n_cases": len(features.case_ids),
        "n_features": len(features.names),
        "n_permutations": len(scores) - 1,
        "p_value": whole,
        "suspicious": whole <= LEVEL,
        "models": {name: _against_chance(scores[:, i]) for i, name in enumerate(MODELS)},
        "features": [] if between is None else _suspects(features.names, between),
    }


def _standardised(tests: Floats) -> Floats:
    spread = tests.std(axis=0)
    z: Floats = (tests - tests.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return z


def _against_chance(scores: Floats) -> dict[str, Any]:
    chance = np.quantile(scores[1:], [0.5, 0.95, 0.99])
    return {
        "macro_f1": round(float(scores[0]), 4),
        "chance": {
            name: round(float(value), 4)
            for name, value in zip(("median", "p95", "p99"), chance, strict=True)
        },
        "p_value": _p_value(scores),
    }


def _suspects(names: list[str], between: Floats) -> list[dict[str, Any]]:
    largest = between.max(axis=1)
    found = []
    for place in np.argsort(-between[0], kind="stable"):
        p_value = _p_value(np.append(between[0, place], largest[1:]))
        if p_value <= LEVEL:
            found.append({"name": names[place], "p_value": p_value})
    return found


def _p_value(values: Floats) -> float:
    """Return the share of all values, the first included, that reach the first."""
    return round(float(np.mean(values >= values[0] - 1e-12)), 4)
