"""What an attacker learns from released values: with the Ladder next to nothing, without it everything."""

from collections.abc import Callable

import numpy as np
import pytest

from ictmri.classes import CLASSES
from ictmri.folds import FoldTable
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.ladder import Ladder, default_step, scored

COUNTS = (120, 60, 40, 29)
K = len(CLASSES)
Oracle = Callable[[np.ndarray], float]


def made_labels(rng: np.random.Generator, counts: tuple[int, ...] = COUNTS) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(K), counts))


def guess(rng: np.random.Generator, truth: np.ndarray, accuracy: float) -> np.ndarray:
    wrong = rng.random(len(truth)) > accuracy
    return np.where(wrong, (truth + rng.integers(1, K, len(truth))) % K, truth)


def unprotected(truth: np.ndarray, metric: str) -> Oracle:
    """The exact score of every submission: what a plain evaluation server shows."""
    return lambda predicted: scored(truth, predicted[None], metric).value


def sealed(truth: np.ndarray, metric: str) -> Oracle:
    ladder = Ladder(truth, metric, str(default_step(len(truth))))
    return lambda predicted: float(ladder.submit(predicted[None]))


def flip_one_by_one(ask: Oracle, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Try every other class in every case and keep what raised the answer."""
    known, best = start.copy(), ask(start)
    for case in rng.permutation(len(start)):
        for other in range(K):
            tried = known.copy()
            tried[case] = other
            answer = ask(tried)
            if answer > best:
                known, best = tried, answer
    return known


def flip_groups(
    ask: Oracle, start: np.ndarray, rng: np.random.Generator, size: int, budget: int
) -> np.ndarray:
    """Redraw groups of cases at random and keep what raised the answer."""
    known, best = start.copy(), ask(start)
    for _ in range(budget):
        tried = known.copy()
        tried[rng.choice(len(start), size, replace=False)] = rng.integers(0, K, size)
        answer = ask(tried)
        if answer > best:
            known, best = tried, answer
    return known


def bisect(ask: Oracle, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set half of the cases to one class; go into the halves that raised the answer."""
    known, best = start.copy(), ask(start)
    waiting = [(rng.permutation(len(start)), label) for label in range(K)]
    while waiting:
        cases, label = waiting.pop()
        tried = known.copy()
        tried[cases] = label
        answer = ask(tried)
        if answer > best:
            known, best = tried, answer
        if len(cases) > 1:
            waiting += [(half, label) for half in np.array_split(cases, 2)]
    return known


def boost(ask: Oracle, n: int, rng: np.random.Generator, rounds: int) -> tuple[np.ndarray, float]:
    """Blum & Hardt's attack: the plurality of the random submissions that looked good."""
    tries = rng.integers(0, K, (rounds, n))
    answers = np.array([ask(tried) for tried in tries])
    raised = np.diff(answers, prepend=answers[0]) > 0
    # Where answers never fall, only those that raised them are known to be good.
    good = answers > np.median(answers) if (np.diff(answers) < 0).any() else raised
    votes = np.stack([(tries[good] == label).sum(axis=0) for label in range(K)])
    final = (votes + rng.random(votes.shape) / 2).argmax(axis=0)
    return final, ask(final)


def gain(found: np.ndarray, start: np.ndarray, truth: np.ndarray) -> float:
    """How many more labels are right after the attack, as a share."""
    return float((found == truth).mean() - (start == truth).mean())


def test_accuracy_follows_the_published_algorithm() -> None:
    """Algorithm 2 of the paper, written out over cases; the step is its rounding."""
    rng = np.random.default_rng(0)
    truth = made_labels(rng)
    ladder = Ladder(truth, "accuracy", "0.01")
    losses, released, outcomes = None, 0.0, set()
    for _ in range(300):
        predicted = guess(rng, truth, rng.uniform(0.3, 0.9))
        new = (predicted != truth).astype(float)
        if losses is None:
            better = True
        else:
            error = np.std(new - losses, ddof=1) / np.sqrt(len(truth))
            better = losses.mean() - new.mean() > max(error, 0.01)
        if better:
            losses, released = new, round((1 - new.mean()) / 0.01) * 0.01
        assert float(ladder.submit(predicted[None])) == pytest.approx(released)
        outcomes.add(better)
    assert outcomes == {True, False}


@pytest.mark.parametrize("metric", ["macro_f1", "macro_recall", "macro_precision", "accuracy"])
def test_the_error_of_the_difference_is_that_of_the_bootstrap(
    metric: str, cohort: FoldTable
) -> None:
    truth, rng = np.array(cohort.labels), np.random.default_rng(1)
    first, second = guess(rng, truth, 0.6), guess(rng, truth, 0.75)
    difference = (
        scored(truth, second[None], metric).pseudo - scored(truth, first[None], metric).pseudo
    )
    error = difference.std(ddof=1) / np.sqrt(len(truth))
    drawn = bootstrap(cohort, [first[None], second[None]], 4000).headline[metric]
    assert error == pytest.approx((drawn[:, 1] - drawn[:, 0]).std(), rel=0.1)


def test_the_score_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    truth = made_labels(rng)
    seeds = np.stack([guess(rng, truth, 0.5), guess(rng, truth, 0.8)])
    expected = np.mean([sklearn.f1_score(truth, p, average="macro") for p in seeds])
    assert scored(truth, seeds, "macro_f1").value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
@pytest.mark.parametrize("counts", [COUNTS, (10, 5, 3, 2), (14, 4, 1, 1)])
def test_one_changed_case_never_shows(metric: str, counts: tuple[int, ...]) -> None:
    """From any state, not even without the step: a case cannot beat its own standard error."""
    rng = np.random.default_rng(3)
    truth = made_labels(rng, counts)
    for accuracy in (0.3, 0.7, 0.95):
        start = guess(rng, truth, accuracy)
        for case in range(0, len(truth), 1 + len(truth) // 40):
            for other in range(K):
                ladder = Ladder(truth, metric, "0.0001")
                before = ladder.submit(start[None])
                tried = start.copy()
                tried[case] = other
                assert ladder.submit(tried[None]) == before


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
def test_labels_are_not_recovered_by_changing_single_cases(metric: str) -> None:
    rng = np.random.default_rng(4)
    truth = made_labels(rng)
    start = guess(rng, truth, 0.6)
    plain = gain(flip_one_by_one(unprotected(truth, metric), start, rng), start, truth)
    assert plain > 0.35  # all labels, from 60 % known
    assert flip_one_by_one(sealed(truth, metric), start, rng).tolist() == start.tolist()


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
def test_labels_are_not_recovered_by_groups_or_bisection(metric: str) -> None:
    """Hundreds of submissions, far beyond any quota: a few cases, against a tenth of all labels."""
    gains: dict[str, list[float]] = {"plain": [], "sealed": [], "halves": [], "sealed halves": []}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        truth = made_labels(rng)
        start = guess(rng, truth, 0.6)
        for name, oracle in (("plain", unprotected), ("sealed", sealed)):
            found = [flip_groups(oracle(truth, metric), start, rng, size, 500) for size in (2, 8)]
            gains[name].append(max(gain(f, start, truth) for f in found))
        flat = np.zeros_like(truth)
        for name, oracle in (("halves", unprotected), ("sealed halves", sealed)):
            gains[name].append(gain(bisect(oracle(truth, metric), flat, rng), flat, truth))
    means = {name: float(np.mean(values)) for name, values in gains.items()}
    assert means["plain"] > 0.1
    assert means["sealed"] < 0.06
    assert means["halves"] > 0.12
    assert means["sealed halves"] < 0.05


def test_within_the_quota_nothing_is_learnt_beyond_chance() -> None:
    """Five submissions that each redraw a group: labels found, compared with no feedback at all."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = made_labels(rng)
        start = guess(rng, truth, 0.6)
        known = flip_groups(sealed(truth, "macro_f1"), start, rng, 8, 4)
        found.append(gain(known, start, truth) * len(truth))
    assert abs(np.mean(found)) < 0.5  # of 249 cases


def boosted(oracle: Callable[[np.ndarray, str], Oracle], rounds: int, runs: int) -> np.ndarray:
    """What the board shows and what is right after boosting, each the mean of some runs."""
    ends = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, K, 249)
        final, shown = boost(oracle(truth, "accuracy"), len(truth), rng, rounds)
        ends.append((shown, (final == truth).mean()))
    return np.mean(ends, axis=0)


def test_the_released_number_does_not_run_away_from_the_true_one() -> None:
    """Boosting: random guesses are worth 1/4 whatever the board says.

    The luckiest of 600 guesses is .25 + 3 * .027, three standard deviations up; no board can hide that.
    """
    assert boosted(unprotected, 600, 6).min() - 0.25 > 0.25
    assert boosted(sealed, 600, 6).max() - 0.25 < 4 * 0.027
    assert boosted(sealed, 5, 40).max() - 0.25 < 0.04


def test_steps_are_at_least_two_cases() -> None:
    assert [str(default_step(n)) for n in (20, 40, 50, 249, 5000, 100_000)] == [
        "0.1",
        "0.05",
        "0.05",
        "0.01",
        "0.0005",
        "0.0001",
    ]


def climb(
    ask: Oracle, truth: np.ndarray, rng: np.random.Generator, size: int, rounds: int
) -> np.ndarray:
    """Begin badly and climb with labels that are known, and redraw unknown ones each time; return the gain.

    150 of the 249 are known and given wrong at first; each submission gives more of them right, which beats
    any threshold, so that every answer is new and tells how many of the redrawn cases are right.
    """
    order, n = rng.permutation(len(truth)), len(truth)
    known, unknown = order[:150], order[150:]
    best, top = rng.integers(0, K, n), -np.inf
    start = best.copy()
    for turn in range(rounds):
        tried = best.copy()
        if turn:
            tried[rng.choice(unknown, size, replace=False)] = rng.integers(0, K, size)
        given = np.where(np.isin(np.arange(n), known), truth, tried)
        held_back = known[round(len(known) * (turn + 1) / rounds) :]
        given[held_back] = (truth[held_back] + 1) % K
        worth = ask(given) + len(held_back) / n
        if worth > top:
            best, top = tried, worth
    return (best == truth)[unknown].sum() - (start == truth)[unknown].sum()


@pytest.mark.parametrize(
    ("quota", "size", "least", "most"), [(5, 8, 1, 3), (5, 99, 4, 7), (2, 99, 1, 4)]
)
def test_against_known_labels_the_quota_is_the_only_defence(
    quota: int, size: int, least: float, most: float
) -> None:
    """The Ladder hides what does not get better; what is made better on purpose, it must show."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        truth = made_labels(rng)
        found.append(climb(sealed(truth, "accuracy"), truth, rng, size, quota))
    assert least < np.mean(found) < most  # of 99 unknown cases
