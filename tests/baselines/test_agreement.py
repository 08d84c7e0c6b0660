import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from ictmri_baselines.localizer.agreement import Agreement, agreement

EMPTY = np.zeros((20, 20, 20), dtype=bool)


def cube(start: int, edge: int) -> np.ndarray:
    found = EMPTY.copy()
    found[start : start + edge, start : start + edge, start : start + edge] = True
    return found


def test_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, marked = cube(4, 9), cube(6, 9) & (rng.random(EMPTY.shape) < 0.9)
    found = agreement(marked, truth, 0.008)
    assert found.voxel_recall == pytest.approx(recall_score(truth.ravel(), marked.ravel()))
    assert found.dice == pytest.approx(f1_score(truth.ravel(), marked.ravel()))
    assert found.volume_ratio == pytest.approx(marked.sum() / truth.sum())
    assert found.false_ml == pytest.approx((marked & ~truth).sum() * 0.008)


def test_lesions_are_counted_one_by_one_and_specks_are_none() -> None:
    truth = cube(1, 5) | cube(12, 6)
    truth[0, 19, 19] = True
    found = agreement(cube(12, 6), truth, 0.008)
    assert (found.lesions, found.found, found.lesion_recall) == (2, 1, 0.5)
    speck = EMPTY.copy()
    speck[3, 3, 3] = True
    assert agreement(speck, speck, 0.008).lesion_recall == 1


@pytest.mark.parametrize(("edge", "found"), [(7, 1), (6, 0)])
def test_a_quarter_of_a_lesion_must_be_covered(edge: int, found: int) -> None:
    assert (edge / 10) ** 3 < 0.25 if not found else (edge / 10) ** 3 >= 0.25
    assert agreement(cube(2, edge), cube(2, 10), 0.008).found == found


def test_what_is_empty_has_decided_values() -> None:
    assert agreement(EMPTY, cube(2, 5), 0.008) == Agreement(1, 0, 0.0, 0.0, 0.0, 0.0)
    nothing = agreement(cube(2, 5), EMPTY, 0.008)
    assert nothing.false_ml == pytest.approx(1.0)
    assert math.isnan(nothing.lesion_recall)
    assert math.isnan(nothing.dice)


def test_other_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="on"):
        agreement(EMPTY, EMPTY[:5], 0.008)
