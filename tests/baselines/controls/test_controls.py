import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from support.made_cases import made_cases

from ictmri.errors import InputError
from ictmri_baselines.cases import Cases, Volumes, region
from ictmri_baselines.controls import features
from ictmri_baselines.controls import rules as controls
from ictmri_baselines.controls.features import location, radiomics
from ictmri_baselines.methods import find_method
from ictmri_baselines.registry import recipe_ids
from ictmri_baselines.reproduction.recipe import PROFILES, load_recipe

N = 60


def cases_of(sex: np.ndarray, age: np.ndarray, volumes: Volumes | None = None) -> Cases:
    n = len(age)
    return Cases([f"c{i}" for i in range(n)], sex, age, np.arange(n), volumes)


def with_priors(seed: int = 0) -> tuple[Cases, np.ndarray]:
    """Class 0 and 1 lie left and right, class 1 and 3 are bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 4
    image = rng.normal(1, 0.1, (N, 24, 24, 24)).astype(np.float16)
    prior = np.zeros(image.shape, dtype=np.uint8)
    for index, label in enumerate(labels):
        place = (index, slice(3, 9) if label < 2 else slice(14, 20), slice(8, 14), slice(8, 14))
        prior[place] = 255
        image[place] += label % 2
    unknown = np.full(N, np.nan)
    return cases_of(unknown, unknown, Volumes(image, prior, prior, np.diag([2.0, 2, 2, 1]))), labels


def halves(cases: Cases, labels: np.ndarray) -> tuple[Cases, np.ndarray, Cases, np.ndarray]:
    train = np.arange(len(labels)) % 3 > 0
    return cases.subset(train), labels[train], cases.subset(~train), labels[~train]


def test_majority_is_scikit_learns_prior_dummy() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [3])
    cases = cases_of(np.zeros(10), np.zeros(10))
    got = controls.majority(cases, labels, cases, seed=0)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((10, 1)), labels)
    np.testing.assert_allclose(got[:, [0, 1, 3]], dummy.predict_proba(np.zeros((10, 1))))
    assert (got[:, 2] == 0).all()


def test_stratified_random_follows_the_frequencies() -> None:
    labels = np.repeat([0, 1, 2, 3], [50, 30, 15, 5])
    many = cases_of(np.zeros(20_000), np.zeros(20_000))
    drawn = controls.stratified_random(many, labels, many, seed=3).argmax(axis=1)
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.5, 0.3, 0.15, 0.05], atol=0.01)


def test_demographics_learns_from_age_and_sex() -> None:
    labels = np.arange(N) % 4
    sex = (labels >= 2).astype(float)
    age = np.where(labels % 2, 70.0, 15.0) + np.random.default_rng(0).normal(0, 3, N)
    train, y, test, truth = halves(cases_of(sex, age), labels)
    got = controls.demographics(train, y, test, seed=0, strength=1.0)
    assert (got.argmax(axis=1) == truth).mean() > 0.9


def test_demographics_survives_unknown_values() -> None:
    unknown = np.full(N, np.nan)
    train, y, test, _ = halves(cases_of(unknown, unknown), np.arange(N) % 4)
    got = controls.demographics(train, y, test, seed=0, strength=1.0)
    np.testing.assert_allclose(got.sum(axis=1), 1)
    assert np.ptp(got, axis=0).max() < 1e-9


def test_location_sees_places_and_not_intensities() -> None:
    cases, labels = with_priors()
    train, y, test, truth = halves(cases, labels)
    got = controls.location_size(train, y, test, seed=0, trees=100).argmax(axis=1)
    assert ((got < 2) == (truth < 2)).all()
    assert (got == truth).mean() < 0.8


def test_radiomics_sees_intensities() -> None:
    cases, labels = with_priors()
    train, y, test, truth = halves(cases, labels)
    got = controls.radiomics_linear(train, y, test, seed=0, strengths=[10.0]).argmax(axis=1)
    assert ((got % 2) == (truth % 2)).all()


def test_the_ensemble_sees_intensities_and_takes_a_class_of_one_case() -> None:
    cases, labels = with_priors()
    settings = {"strengths": [10.0], "trees": 20, "penalty": 1.0}
    train, y, test, truth = halves(cases, labels)
    got = controls.radiomics_ensemble(train, y, test, seed=0, **settings)
    assert ((got.argmax(axis=1) % 2) == (truth % 2)).all()
    np.testing.assert_allclose(got.sum(axis=1), 1)
    few = (y < 3) | (np.arange(len(y)) == np.flatnonzero(y == 3)[0])
    got = controls.radiomics_ensemble(train.subset(few), y[few], test, seed=0, **settings)
    assert got.shape == (len(test), 4)
    np.testing.assert_allclose(got.sum(axis=1), 1)


def test_features_are_finite_whatever_the_prior() -> None:
    cases, _ = with_priors()
    assert cases.volumes is not None
    odd = cases.volumes.prior
    odd[0] = 0
    odd[1] = 255
    odd[2] = 0
    odd[2, 5, 5, 5] = 255
    odd[3] = 60
    assert np.isfinite(location(cases)).all()
    assert np.isfinite(radiomics(cases)).all()
    assert np.isfinite(radiomics(cases, detail=True)).all()


def test_details_stand_behind_the_features_and_know_sides_and_edges() -> None:
    image = np.zeros((3, 24, 24, 24), dtype=np.float16)
    prior = np.zeros(image.shape, dtype=np.uint8)
    prior[:, 3:10, 8:15, 8:15] = 255
    noise = np.random.default_rng(0).normal(1, 0.1, image[0].shape)
    image[0], image[1] = noise + noise[::-1], noise
    image[2] = noise + 2 * (prior[2] > 0)
    unknown = np.full(3, np.nan)
    cases = cases_of(unknown, unknown, Volumes(image, prior, prior, np.diag([2.0, 2, 2, 1])))
    plain, whole = radiomics(cases), radiomics(cases, detail=True)
    np.testing.assert_array_equal(whole[:, : plain.shape[1]], plain)
    detail = whole[:, plain.shape[1] :]
    *_, rim_minus_outside, apart, alike, _ = detail.T
    np.testing.assert_allclose(alike, [1, 0, 0], atol=0.15)
    np.testing.assert_allclose(apart, [0, 0.11, 2], atol=0.05)
    np.testing.assert_allclose(rim_minus_outside, [0, 0, 2], atol=0.1)


def test_a_faint_prior_still_marks_its_peak() -> None:
    prior = np.zeros((5, 5, 5), dtype=np.float32)
    assert not region(prior).any()
    prior[2, 2, 2] = 0.2
    assert region(prior).sum() == 1


def test_location_is_in_millimetres() -> None:
    prior = np.zeros((1, 20, 20, 20), dtype=np.uint8)
    prior[0, 4:6, 10:14, 7:8] = 255
    volumes = Volumes(prior.astype(np.float16), prior, prior, np.diag([2.0, 3, 4, 1]))
    (found,) = location(cases_of(np.zeros(1), np.zeros(1), volumes))
    expected = [9.0, 34.5, 28.0, 9.0, 4.0, 12.0, 4.0, np.log(8 * 24 / 1000)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("recipe_id", recipe_ids())
def test_every_shipped_recipe_is_valid(recipe_id: str) -> None:
    recipe = load_recipe(recipe_id)
    for profile in PROFILES:
        assert callable(find_method(recipe.method, recipe.settings_for(profile)))
        assert len(recipe.digest(profile)) == 64


def test_a_misspelt_recipe_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'controls/majority'"):
        load_recipe("controls/majorty")


def test_every_problem_of_a_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nmethod: nonsense\nneeds: magic\ninputs: {scan: true}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(str(path))
    assert {problem.split(":")[0] for problem in caught.value.problems} == {
        "summary",
        "method",
        "needs",
        "inputs.scan",
    }


def test_a_case_is_measured_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew where its file is another: what is kept goes by the file, not by its name alone."""
    cases, _ = made_cases(4, on_disk=str(tmp_path))
    measured = []
    monkeypatch.setattr(
        features, "_radiomics", lambda image, *_: [measured.append(1) or float(image.sum())]
    )
    first = radiomics(cases)
    assert (radiomics(cases.subset(np.arange(4) > 1)) == first[2:]).all()
    assert len(measured) == 4
    other, _ = made_cases(4, seed=1, on_disk=str(tmp_path))
    os.utime(tmp_path / "image.npy", ns=(1, 1))
    assert (radiomics(other) != first).all()
    assert len(measured) == 8
