"""Who is in a cohort, as tables that may be published: Table 1, subtypes, folds, acquisition.

Counts of 1 or 2 patients that say something about sex, age or subtype are not shown, see
:mod:`ictmri.documents.suppression`. Ages appear as means, quartiles and bands, never as the age of a
person.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ictmri.classes import CLASS_TITLES, CLASSES, SEXES
from ictmri.documents.suppression import HIDDEN, SMALL, K, suppressed
from ictmri.folds import FoldRow, read_folds
from ictmri.manifest import Manifest

MIN_FOR_MEAN: Final = 5
MIN_FOR_QUARTILES: Final = 10
AGE_BANDS: Final = (("<20", 0.0, 20.0), ("20-39", 20.0, 40.0), ("40-59", 40.0, 60.0))
OLDEST_BAND: Final = (">=60", 60.0, float("inf"))
"""Unions of the five-year bands of the public table, so that the two cannot be subtracted."""
NOTE: Final = (
    f"`{SMALL}`: 1 or 2 patients. `{HIDDEN}`: not shown, since a hidden count could be worked out "
    f"from it. Means are given from {MIN_FOR_MEAN} known ages on, medians and quartiles from "
    f"{MIN_FOR_QUARTILES} on."
)
ACQUISITION: Final = "acquisition.csv"
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_UNKNOWN: Final = "unknown"
_NONE: Final = "-"


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a case besides its volume; sex and subtype may be empty, age NaN."""

    case_id: str
    label: str
    subtype: str
    sex: str
    age: float
    fold: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; its first columns hold names, the others numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1

    def markdown(self) -> str:
        """Return the table in Markdown."""
        numbers = len(self.head) - self.names
        lines = [self.head, ("---",) * self.names + ("---:",) * numbers, *self.rows]
        return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Return a text on one line, fit for a cell of a Markdown table: no markup, no column end."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return _TAG.sub("&lt;", plain)


def read_people(root: Path, manifest: Manifest) -> list[Person]:
    """Return the people of a cohort folder in the order of its folds, without reading a volume."""
    import pyarrow.parquet as pq

    columns = ["case_id", "subtype", "sex", "age"]
    known = {
        row["case_id"]: row
        for path in sorted((root / "data" / "default").glob("*.parquet"))
        for row in pq.read_table(path, columns=columns, partitioning=None).to_pylist()
    }
    return [
        _person(row, known[row.case_id])
        for row in read_folds(root / "folds.csv", manifest.name).rows
    ]


def _person(row: FoldRow, known: Mapping[str, Any]) -> Person:
    return Person(
        row.case_id,
        row.label,
        known["subtype"] or "",
        "" if known["sex"] is None else SEXES[known["sex"]],
        float("nan") if known["age"] is None else float(known["age"]),
        row.fold,
    )


def table_one(people: Sequence[Person]) -> Table:
    """Return the demographic table: a column a class and one for all."""
    groups = [[p for p in people if p.label == name] for name in CLASSES] + [list(people)]
    rows = [("Patients", *(str(len(group)) for group in groups))]
    rows += _counted("Sex", [_by_sex(group) for group in groups])
    rows.append(("Age known", *(_shown_known(group) for group in groups)))
    rows.append(("Age, mean (sd), years", *(mean_text(group) for group in groups)))
    rows.append(("Age, median [quartiles], years", *(_quartiles(group) for group in groups)))
    rows.append(("Age, youngest three to oldest three", *(_range(group) for group in groups)))
    rows += _counted("Age", [_by_band(group) for group in groups])
    return Table(("", *(CLASS_TITLES[name] for name in CLASSES), "All"), tuple(rows))


def subtype_table(people: Sequence[Person]) -> Table:
    """Return the subtypes by class, a row each; no row where no subtype is known."""
    rows = []
    for name in CLASSES:
        counts = Counter(p.subtype or _UNKNOWN for p in people if p.label == name)
        ordered = sorted(counts, key=lambda subtype: (subtype == _UNKNOWN, subtype))
        shown = suppressed(np.array([[counts[subtype] for subtype in ordered]], int), columns=False)
        if set(counts) - {_UNKNOWN}:
            rows += [
                (CLASS_TITLES[name], subtype, text)
                for subtype, text in zip(ordered, shown[0], strict=True)
            ]
    return Table(("Class", "Subtype", "Patients"), tuple(rows), names=2)


def fold_table(people: Sequence[Person]) -> Table:
    """Return how many cases of each class are tested in each fold; public with ``folds.csv``."""
    n_folds = _n_folds(people)
    counts = Counter((p.label, p.fold) for p in people)
    rows = [
        (
            CLASS_TITLES[name],
            *(str(counts[name, fold]) for fold in range(n_folds)),
            str(sum(counts[name, fold] for fold in range(n_folds))),
        )
        for name in CLASSES
    ]
    return Table(("class", *(f"fold {fold}" for fold in range(n_folds)), "all"), tuple(rows))


def fold_detail(people: Sequence[Person]) -> Table:
    """Return fold x class x sex x age: a row for each class in each fold."""
    hidden = _classes_with_hidden_sex(people)
    sexes = [*SEXES, _UNKNOWN]
    rows = []
    for name in CLASSES:
        groups = [
            [p for p in people if p.label == name and p.fold == fold]
            for fold in range(_n_folds(people))
        ]
        counts = np.array([[_by_sex(group)[sex] for sex in sexes] for group in groups], int)
        shown = suppressed(counts)
        for fold, (group, cells) in enumerate(zip(groups, shown, strict=True)):
            sex_cells = [HIDDEN] * len(sexes) if name in hidden else cells
            rows.append(
                (
                    f"{CLASS_TITLES[name]}, fold {fold}",
                    str(len(group)),
                    *sex_cells,
                    mean_text(group),
                )
            )
    head = ("Class, fold", "Patients", *(s.capitalize() for s in sexes), "Age, mean (sd), years")
    return Table(head, tuple(rows))


def _counted(title: str, groups: Sequence[Mapping[str, int]]) -> list[tuple[str, ...]]:
    """Return a row for each level with the counts by class and for all."""
    levels = [level for level in groups[0] if level != _UNKNOWN or any(g[level] for g in groups)]
    counts = np.array([[group[level] for group in groups[:-1]] for level in levels], int)
    shown = suppressed(counts)
    totals = counts.sum(axis=1)
    return [
        (f"{title}: {level}", *shown[i], SMALL if 0 < totals[i] < K else str(totals[i]))
        for i, level in enumerate(levels)
    ]


def _by_sex(people: Iterable[Person]) -> dict[str, int]:
    counts = Counter(p.sex or _UNKNOWN for p in people)
    return {sex: counts[sex] for sex in (*SEXES, _UNKNOWN)}


def _by_band(people: Iterable[Person]) -> dict[str, int]:
    counts = Counter(_band(p.age) for p in people)
    return {name: counts[name] for name in (*(b[0] for b in (*AGE_BANDS, OLDEST_BAND)), _UNKNOWN)}


def _band(age: float) -> str:
    return next(
        (name for name, low, high in (*AGE_BANDS, OLDEST_BAND) if low <= age < high), _UNKNOWN
    )


def _classes_with_hidden_sex(people: Sequence[Person]) -> set[str]:
    """Classes whose counts by sex are hidden in Table 1, and must not return as sums over folds."""
    groups = [[p for p in people if p.label == name] for name in CLASSES] + [list(people)]
    rows = _counted("", [_by_sex(group) for group in groups])
    return {
        name
        for index, name in enumerate(CLASSES, start=1)
        if any(row[index] in (SMALL, HIDDEN) for row in rows)
    }


def _ages(people: Iterable[Person]) -> npt.NDArray[np.float64]:
    return np.array([p.age for p in people if np.isfinite(p.age)], np.float64)


def mean_text(people: Iterable[Person]) -> str:
    """Return mean and sd (ddof 1) of the known ages, ``-`` for fewer than five."""
    ages = _ages(people)
    return f"{ages.mean():.1f} ({ages.std(ddof=1):.1f})" if len(ages) >= MIN_FOR_MEAN else _NONE


def _quartiles(people: Iterable[Person]) -> str:
    ages = _ages(people)
    if len(ages) < MIN_FOR_QUARTILES:
        return _NONE
    low, middle, high = np.percentile(ages, [25, 50, 75])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def _range(people: Iterable[Person]) -> str:
    """Return the bands of the three youngest and of the three oldest, so that nobody stands alone."""
    ages = np.sort(_ages(people))
    if len(ages) < MIN_FOR_MEAN:
        return _NONE
    return f"{_span(ages[0], ages[K - 1])} to {_span(ages[-K], ages[-1])}"


def _span(young: float, old: float) -> str:
    """Return the five-year bands of two ages as one."""
    from ictmri.documents.public_table import age_band

    first, last = age_band(float(young)), age_band(float(old))
    if first == last:
        return first
    if first.startswith("<"):
        return "any" if last.startswith(">") else f"<{int(last.split('-')[-1]) + 1}"
    low = first.split("-", maxsplit=1)[0]
    return f">={low}" if last.startswith(">") else f"{low}-{last.split('-')[-1]}"


def _shown_known(people: Sequence[Person]) -> str:
    known, unknown = len(_ages(people)), len(people) - len(_ages(people))
    return HIDDEN if 0 < known < K or 0 < unknown < K else str(known)


def _n_folds(people: Sequence[Person]) -> int:
    return 1 + max(p.fold for p in people)


def acquisition_facts(root: Path) -> dict[str, tuple[str, str]]:
    """Return what ``acquisition.csv`` tells, question id -> (answer, source); empty without it."""
    path = root / ACQUISITION
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    told = {
        "scanners": _named(rows, "vendor", ""),
        "field_strength": _named(rows, "field_strength_t", " T"),
        "sequence": "; ".join(filter(None, (_named(rows, "acquisition", ""), _timings(rows)))),
        "voxel_size": _spread(rows, "slice_thickness_mm", "slice thickness", "mm"),
    }
    source = f"computed from {ACQUISITION}"
    return {key: (text, source) for key, text in told.items() if text}


def _timings(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = (
        ("repetition_time_ms", "TR", "ms"),
        ("echo_time_ms", "TE", "ms"),
        ("inversion_time_ms", "TI", "ms"),
        ("flip_angle_deg", "flip angle", "degrees"),
    )
    return "; ".join(text for column in columns if (text := _spread(rows, *column)))


def _named(rows: Sequence[Mapping[str, Any]], column: str, unit: str) -> str:
    """Return how often each value of a column occurs, the most frequent first."""
    counts = Counter(row.get(column) or _UNKNOWN for row in rows)
    names = sorted(counts, key=lambda name: (name == _UNKNOWN, -counts[name], name))
    if names in ([], [_UNKNOWN]):
        return ""
    return ", ".join(
        f"{name}{unit if name != _UNKNOWN else ''}: {SMALL if counts[name] < K else counts[name]}"
        for name in names
    )


def _spread(rows: Sequence[Mapping[str, Any]], column: str, title: str, unit: str) -> str:
    """Return median and range of a column's numbers and for how many cases they are known."""
    values = [float(row[column]) for row in rows if row.get(column)]
    if not values:
        return ""
    known = "" if len(values) == len(rows) else f", known for {len(values)} of {len(rows)}"
    return f"{title} {np.median(values):.4g} {unit} (from {min(values):.4g} to {max(values):.4g}{known})"
