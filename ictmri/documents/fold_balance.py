"""How even the folds of a cohort are, against random deals that are stratified by class.

For each variable: the largest difference between two folds, and the largest standardised mean difference
(SMD) of a fold against all others. An SMD is a difference of means, or of shares, in standard deviations
of the whole cohort; below 0.1 is commonly called balanced (Austin 2009, doi:10.1002/sim.3697), which folds
of 50 rarely reach by chance. The reference deals each class anew into folds of the sizes that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from ictmri.documents.table_one import Person, Table

N_DRAWS: Final = 1000
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evenness:
    """How even one variable is over the folds.

    Attributes:
        variable: its name.
        unit: unit of the difference: percentage points, or years.
        difference: largest difference between two folds, of a share or a mean.
        smd: largest SMD of a fold against the others.
        typical_smd: median of the largest SMD over random stratified deals.
        high_smd: 95th percentile of the same.
        more_even: share of the random deals that are less even than these folds, ties half.
    """

    variable: str
    unit: str
    difference: float
    smd: float
    typical_smd: float
    high_smd: float
    more_even: float


def evenness(people: Sequence[Person], seed: int, n_draws: int = N_DRAWS) -> list[Evenness]:
    """Return how even class, subtype, sex and age are; what does not vary is left out.

    Args:
        people: the cohort.
        seed: seed of the random deals; the same seed gives the same numbers.
        n_draws: number of random deals.
    """
    columns = _variables(people)
    if not columns:
        return []
    starts = np.cumsum([0, *(values.shape[1] for _, _, values in columns)])[:-1]
    measure = _measure(np.hstack([values for _, _, values in columns]))
    folds = np.array([p.fold for p in people], np.int64)
    deals = chain([folds], _dealt(people, seed, n_draws))
    found = np.array(
        [[np.maximum.reduceat(row, starts) for row in measure(deal)] for deal in deals]
    )
    return [
        _compared(variable, unit, found[:, :, index])
        for index, (variable, unit, _) in enumerate(columns)
    ]


def _compared(variable: str, unit: str, found: Floats) -> Evenness:
    """Compare the folds, first of the (deals, 2) differences and SMDs, with the random deals after them."""
    (difference, smd), drawn = found[0], found[1:, 1]
    more_even = (drawn > smd + 1e-9).mean() + (np.abs(drawn - smd) <= 1e-9).mean() / 2
    return Evenness(
        variable,
        unit,
        float(difference * (100.0 if unit == "points" else 1.0)),
        float(smd),
        float(np.median(drawn)),
        float(np.percentile(drawn, 95)),
        float(more_even),
    )


def random_deals(people: Sequence[Person], seed: int, n_draws: int) -> list[Ints]:
    """Return fold numbers of every case, dealt anew at random inside each class."""
    return list(_dealt(people, seed, n_draws))


def _dealt(people: Sequence[Person], seed: int, n_draws: int) -> Iterator[Ints]:
    rng = np.random.Generator(np.random.PCG64(seed))
    folds = np.array([p.fold for p in people], np.int64)
    labels = np.array([p.label for p in people])
    members = [np.flatnonzero(labels == label) for label in sorted(set(labels))]
    for _ in range(n_draws):
        deal = folds.copy()
        for where in members:
            deal[where] = rng.permutation(folds[where])
        yield deal


def unevenness(values: Floats, folds: Ints) -> tuple[float, float]:
    """Return the largest difference between two folds and the largest SMD of a fold against the rest.

    Args:
        values: (cases, levels), NaN where unknown; a share is the mean of zeros and ones.
        folds: (cases,) fold numbers.
    """
    differences, smds = _measure(values)(folds)
    return float(differences.max()), float(smds.max())


def _measure(values: Floats) -> Callable[[Ints], tuple[Floats, Floats]]:
    """Return a function that gives, for each level, the largest difference and the largest SMD."""
    known = np.isfinite(values).astype(float)
    filled = np.where(known > 0, values, 0.0)
    spread = np.nanstd(values, axis=0)

    def of(folds: Ints) -> tuple[Floats, Floats]:
        member = (folds == np.arange(folds.max() + 1)[:, None]).astype(float)
        counts, sums = member @ known, member @ filled
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / counts
            rest = (sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts)
            smds = np.nan_to_num(np.abs(means - rest) / spread, posinf=0.0)
        present = counts > 0
        highest = np.where(present, means, -np.inf).max(axis=0)
        lowest = np.where(present, means, np.inf).min(axis=0)
        return highest - lowest, smds.max(axis=0)

    return of


def _variables(people: Sequence[Person]) -> list[tuple[str, str, Floats]]:
    """Return the variables that differ between cases: name, unit, values."""
    columns = (
        ("class", "points", _levels([p.label for p in people])),
        ("subtype", "points", _levels([p.subtype for p in people])),
        ("sex", "points", _levels([p.sex for p in people])),
        ("age", "years", np.array([[p.age] for p in people])),
    )
    return [column for column in columns if _varies(column[2])]


def _varies(values: Floats) -> bool:
    known = values[np.isfinite(values).all(axis=1)]
    return len(known) > 1 and bool((known != known[0]).any())


def _levels(values: Sequence[str]) -> Floats:
    """Return (cases, levels) of zeros and ones, NaN where the value is empty."""
    names = sorted(set(values) - {""}) or [""]
    table = np.array([[float(value == name) for name in names] for value in values])
    table[[not value for value in values]] = np.nan
    return table


def evenness_table(rows: Sequence[Evenness]) -> Table:
    """Return the statement as a table."""
    head = (
        "Variable",
        "Largest difference between two folds",
        "Largest SMD of a fold against the rest",
        "Random deals: median (95th percentile)",
        "More even than",
    )
    return Table(head, tuple(_row(row) for row in rows))


def _row(row: Evenness) -> tuple[str, ...]:
    unit = "percentage points" if row.unit == "points" else row.unit
    fixed = row.variable == "class"
    return (
        row.variable,
        f"{row.difference:.1f} {unit}",
        f"{row.smd:.2f}",
        "the same: stratified" if fixed else f"{row.typical_smd:.2f} ({row.high_smd:.2f})",
        "-" if fixed else f"{row.more_even:.0%} of them",
    )
