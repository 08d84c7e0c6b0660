"""How even the folds of a cohort are, against random deals that are stratified by class.

For each variable: the largest difference between two folds, and the largest standardised mean difference
(SMD) of a fold against all others. An SMD is a difference of means, or of shares, in standard deviations
of the whole cohort; below 0.1 is commonly called balanced (Austin 2009, doi:10.1002/sim.3697), which folds
of 50 rarely reach by chance. The reference deals each class anew into folds of the sizes that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictmri.io.tables import Table

N_DRAWS: Final = 1000
_SAME: Final = 1e-9
"""Two SMDs of the same shares may differ by rounding: they are a tie."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldBalance:
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


def fold_balance(people: pd.DataFrame, seed: int, n_draws: int = N_DRAWS) -> list[FoldBalance]:
    """Return how even class, subtype, sex and age are; what does not vary is left out.

    Args:
        people: the cohort, see :mod:`ictmri.documents.table_one`.
        seed: seed of the random deals; the same seed gives the same numbers.
        n_draws: number of random deals.
    """
    variables = {name: values for name, values in _variables(people) if _varies(values)}
    if not variables:
        return []
    starts = np.cumsum([0, *(values.shape[1] for values in variables.values())])[:-1]
    measure = _measure(np.hstack(list(variables.values())))
    deals = chain([people["fold"].to_numpy()], random_deals(people, seed, n_draws))
    found = np.array(
        [[np.maximum.reduceat(row, starts) for row in measure(deal)] for deal in deals]
    )
    return [_compared(name, found[:, :, index]) for index, name in enumerate(variables)]


def _compared(variable: str, found: Floats) -> FoldBalance:
    """Compare the folds with the random deals.

    Args:
        variable: its name.
        found: (1 + deals, 2) largest differences and SMDs, those of the folds themselves first.
    """
    (difference, smd), drawn = found[0].tolist(), found[1:, 1]
    more_even = (drawn > smd + _SAME).mean() + (np.abs(drawn - smd) <= _SAME).mean() / 2
    unit, factor = ("years", 1.0) if variable == "age" else ("percentage points", 100.0)
    typical, high = np.percentile(drawn, [50, 95]).tolist()
    return FoldBalance(variable, unit, difference * factor, smd, typical, high, float(more_even))


def random_deals(people: pd.DataFrame, seed: int, n_draws: int) -> Iterator[Ints]:
    """Yield fold numbers of every case, (cases,), dealt anew at random inside each class."""
    rng = np.random.Generator(np.random.PCG64(seed))
    folds, labels = people["fold"].to_numpy(), people["label"].to_numpy()
    members = [np.flatnonzero(labels == label) for label in sorted(set(labels))]
    for _ in range(n_draws):
        deal = folds.copy()
        for where in members:
            deal[where] = rng.permutation(folds[where])
        yield deal


def _measure(values: Floats) -> Callable[[Ints], tuple[Floats, Floats]]:
    """Return a function that gives, for each level, the largest difference and the largest SMD.

    Args:
        values: (cases, levels), NaN where unknown; a share is the mean of zeros and ones. Folds are given
            to the function as numbers, (cases,).
    """
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


def _variables(people: pd.DataFrame) -> Iterator[tuple[str, Floats]]:
    """Yield the variables: name, (cases, levels) values, NaN where unknown."""
    for name, column in (("class", "label"), ("subtype", "subtype"), ("sex", "sex")):
        levels = pd.get_dummies(people[column], dtype=float)
        levels[people[column].isna()] = np.nan
        yield name, levels.to_numpy()
    yield "age", people[["age"]].to_numpy()


def _varies(values: Floats) -> bool:
    known = values[np.isfinite(values).all(axis=1)]
    return len(known) > 1 and bool((known != known[0]).any())


def balance_table(rows: list[FoldBalance]) -> Table:
    """Return the statement as a table."""
    head = (
        "Variable",
        "Largest difference between two folds",
        "Largest SMD of a fold against the rest",
        "Random deals: median (95th percentile)",
        "More even than",
    )
    return Table(head, tuple(map(_row, rows)))


def _row(row: FoldBalance) -> tuple[str, ...]:
    # A deal that is stratified by class cannot change how the classes are spread.
    fixed = row.variable == "class"
    return (
        row.variable,
        f"{row.difference:.1f} {row.unit}",
        f"{row.smd:.2f}",
        "the same: stratified" if fixed else f"{row.typical_smd:.2f} ({row.high_smd:.2f})",
        "-" if fixed else f"{row.more_even:.0%} of them",
    )
