import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ictmri_baselines.localizer.agreement import Agreement, agreement

MM = (2.0, 2.0, 2.0)
EMPTY = np.zeros((20, 20, 20), dtype=bool)


def cube(start: int, edge: int) -> np.ndarray:
    found = EMPTY.copy()
    found[start : start + edge, start : start + edge, start : start + edge] = True
    return found


def test_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, marked = cube(4, 9), cube(6, 9) & (rng.random(EMPTY.shape) < 0.9)
    found = agreement(marked, truth, MM)
    assert found.dice == pytest.approx(f1_score(truth.ravel(), marked.ravel()))
    assert found.volume_ratio == pytest.approx(marked.sum() / truth.sum())
    assert found.false_ml == pytest.approx((marked & ~truth).sum() * 0.008)


def test_lesions_are_counted_one_by_one_and_specks_are_none() -> None:
    truth = cube(1, 5) | cube(12, 6)
    truth[0, 19, 19] = True
    found = agreement(cube(12, 6), truth, MM)
    assert (found.lesions, found.found) == (2, 1)
    speck = EMPTY.copy()
    speck[3, 3, 3] = True
    tiny = agreement(speck, speck, MM)
    assert (tiny.lesions, tiny.found) == (1, 1)


@pytest.mark.parametrize(("edge", "found"), [(7, 1), (6, 0)])
def test_a_quarter_of_a_lesion_must_be_covered(edge: int, found: int) -> None:
    assert (edge / 10) ** 3 < 0.25 if not found else (edge / 10) ** 3 >= 0.25
    assert agreement(cube(2, edge), cube(2, 10), MM).found == found


def test_what_is_empty_has_decided_values() -> None:
    assert agreement(EMPTY, cube(2, 5), MM) == Agreement(1, 0, 0, 1, 0, 0.0, 0.0, 0.0)
    nothing = agreement(cube(2, 5), EMPTY, MM)
    assert nothing.false_ml == pytest.approx(1.0)
    assert (nothing.lesions, nothing.cores) == (0, 0)
    assert math.isnan(nothing.dice)


def test_other_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="on"):
        agreement(EMPTY, EMPTY[:5], MM)
    with pytest.raises(ValueError, match="on"):
        agreement(EMPTY, EMPTY, MM, EMPTY[:5])


def test_cores_are_counted_beside_whole_lesions() -> None:
    """A tenth of the whole and all of the core: the lesion is touched, its core found."""
    core, whole = cube(4, 5), cube(2, 10)
    assert 0.1 < core.sum() / whole.sum() < 0.25
    found = agreement(core, whole, MM, core)
    assert (found.lesions, found.touched, found.found) == (1, 1, 0)
    assert (found.cores, found.cores_found) == (1, 1)


@pytest.mark.parametrize(("gap", "lesions"), [(2, 1), (3, 2)])
def test_parts_within_six_millimetres_are_one_lesion(gap: int, lesions: int) -> None:
    """Voxels of 2 mm, widened by 3 mm on either side: gaps of 2 voxels close, those of 3 do not."""
    truth = EMPTY.copy()
    truth[2:7, 4:9, 4:9] = True
    truth[7 + gap : 12 + gap, 4:9, 4:9] = True
    assert agreement(EMPTY, truth, MM).lesions == lesions
