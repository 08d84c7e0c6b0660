import numpy as np
import pytest
import torch

from ictmri_baselines.cases import Cases, Volumes
from ictmri_baselines.diagnoser.crops import augment, central, crop_cases
from ictmri_baselines.diagnoser.model import AdaptiveDiagnoser, Architecture, MaskedChannelAttention
from ictmri_baselines.diagnoser.train import virtual_biopsy


def made_up(n: int, shape: int = 30) -> tuple[Cases, np.ndarray]:
    """Cases whose class is the brightness inside the prior."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    image = rng.normal(0, 0.3, (n, shape, shape, shape)).astype(np.float16)
    prior = np.zeros(image.shape, dtype=np.uint8)
    for index, label in enumerate(labels):
        x, y, z = rng.integers(6, shape - 14, 3)
        prior[index, x : x + 8, y : y + 8, z : z + 8] = 255
        image[index, x : x + 8, y : y + 8, z : z + 8] += 2 * label
    ids = [f"c{i}" for i in range(n)]
    unknown = np.full(n, np.nan)
    volumes = Volumes(image, prior, prior, np.diag([2.0, 2, 2, 1]))
    return Cases(ids, unknown, unknown, np.arange(n), volumes), labels


def reference_attention(
    module: MaskedChannelAttention, features: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Equations 7 and 8 in float64, loops over channels."""
    first, second = module.weights[0], module.weights[2]
    matrices = [
        tensor.detach().double().numpy()
        for tensor in (first.weight, first.bias, second.weight, second.bias)
    ]
    out = np.empty_like(features)
    for case in range(len(features)):
        z = np.array(
            [(f * mask[case, 0]).sum() / (mask[case, 0].sum() + 1e-6) for f in features[case]]
        )
        hidden = np.maximum(matrices[0] @ z + matrices[1], 0)
        weights = 1 / (1 + np.exp(-(matrices[2] @ hidden + matrices[3])))
        out[case] = features[case] * weights[:, None, None, None]
    return out


def test_attention_equals_the_equations() -> None:
    torch.manual_seed(0)
    module = MaskedChannelAttention(12)
    rng = np.random.default_rng(0)
    features, mask = rng.normal(size=(3, 12, 4, 5, 6)), rng.uniform(size=(3, 1, 4, 5, 6))
    mask[2] = 0
    got = module(torch.tensor(features).float(), torch.tensor(mask).float()).detach().numpy()
    np.testing.assert_allclose(got, reference_attention(module, features, mask), atol=1e-5)


def test_attention_has_the_gradient_of_its_value() -> None:
    torch.manual_seed(0)
    module = MaskedChannelAttention(4).double()
    features = torch.randn(2, 4, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 4, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (features, mask))


def test_a_lesion_smaller_than_a_feature_voxel_still_counts() -> None:
    torch.manual_seed(0)
    module = MaskedChannelAttention(32)
    features = torch.randn(1, 32, 2, 2, 2)
    tiny = torch.zeros(1, 1, 16, 16, 16)
    empty = module(features, tiny)
    tiny[..., 3, 3, 3] = 1
    assert not torch.allclose(module(features, tiny), empty)


def test_without_attention_the_prior_is_not_used() -> None:
    torch.manual_seed(0)
    model = AdaptiveDiagnoser(Architecture(attention=False)).eval()
    image = torch.randn(1, 1, 32, 32, 32)
    outputs = [model(image, prior) for prior in (torch.zeros_like(image), torch.ones_like(image))]
    assert torch.equal(*outputs)


def test_crops_are_centred_on_the_prior_and_zero_outside() -> None:
    image = np.ones((1, 20, 20, 20), dtype=np.float16)
    prior = np.zeros(image.shape, dtype=np.uint8)
    prior[0, 0:3, 9:12, 9:12] = 255
    volumes = Volumes(image, prior, prior, np.eye(4))
    cases = Cases(["a"], np.zeros(1), np.zeros(1), np.arange(1), volumes)
    cube = central(crop_cases(cases, size=8, margin=2), 2)[0]
    assert np.argwhere(cube[1]).mean(axis=0).round(1).tolist() == [4.0, 4.0, 4.0]
    assert (cube[0][:3] == 0).all()
    assert (cube[0][3:] == 1).all()


def test_an_empty_prior_gives_the_middle_of_the_grid() -> None:
    image = np.arange(20**3, dtype=np.float32).reshape(1, 20, 20, 20)
    blank = np.zeros(image.shape, dtype=np.uint8)
    volumes = Volumes(image, blank, blank, np.eye(4))
    cases = Cases(["a"], np.zeros(1), np.zeros(1), np.arange(1), volumes)
    np.testing.assert_array_equal(
        crop_cases(cases, size=8, margin=0)[0, 0], image[0, 6:14, 6:14, 6:14]
    )


@pytest.mark.parametrize("seed", range(20))
def test_augmentation_keeps_volume_and_prior_aligned(seed: int) -> None:
    cube = np.zeros((2, 22, 22, 22), dtype=np.float32)
    marker = (slice(None), slice(8, 11), slice(9, 14), slice(10, 12))
    cube[marker] = 1
    image, prior = augment(cube, 3, np.random.default_rng(seed))
    assert image.shape == (16, 16, 16)
    np.testing.assert_array_equal(image > 0.5, prior > 0.5)
    assert prior.sum() == cube[1].sum()


@pytest.mark.slow
def test_training_learns_and_repeats_itself() -> None:
    cases, labels = made_up(80)
    train = np.arange(80) < 60
    settings = {
        "size": 16,
        "margin": 1,
        "epochs": 6,
        "batch": 8,
        "learning_rate": 0.002,
        "weight_decay": 1e-4,
        "label_smoothing": 0.05,
        "clip": 2.0,
        "attention": True,
    }
    arguments = (cases.subset(train), labels[train], cases.subset(~train))
    first = virtual_biopsy(*arguments, seed=1, **settings)
    assert (first.argmax(axis=1) == labels[~train]).mean() > 0.7
    np.testing.assert_allclose(first.sum(axis=1), 1)
    np.testing.assert_array_equal(first, virtual_biopsy(*arguments, seed=1, **settings))
