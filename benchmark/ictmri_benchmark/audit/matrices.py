"""Can any confusion matrix of a given size give all the printed numbers? Decided exactly, or not at all.

A class enters precision, recall and F1 through three counts: hits (TP), misses (FN), false alarms (FP).
Counts belong to a confusion matrix with ``errors`` errors exactly if the misses and the false alarms
each sum to ``errors`` and no class has more than ``errors`` of both together: misses of one class are
false alarms of the others. So four classes are two pairs of classes whose sums must match. All pairs
are listed, one half is sorted, and partners are looked up: the square root of the work that listing all
matrices would take.

Ratios are held as integers, rounded down, in units of 2^-36; a sum over the classes is then off by less
than one unit a class, and the search keeps whatever could fit within that. What it keeps is confirmed
with fractions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ictmri_benchmark.audit.printed import ValueRange
from ictmri_benchmark.audit.relations import harmonic_mean
from ictmri_benchmark.score.metrics import BY_CLASS

Averaging = Literal["macro", "weighted"]
Possible = Literal["fits", "does not fit", "not decided"]
Ints = NDArray[np.int64]
Cell = tuple[int, int, int]

MIN_SUPPORT: Final = 1
BUDGET: Final = 8_000_000
"""Steps for one question: a few seconds."""
_CONFIRMING: Final = 50
_HOPELESS: Final = 2
"""A search that could not end within the budget may still meet a matrix: it gets this part of it."""
_UNIT: Final = 1 << 36
_SHIFT: Final = 48
_MAX_N: Final = 1000
_MAX_CELLS: Final = 2_000_000
_MAX_ROWS: Final = 4_000_000
_CHUNK: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class MatrixQuestion:
    """What is asked.

    Attributes:
        n: number of cases.
        correct: how many of them are right.
        averaging: of precision, recall and F1 over the classes.
        targets: by metric the values allowed; a metric that is left out is not asked about, one is.
        harmonic: values allowed for 2PR / (P + R) of the averaged precision and recall, None = any.
        n_classes: 2 to 4 can be decided.
        class_counts: cases by class, None = every division with at least ``min_support`` in each.
        min_support: the fewest cases of a class, where the class counts are not known.
    """

    n: int
    correct: int
    averaging: Averaging
    targets: dict[str, ValueRange]
    harmonic: ValueRange | None = None
    n_classes: int = 4
    class_counts: tuple[int, ...] | None = None
    min_support: int = MIN_SUPPORT

    @property
    def errors(self) -> int:
        """Number of cases that are wrong."""
        return self.n - self.correct


@dataclass(frozen=True, slots=True)
class MatrixAnswer:
    """What was found.

    Attributes:
        verdict: ``fits``, ``does not fit``, or ``not decided`` within the budget.
        example: where it fits (TP, FN, FP) by class.
        work: partners listed and looked up, the measure of the budget.
    """

    verdict: Possible
    example: tuple[Cell, ...] = ()
    work: int = 0


def search(question: MatrixQuestion, budget: int = BUDGET) -> MatrixAnswer:
    """Look for a confusion matrix that gives all numbers asked about.

    The budget counts steps, not seconds: the answer is the same on every machine.
    """
    n_cells = (question.correct + 1) * (question.errors + 1) ** 2
    too_large = question.n > _MAX_N or n_cells > _MAX_CELLS
    if too_large or not 2 <= question.n_classes <= 4:
        return MatrixAnswer("not decided")
    if steps(question) > 2 * budget:
        budget //= _HOPELESS
    work, complete = 0, True
    table = _Cells(question)
    for left, right in _halves(question):
        work += len(left) + len(right)
        if work > budget:
            return MatrixAnswer("not decided", (), work)
        sizes = table.expanded(left), table.expanded(right)
        if sum(sizes) > budget - work or max(sizes) > _MAX_ROWS:
            complete = False
        elif all(sizes):
            example, cost = _meet(question, table, (left, right), budget - work)
            work += cost
            if example:
                return MatrixAnswer("fits", example, work)
    return MatrixAnswer("does not fit" if complete else "not decided", (), work)


def steps(question: MatrixQuestion) -> int:
    """Return about how many steps a whole search takes."""
    if question.n_classes == 2:
        return question.errors * question.correct
    spread = comb(question.errors + 2, 2)
    sizes = 2 if question.class_counts else comb(question.correct + 2, 2) // 3
    return sizes * spread**2


def averages(cells: tuple[Cell, ...], averaging: Averaging) -> dict[str, Fraction]:
    """Return precision, recall and F1 over the classes, exactly; 0 where a class's is undefined."""
    n = sum(tp + fn for tp, fn, _ in cells)
    sums = dict.fromkeys(BY_CLASS, Fraction(0))
    for tp, fn, fp in cells:
        weight = Fraction(tp + fn, n) if averaging == "weighted" else Fraction(1, len(cells))
        if tp:
            sums["precision"] += weight * Fraction(tp, tp + fp)
            sums["recall"] += weight * Fraction(tp, tp + fn)
            sums["f1"] += weight * Fraction(2 * tp, 2 * tp + fp + fn)
    return sums


def confirms(question: MatrixQuestion, cells: tuple[Cell, ...]) -> bool:
    """Whether these counts give all numbers asked about, in exact arithmetic."""
    values = averages(cells, question.averaging)
    if not all(values[name] in target for name, target in question.targets.items()):
        return False
    mean = harmonic_mean(values["precision"], values["recall"])
    return question.harmonic is None or mean in question.harmonic


@dataclass(frozen=True, slots=True)
class _Half:
    """Counts of one or two classes: (rows,) sums, and (rows, classes) places in the table of cells."""

    false_alarms: Ints
    sums: dict[str, Ints]
    cells: Ints


class _Cells:
    """All (TP, FN, FP) that a class can have, with what they add to each metric."""

    def __init__(self, question: MatrixQuestion) -> None:
        self._side = question.errors + 1
        self._grids = {n: self._alarms(n) for n in (1, 2)}
        tp = np.arange(question.correct + 1, dtype=np.int64)[:, None, None]
        fn = np.arange(self._side, dtype=np.int64)[None, :, None]
        fp = np.arange(self._side, dtype=np.int64)[None, None, :]
        hits = tp * _UNIT * (tp + fn if question.averaging == "weighted" else 1)
        below = {"precision": tp + fp, "recall": tp + fn, "f1": 2 * tp + fn + fp}
        self._shares = {
            name: np.broadcast_to(
                (2 if name == "f1" else 1) * hits // np.maximum(below[name], 1),
                (question.correct + 1, self._side, self._side),
            ).ravel()
            for name in question.targets
        }

    def _alarms(self, n_classes: int) -> Ints:
        """Return all false alarms (rows, classes) of so many classes."""
        grid = np.indices((self._side,) * n_classes, dtype=np.int64).reshape(n_classes, -1).T
        alarms: Ints = grid[grid.sum(axis=1) < self._side]
        return alarms

    def expanded(self, hits_and_misses: Ints) -> int:
        """Return at most how many rows :meth:`expand` makes."""
        return len(hits_and_misses) * len(self._grids[hits_and_misses.shape[1]])

    def expand(self, hits_and_misses: Ints) -> _Half:
        """Combine (rows, classes, 2) hits and misses with all false alarms that can go with them."""
        grid = self._grids[hits_and_misses.shape[1]]
        base = (hits_and_misses[..., 0] * self._side + hits_and_misses[..., 1]) * self._side
        # Class by class: numpy is slow along an axis of one or two.
        columns = range(grid.shape[1])
        of_class = [hits_and_misses[:, None, c, 1] + grid[:, c] < self._side for c in columns]
        row, alarms = np.nonzero(of_class[0] & of_class[-1])
        cells = [base[row, c] + grid[alarms, c] for c in columns]
        sums = {
            name: sum((share[places] for places in cells[1:]), share[cells[0]])
            for name, share in self._shares.items()
        }
        return _Half(grid.sum(axis=1)[alarms], sums, np.stack(cells, axis=1))

    def counts(self, cells: Ints) -> tuple[Cell, ...]:
        """Return the (TP, FN, FP) of places in the table."""
        side = self._side
        return tuple((c // side**2, c // side % side, c % side) for c in map(int, cells))


def _halves(question: MatrixQuestion) -> Iterator[tuple[Ints, Ints]]:
    """Yield hits and misses (rows, classes, 2) of the first and the other classes, evenest first."""
    k, e = question.correct, question.errors
    n_first = question.n_classes - question.n_classes // 2
    n_other = question.n_classes - n_first
    misses = sorted(range(e + 1), key=lambda b: abs(2 * b - e))
    counts = question.class_counts
    if counts is not None:
        for b in misses:
            yield _known(counts[:n_first], b), _known(counts[n_first:], e - b)
        return
    mirrored = n_first == n_other
    for a in sorted(range(k + 1), key=lambda a: abs(2 * a - k)):
        for b in misses:
            if mirrored and (a, b) > (k - a, e - b):
                continue
            yield (
                _unknown(n_first, a, b, question.min_support),
                _unknown(n_other, k - a, e - b, question.min_support),
            )


def _known(counts: tuple[int, ...], misses: int) -> Ints:
    """Return all ways to spread misses over classes of known size."""
    first = np.arange(misses + 1) if len(counts) == 2 else np.array([misses])
    spread = np.stack([first, misses - first], axis=1)[:, : len(counts)]
    hits = np.array(counts) - spread
    whole = (hits >= 0).all(axis=1)
    return np.stack([hits, spread], axis=2)[whole].astype(np.int64)


def _unknown(n_classes: int, hits: int, misses: int, min_support: int) -> Ints:
    """Return all ways to spread hits and misses over one or two classes of unknown size."""
    if n_classes == 1:
        found = np.array([[[hits, misses]]], dtype=np.int64)
    else:
        a, b = (x.ravel() for x in np.indices((hits + 1, misses + 1)))
        first = np.stack([a, b], axis=1)
        found = np.stack([first, [hits, misses] - first], axis=1)
        # Two classes of unknown size are alike: one order of them is enough.
        found = found[(2 * a < hits) | ((2 * a == hits) & (2 * b <= misses))]
    support = found[..., 0] + found[..., 1]
    kept: Ints = found[(support[:, 0] >= min_support) & (support[:, -1] >= min_support)]
    return kept


def _meet(
    question: MatrixQuestion, table: _Cells, halves: tuple[Ints, Ints], budget: int
) -> tuple[tuple[Cell, ...], int]:
    """Return a matrix made of both halves, empty where none was found, and the steps taken."""
    first, second = (table.expand(half) for half in halves)
    work = len(first.cells) + len(second.cells)
    for pairs, looked_at in _matches(question, first, second):
        work += looked_at
        for one, two in pairs:
            example = table.counts(first.cells[one]) + table.counts(second.cells[two])
            if confirms(question, example):
                return example, work
            work += _CONFIRMING
            if work > budget:
                break
        if work > budget:
            break
    return (), work


def _matches(question: MatrixQuestion, first: _Half, other: _Half) -> Iterator[tuple[Ints, int]]:
    """Yield rows (pairs, 2) of both halves that may fit together, with the number looked at."""
    scale = (question.n if question.averaging == "weighted" else question.n_classes) * _UNIT
    bounds = {
        name: (
            (target.low * scale).__ceil__() - question.n_classes,
            (target.high * scale).__floor__(),
        )
        for name, target in question.targets.items()
    }
    leading = next(iter(bounds))
    keys = (other.false_alarms << _SHIFT) + other.sums[leading]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    wanted = (question.errors - first.false_alarms) << _SHIFT
    low, high = (bound - first.sums[leading] for bound in bounds[leading])
    start = np.searchsorted(keys, wanted + np.maximum(low, 0), side="left")
    stop = np.searchsorted(keys, wanted + np.clip(high, -1, (1 << _SHIFT) - 1), side="right")
    counts = np.maximum(stop - start, 0)
    for rows in _chunks(counts):
        one = np.repeat(rows, counts[rows])
        offset = np.arange(len(one)) - np.repeat(
            np.cumsum(counts[rows]) - counts[rows], counts[rows]
        )
        two = order[np.repeat(start[rows], counts[rows]) + offset]
        kept = np.ones(len(one), dtype=bool)
        for name, (least, most) in bounds.items():
            total = first.sums[name][one] + other.sums[name][two]
            kept &= (total >= least) & (total <= most)
        yield np.stack([one[kept], two[kept]], axis=1), len(one)


def _chunks(counts: Ints) -> Iterator[Ints]:
    """Yield row numbers in pieces that have about ``_CHUNK`` partners each."""
    rows = np.flatnonzero(counts)
    piece = np.cumsum(counts[rows]) // _CHUNK
    yield from np.split(rows, np.flatnonzero(np.diff(piece)) + 1) if len(rows) else []
