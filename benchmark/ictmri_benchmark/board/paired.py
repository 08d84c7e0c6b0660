"""Two sets of predictions on the same cases: how far apart they are, and whether the cases can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ictmri.folds import FoldTable
from ictmri.io.files import canonical_json
from ictmri.io.tables import Table
from ictmri_benchmark.board.ranking import Contender, compare_pairs
from ictmri_benchmark.score.intervals import bootstrap, percentile_interval
from ictmri_benchmark.score.metrics import RANK_KEY, RANKED, confusion, headline, mean_over
from ictmri_benchmark.score.predictions import Predictions
from ictmri_benchmark.score.protocol import ALPHA, MAX_PAIRED_CASES
from ictmri_benchmark.score.report import SYNTHETIC_WARNING, Estimate, cohort_digests

if TYPE_CHECKING:
    import pandas as pd

COMPARISON_SCHEMA: Final = "ictmri/comparison/1"
_UNPAIRED: Final = (
    f"more than {MAX_PAIRED_CASES} cases: the interval is not paired, so wider than need be"
)


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Two sets of predictions compared by the metric that ranks the board.

    Attributes:
        cohort: name of the cohort.
        n_cases: number of its cases.
        metric: name of the metric.
        first: name of the first predictions.
        second: name of the second.
        first_score: the first's metric.
        second_score: the second's.
        difference: the first's minus the second's; its interval is of the same draws of patients.
        p: of the permutation test that both are equal, two-sided.
        first_only: cases that only the first has right.
        second_only: cases that only the second has right.
        mcnemar_p: of McNemar's exact test of these two numbers.
        digests: of the folds, the labels, and both predictions.
        warnings: what a reader must know.
    """

    cohort: str
    n_cases: int
    metric: str
    first: str
    second: str
    first_score: Estimate
    second_score: Estimate
    difference: Estimate
    p: float
    first_only: int
    second_only: int
    mcnemar_p: float
    digests: dict[str, str]
    warnings: list[str]

    def __repr__(self) -> str:
        return self.render()

    def to_json(self) -> str:
        """Return canonical JSON text: equal inputs give equal bytes."""
        content = asdict(self)
        for name in ("first_score", "second_score", "difference"):
            content[name] = getattr(self, name)._asdict()
        return canonical_json({"schema": COMPARISON_SCHEMA, **content})

    def to_frame(self) -> pd.DataFrame:
        """Return both scores and their difference, a row each: value and the ends of the interval."""
        import pandas as pd

        rows = [self.first_score, self.second_score, self.difference]
        names = pd.Index([self.first, self.second, "difference"], name=self.metric)
        return pd.DataFrame(rows, index=names, columns=list(Estimate._fields), dtype="float64")

    def table(self) -> Table:
        """Return both scores and their difference, a row each, with the tests of it."""
        given = (
            (f"1 {self.first}", self.first_score, self.first_only),
            (f"2 {self.second}", self.second_score, self.second_only),
        )
        rows: list[dict[str, Any]] = [
            {"predictions": name, RANKED.short: scored._asdict(), "cases only it has right": right}
            for name, scored, right in given
        ]
        tests = {"p (permutation)": self.p, "p (McNemar)": self.mcnemar_p}
        rows.append({"predictions": "1 minus 2", RANKED.short: self.difference._asdict(), **tests})
        return Table.of(
            rows,
            title=f"{self.cohort}: {self.n_cases} cases, {RANKED.short} with 95 % interval",
            notes=tuple(text for text in self.warnings if text != SYNTHETIC_WARNING),
            synthetic=SYNTHETIC_WARNING in self.warnings,
        )

    def to_latex(self) -> str:
        """Return :meth:`table` for a paper."""
        return self.table().render("latex")

    def render(self) -> str:
        """Return the comparison for the terminal, in numbers and in words."""
        width = max(len(self.first), len(self.second), len("difference"))
        lines = [f"{self.cohort}: {self.n_cases} cases, {RANKED.short} with 95 % interval", ""]
        both = ((self.first, self.first_score), (self.second, self.second_score))
        for number, (name, scored) in enumerate(both, start=1):
            lines.append(f"{number}  {name:<{width}}   {RANKED.with_interval(scored._asdict())}")
        value, low, high = (f"{number:+.{RANKED.digits}f}" for number in self.difference)
        lines += [
            f"   {'1 minus 2':<{width}}  {value} [{low}, {high}], permutation test p = {self.p:.2g}",
            "",
            f"Only 1 has {self.first_only} cases right, only 2 has {self.second_only}: "
            f"McNemar's exact test p = {self.mcnemar_p:.2g}",
            self._verdict(),
        ]
        return "\n".join(lines + [f"note: {warning}" for warning in self.warnings])

    def _verdict(self) -> str:
        """Say in a sentence who is ahead, and whether these cases can tell."""
        gap = self.difference.value
        if gap == 0:
            return f"Both have the same {RANKED.short}."
        ahead, behind = (self.first, self.second) if gap > 0 else (self.second, self.first)
        told = f"{ahead} is ahead of {behind} by {abs(gap):.{RANKED.digits}f}"
        if self.p < ALPHA:
            return f"{told}, more than chance would give at the {ALPHA:.0%} level."
        return (
            f"{told}, but {self.n_cases} cases cannot tell the two apart at the {ALPHA:.0%} level."
        )


def compare_predictions(
    cohort: FoldTable, both: Sequence[Predictions], names: Sequence[str], *, synthetic: bool
) -> Comparison:
    """Compare two sets of predictions, of one seed or several, as the board compares its entries.

    Args:
        cohort: gives the labels.
        both: the first and the second.
        names: what they are called.
        synthetic: adds what a phantom's scores are worth.
    """
    draws = bootstrap(cohort, [read.labels for read in both]).headline[RANK_KEY]
    truth = np.array(cohort.labels)
    scores, contenders = [], []
    for column, (name, read) in enumerate(zip(names, both, strict=True)):
        matrices = np.array([confusion(truth, labels) for labels in read.labels])
        value = float(mean_over(headline(matrices)[RANK_KEY], 0))
        scores.append(Estimate(value, *percentile_interval(draws[:, column])))
        contenders.append(Contender(name, value, read.labels))
    # The board's pairs are the second minus the first.
    (pair,) = compare_pairs(cohort, contenders[::-1], draws[:, ::-1])
    warnings = [SYNTHETIC_WARNING] if synthetic else []
    warnings += [_UNPAIRED] if len(truth) > MAX_PAIRED_CASES else []
    warnings += [
        f"{name}: {note}" for name, read in zip(names, both, strict=True) for note in read.notes
    ]
    digests = {"first": both[0].sha256, "second": both[1].sha256}
    return Comparison(
        cohort=cohort.name,
        n_cases=len(truth),
        metric=RANK_KEY,
        first=names[0],
        second=names[1],
        first_score=scores[0],
        second_score=scores[1],
        difference=Estimate(pair.difference, pair.low, pair.high),
        p=pair.p,
        first_only=pair.second_only,
        second_only=pair.first_only,
        mcnemar_p=pair.mcnemar_p,
        digests=cohort_digests(cohort) | digests,
        warnings=warnings,
    )
