"""The augmentations: drawn as often as the paper says, and the same for volume and prior."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from ictmri_baselines.diagnoser.augmentation import Augmentation, Variant, draw, place, recolour
from ictmri_baselines.diagnoser.inputs import Batches, NetworkInputs
from ictmri_baselines.diagnoser.training import Stream, stream

PAPER = Augmentation()
N_DRAWS = 6000
ODDS = 1e-4
"""Smallest p that a fair draw may show; with fixed seeds it either always does or never."""


@pytest.fixture(scope="module")
def drawn() -> list[Variant]:
    settings = Augmentation(shift=2)
    return [draw(settings, stream(0, Stream.VARIANT, 0, case)) for case in range(N_DRAWS)]


def coloured(image: np.ndarray, variant: Variant, noise_sd: float = 0.01) -> np.ndarray:
    tensor = torch.from_numpy(image.astype(np.float32))
    recolour(tensor, variant, noise_sd, torch.empty_like(tensor))
    return tensor.numpy()


def test_each_change_comes_as_often_as_the_paper_says(drawn: list[Variant]) -> None:
    counts = {
        0.5: [sum(v.flip for v in drawn), sum(v.turns > 0 for v in drawn)],
        0.15: [sum(v.noise_seed is not None for v in drawn), sum(v.gamma != 1 for v in drawn)],
    }
    for share, found in counts.items():
        for count in found:
            assert stats.binomtest(count, N_DRAWS, share).pvalue > ODDS


def test_turns_shifts_and_gammas_are_uniform(drawn: list[Variant]) -> None:
    turns = np.bincount([v.turns for v in drawn if v.turns], minlength=4)[1:]
    assert stats.chisquare(turns).pvalue > ODDS
    for axis in range(3):
        shifts = np.bincount([v.shift[axis] for v in drawn], minlength=5)
        assert len(shifts) == 5
        assert stats.chisquare(shifts).pvalue > ODDS
    gammas = [v.gamma for v in drawn if v.gamma != 1]
    assert stats.kstest(gammas, stats.uniform(0.9, 0.2).cdf).pvalue > ODDS


def test_the_changes_do_not_depend_on_each_other(drawn: list[Variant]) -> None:
    made = [(v.flip, v.turns > 0, v.noise_seed is not None, v.gamma != 1) for v in drawn]
    table = np.corrcoef(np.array(made, dtype=float).T)
    assert np.abs(table - np.eye(4)).max() < 5 / np.sqrt(N_DRAWS)


def test_a_variant_follows_from_seed_epoch_and_case_alone() -> None:
    def at(*place: int) -> Variant:
        return draw(Augmentation(shift=9), stream(7, Stream.VARIANT, *place))

    assert at(3, 5) == at(3, 5)
    assert len({at(epoch, case) for epoch in range(20) for case in range(20)}) == 400


def test_nothing_is_changed_where_nothing_shall_be() -> None:
    never = Augmentation(
        flip_probability=0, turn_probability=0, noise_probability=0, gamma_probability=0
    )
    assert {draw(never, stream(0, Stream.VARIANT, 0, case)) for case in range(200)} == {Variant()}


@pytest.mark.parametrize(("flip", "turns"), itertools.product((False, True), range(4)))
def test_turns_and_flips_are_numpys(flip: bool, turns: int) -> None:
    source = np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float16)
    out = torch.empty(7, 7, 7)
    place(torch.from_numpy(source), Variant((2, 0, 1), flip, turns), out)
    window = source[2:, :7, 1:8].astype(np.float32)
    expected = np.rot90(window[::-1] if flip else window, turns, axes=(0, 1))
    np.testing.assert_array_equal(out.numpy(), expected)


def test_a_flip_changes_sides_and_nothing_else() -> None:
    source = torch.zeros(8, 8, 8)
    source[1, 2, 3] = 1
    out = torch.empty_like(source)
    place(source, Variant(flip=True), out)
    assert torch.argwhere(out).tolist() == [[6, 2, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_volume_and_prior_stay_aligned_through_a_batch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    priors = np.zeros((6, 14, 14, 14), dtype=np.uint8)
    for case in range(6):
        x, y, z = rng.integers(4, 8, 3)
        priors[case, x : x + 3, y : y + 2, z] = 255
    images = (priors > 0).astype(np.float16)
    window = (slice(0, 14),) * 3
    inputs = NetworkInputs(images, priors, np.arange(6), window, edge=10, shift=2)
    settings = Augmentation(shift=2, noise_probability=1, gamma_probability=1)
    batches = Batches(
        inputs,
        np.zeros(6, dtype=np.int64),
        [np.arange(6)],
        variant=lambda case: draw(settings, stream(seed, Stream.VARIANT, 0, case)),
        noise_sd=settings.noise_sd,
    )
    ((image, prior, _),) = batches
    assert set(prior.unique().tolist()) == {0.0, 1.0}
    assert prior.sum() == 36
    assert torch.equal(image > 0.5, prior > 0.5)


def test_noise_is_gaussian_of_the_paper_s_width() -> None:
    image = np.random.default_rng(1).normal(size=(30, 30, 30))
    noise = (coloured(image, Variant(noise_seed=5)) - image.astype(np.float32)) / 0.01
    assert stats.kstest(noise.ravel(), "norm").pvalue > ODDS
    assert abs(np.corrcoef(noise.ravel(), image.ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(
        coloured(image, Variant(noise_seed=5)), coloured(image, Variant(noise_seed=5))
    )
    assert not np.array_equal(
        coloured(image, Variant(noise_seed=5)), coloured(image, Variant(noise_seed=6))
    )


@pytest.mark.parametrize("gamma", [0.9, 1.1])
def test_gamma_of_a_signed_intensity(gamma: float) -> None:
    image = np.linspace(-6, 6, 12**3).reshape(12, 12, 12)
    found = coloured(image, Variant(gamma=gamma))
    np.testing.assert_allclose(found, np.sign(image) * np.abs(image) ** gamma, rtol=1e-5)
    assert (np.diff(found.ravel()) > 0).all()
    np.testing.assert_allclose(
        coloured(found, Variant(gamma=1 / gamma)), image, rtol=1e-4, atol=1e-6
    )


def test_gamma_keeps_background_median_and_unit() -> None:
    kept = np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1)
    np.testing.assert_array_equal(coloured(kept, Variant(gamma=1.1)), kept)
