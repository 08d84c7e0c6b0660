"""Who is in a cohort, as tables that may be published: Table 1, subtypes, folds.

Counts of 1 or 2 patients that say something about sex, age or subtype are not shown, see
:mod:`ictmri.documents.suppression`. Ages appear as means, quartiles and bands, never as the age of a
person.

People are a frame of one row a case, in the order of the folds: ``case_id``, ``patient_id``, ``label``
(class name), ``fold``, ``subtype``, ``sex`` and ``age`` (years); what is unknown is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from ictmri.classes import CLASS_TITLES, CLASSES, SEXES
from ictmri.documents.public_table import age_band, joint_band
from ictmri.documents.suppression import HIDDEN, SMALL, K, suppressed
from ictmri.folds import read_folds
from ictmri.io.tables import Table
from ictmri.manifest import Manifest

MIN_FOR_MEAN: Final = 5
MIN_FOR_QUARTILES: Final = 10
AGE_BANDS: Final = ("<20", "20-39", "40-59", ">=60")
_AGE_EDGES: Final = (0.0, 20.0, 40.0, 60.0, float("inf"))
"""Unions of the five-year bands of the public table, so that the two cannot be subtracted."""
NOTE: Final = (
    f"`{SMALL}`: 1 or 2 patients. `{HIDDEN}`: not shown, since a hidden count could be worked out "
    f"from it. Means are given from {MIN_FOR_MEAN} known ages on, medians and quartiles from "
    f"{MIN_FOR_QUARTILES} on."
)
UNKNOWN: Final = "unknown"
_NONE: Final = "-"


def read_people(root: Path, manifest: Manifest) -> pd.DataFrame:
    """Return the people of a cohort folder, without reading a volume."""
    import pyarrow.parquet as pq

    columns = ["case_id", "subtype", "sex", "age"]
    files = sorted((root / "data" / "default").glob("*.parquet"))
    known = pd.concat(
        pq.read_table(path, columns=columns, partitioning=None).to_pandas() for path in files
    )
    known["sex"] = known["sex"].map(dict(enumerate(SEXES)))
    known["subtype"] = known["subtype"].replace("", None)
    known["age"] = known["age"].astype(float)
    folds = pd.DataFrame(list(read_folds(root / "folds.csv", manifest.name).rows))
    return folds.merge(known, on="case_id", how="left")


def table_one(people: pd.DataFrame) -> Table:
    """Return the demographic table: a column a class and one for all."""
    groups = [people[people["label"] == name] for name in CLASSES] + [people]
    ages = [group["age"].dropna() for group in groups]
    known = [(len(a), len(group) - len(a)) for a, group in zip(ages, groups, strict=True)]
    rows = [
        ("Patients", *(str(len(group)) for group in groups)),
        *_counted("Sex", people["sex"], people["label"], SEXES),
        ("Age known", *(HIDDEN if _is_small(*pair) else str(pair[0]) for pair in known)),
        ("Age, mean (sd), years", *map(mean_text, ages)),
        ("Age, median [quartiles], years", *map(_quartiles, ages)),
        ("Age, youngest three to oldest three", *map(_range, ages)),
        *_counted("Age", _bands(people["age"]), people["label"], AGE_BANDS),
    ]
    return Table(("", *CLASS_TITLES.values(), "All"), tuple(rows))


def subtype_table(people: pd.DataFrame) -> Table:
    """Return the subtypes by class, a row each; no row for a class of which no subtype is known."""
    rows: list[tuple[str, ...]] = []
    for name, title in CLASS_TITLES.items():
        subtypes = people.loc[people["label"] == name, "subtype"]
        counts = subtypes.value_counts().sort_index()
        if counts.empty:
            continue
        if subtypes.isna().any():
            counts[UNKNOWN] = subtypes.isna().sum()
        (shown,) = suppressed(counts.to_numpy().astype(np.int64)[None], columns=False)
        rows += [(title, *pair) for pair in zip(counts.index, shown, strict=True)]
    return Table(("Class", "Subtype", "Patients"), tuple(rows), names=2)


def fold_table(people: pd.DataFrame) -> Table:
    """Return how many cases of each class are tested in each fold; public with ``folds.csv``."""
    folds = range(1 + people["fold"].max())
    counts = pd.crosstab(people["label"], people["fold"])
    counts = counts.reindex(index=CLASSES, columns=folds, fill_value=0)
    rows = [
        (title, *map(str, counts.loc[name]), str(counts.loc[name].sum()))
        for name, title in CLASS_TITLES.items()
    ]
    return Table(("class", *(f"fold {fold}" for fold in folds), "all"), tuple(rows))


def fold_detail(people: pd.DataFrame) -> Table:
    """Return fold x class x sex x age: a row for each class in each fold."""
    sexes = [*SEXES, UNKNOWN]
    folds = range(1 + people["fold"].max())
    hidden = _classes_with_hidden_sex(people)
    rows = []
    for name, title in CLASS_TITLES.items():
        group = people[people["label"] == name]
        counts = pd.crosstab(group["fold"], group["sex"].fillna(UNKNOWN))
        counts = counts.reindex(index=folds, columns=sexes, fill_value=0)
        for fold, cells in enumerate(suppressed(counts.to_numpy())):
            in_fold = group[group["fold"] == fold]
            shown = [HIDDEN] * len(sexes) if name in hidden else cells
            mean = mean_text(in_fold["age"].dropna())
            rows.append((f"{title}, fold {fold}", str(len(in_fold)), *shown, mean))
    head = ("Class, fold", "Patients", *(s.capitalize() for s in sexes), "Age, mean (sd), years")
    return Table(head, tuple(rows))


def _counted(
    title: str, values: pd.Series[str], labels: pd.Series[str], levels: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return a row for each level with the counts by class and for all; unknown where there is one."""
    shown_levels = [*levels, UNKNOWN] if values.isna().any() else [*levels]
    table = pd.crosstab(values.fillna(UNKNOWN), labels)
    counts = table.reindex(index=shown_levels, columns=CLASSES, fill_value=0).to_numpy()
    totals = [SMALL if _is_small(total) else str(total) for total in counts.sum(axis=1).tolist()]
    return [
        (f"{title}: {level}", *cells, total)
        for level, cells, total in zip(shown_levels, suppressed(counts), totals, strict=True)
    ]


def _bands(ages: pd.Series[float]) -> pd.Series[str]:
    bands = pd.cut(ages, _AGE_EDGES, right=False, labels=AGE_BANDS)
    return bands.astype(object)


def _classes_with_hidden_sex(people: pd.DataFrame) -> set[str]:
    """Classes whose counts by sex are hidden in Table 1, and must not return as sums over folds."""
    rows = _counted("", people["sex"], people["label"], SEXES)
    by_class = zip(CLASSES, zip(*(row[1:-1] for row in rows), strict=True), strict=True)
    return {name for name, cells in by_class if {SMALL, HIDDEN} & {*cells}}


def _is_small(*counts: int) -> bool:
    return any(0 < count < K for count in counts)


def mean_text(ages: pd.Series[float]) -> str:
    """Return mean and sd (ddof 1) of known ages, ``-`` for fewer than five."""
    return f"{ages.mean():.1f} ({ages.std():.1f})" if len(ages) >= MIN_FOR_MEAN else _NONE


def _quartiles(ages: pd.Series[float]) -> str:
    if len(ages) < MIN_FOR_QUARTILES:
        return _NONE
    low, middle, high = ages.quantile([0.25, 0.5, 0.75])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def _range(ages: pd.Series[float]) -> str:
    """Return the bands of the three youngest and of the three oldest, so that nobody stands alone."""
    if len(ages) < MIN_FOR_MEAN:
        return _NONE
    bands = [age_band(age) for age in sorted(ages)]
    return f"{joint_band(bands[0], bands[K - 1])} to {joint_band(bands[-K], bands[-1])}"
