import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ictmri.errors import InputError
from ictmri_baselines.diagnoser.attention import (
    EPS,
    AttentionFusion,
    MaskedChannelAttention,
    PooledFusion,
    global_average,
    masked_average,
    resample_prior,
)
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser, DiagnoserConfig

Array = NDArray[np.float64]
SMALL = {"width": 4, "depth": (1, 1)}
ROWS = {
    1: {"localisation": "none", "attention": False},
    2: {"localisation": "coarse", "attention": False},
    3: {"localisation": "coarse", "attention": True},
    4: {"localisation": "refined", "attention": False},
    5: {"localisation": "refined", "attention": True},
}


def small(**changes: object) -> DiagnoserConfig:
    return DiagnoserConfig.read({"settings": SMALL, **changes})


def block_means(volume: Array, stride: int) -> Array:
    """Average (B, 1, d, h, w) over cubes of ``stride``, in float64, cube by cube."""
    out = np.zeros((*volume.shape[:2], *(edge // stride for edge in volume.shape[2:])))
    for place in np.ndindex(out.shape):
        cube = tuple(slice(i * stride, (i + 1) * stride) for i in place[2:])
        out[place] = volume[place[:2]][cube].mean()
    return out


def reference_logits(model: AdaptiveDiagnoser, features: Array, mask: Array | None) -> Array:
    """Equations 7 to 9 in float64, channel by channel, from F and the mask on its grid."""

    def matrix(layer: torch.nn.Module) -> tuple[Array, Array]:
        return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()

    logits = []
    for case, maps in enumerate(features):
        overall = np.array([channel.mean() for channel in maps])
        parts = [overall]
        if mask is not None:
            inside = mask[case, 0]
            z = np.array([(channel * inside).sum() / (inside.sum() + EPS) for channel in maps])
            if model.config.attention:
                first, second = (matrix(model.fusion.attention.weights[i]) for i in (0, 2))
                hidden = np.maximum(first[0] @ z + first[1], 0)
                w = 1 / (1 + np.exp(-(second[0] @ hidden + second[1])))
                parts.append(np.array([(maps[c] * w[c]).mean() for c in range(len(maps))]))
            else:
                parts.append(z)
        weight, bias = matrix(model.classifier)
        logits.append(weight @ np.concatenate(parts) + bias)
    return np.array(logits)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_table_2_equals_the_equations(row: int) -> None:
    torch.manual_seed(row)
    model = AdaptiveDiagnoser(small(**ROWS[row])).eval()
    rng = np.random.default_rng(row)
    image, prior = rng.normal(size=(3, 1, 24, 32, 16)), rng.uniform(size=(3, 1, 24, 32, 16))
    prior[1] = 0
    prior[2] = 0
    prior[2, 0, 9, 10, 11] = 1
    tensors = [torch.tensor(array).float() for array in (image, prior)]
    with torch.no_grad():
        details = model(*tensors, details=True)
        logits = model(*tensors)
    mask = block_means(prior, 8) if model.config.needs_prior else None
    expected = reference_logits(model, details.features.double().numpy(), mask)
    assert details.features.shape == (3, 10, 3, 4, 2)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)
    assert torch.equal(details.logits, logits)
    assert (details.weights is not None) == model.config.attention


def test_the_fusion_is_that_of_the_recalibrated_map() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion(9, rescale=True)
    features, mask = torch.randn(2, 9, 3, 4, 5), torch.rand(2, 1, 3, 4, 5)
    literal = fusion.attention(features, mask).mean(dim=(2, 3, 4))
    torch.testing.assert_close(fusion(features, mask).vector[:, 9:], literal)


@pytest.mark.parametrize("rescale", [False, True])
def test_gradients_are_those_of_the_values(rescale: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    attention = AttentionFusion(3, reduction=1, rescale=rescale).double()
    pooled = PooledFusion(3, rescale=rescale)
    for fusion in (attention, pooled):
        assert torch.autograd.gradcheck(lambda f, m, of=fusion: of(f, m).vector, (features, mask))
    prior = torch.rand(1, 1, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: resample_prior(p, (2, 2, 2), (6, 4, 4)), prior)


@pytest.mark.parametrize("rescale", [False, True])
def test_an_empty_mask_gives_zero_weights_of_no_case_and_finite_gradients(rescale: bool) -> None:
    torch.manual_seed(0)
    attention = MaskedChannelAttention(8, rescale=rescale)
    features = torch.randn(3, 8, 2, 2, 2, requires_grad=True)
    mask = torch.zeros(3, 1, 2, 2, 2)
    assert torch.equal(masked_average(features, mask, rescale=rescale), torch.zeros(3, 8))
    weights = attention.channel_weights(features, mask)
    assert torch.equal(weights, weights[:1].expand(3, -1))
    attention(features, mask).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_one_voxel_keeps_its_share_and_epsilon_shrinks_it_as_documented() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 6, 3, 3, 3)
    prior = torch.zeros(1, 1, 96, 96, 96)
    prior[0, 0, 40, 70, 5] = 1
    mask = resample_prior(prior, (3, 3, 3))
    assert mask.count_nonzero() == 1
    assert mask[0, 0, 1, 2, 0] == pytest.approx(32**-3)
    there = features[:, :, 1, 2, 0]
    share = 32**-3 / (32**-3 + EPS)
    assert 0.96 < share < 0.98
    torch.testing.assert_close(masked_average(features, mask), there * share)
    exact = masked_average(features, mask, rescale=True)
    torch.testing.assert_close(exact, there, rtol=3e-6, atol=0)


def test_only_what_lies_in_the_mask_is_averaged() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(1, 4, 3, 3, 3), torch.zeros(1, 1, 3, 3, 3)
    mask[..., 0, 1, :2] = 0.5
    before = masked_average(features, mask)
    features[..., 2, :, :] += 100
    features[..., 0, 1, 2] -= 100
    assert torch.equal(masked_average(features, mask), before)


@pytest.mark.parametrize(("size", "grid"), [((12, 8, 20), (3, 2, 5)), ((7, 5, 9), (2, 5, 4))])
def test_no_voxel_of_a_prior_is_lost(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    single = torch.eye(int(np.prod(size))).reshape(-1, 1, *size)
    shares = resample_prior(single, grid).flatten(1).sum(dim=1)
    exact = np.prod(grid) / np.prod(size)
    assert (shares >= exact * 0.6).all()
    if all(edge % cells == 0 for edge, cells in zip(size, grid, strict=True)):
        torch.testing.assert_close(shares, torch.full_like(shares, exact))


def test_a_network_that_fills_up_gets_the_prior_where_it_has_it() -> None:
    prior = torch.zeros(2, 1, 40, 32, 32)
    prior[0, 0, 31] = 1
    prior[1, 0, 32:] = 1
    mask = resample_prior(prior, (2, 1, 1), (64, 32, 32)).flatten(1)
    torch.testing.assert_close(mask, torch.tensor([[1 / 32, 0], [0, 8 / 32]]))
    unaware = resample_prior(prior, (2, 1, 1)).flatten(1)
    assert unaware[0, 1] > 0


def test_the_network_s_mask_lies_on_what_f_spans() -> None:
    torch.manual_seed(0)
    settings = {"width": 4, "depth": (1, 1), "kernel": 3}
    config = DiagnoserConfig.read({"backbone": "convnext3d", "settings": settings, "reduction": 1})
    model = AdaptiveDiagnoser(config).eval()
    image, prior = torch.randn(2, 1, 20, 16, 11), torch.rand(2, 1, 20, 16, 11)
    details = model(image, prior, details=True)
    filled = np.zeros((2, 1, 24, 16, 16))
    filled[:, :, :20, :, :11] = prior.double().numpy()
    mask = torch.tensor(block_means(filled, 8)).float()
    expected = model.fusion.attention.channel_weights(details.features, mask)
    torch.testing.assert_close(details.weights, expected)
    uneven = resample_prior(prior, details.features.shape[2:])
    other = model.fusion.attention.channel_weights(details.features, uneven)
    assert not torch.allclose(details.weights, other)


def test_sums_are_taken_in_float32() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 5, 12, 12, 12).bfloat16()
    mask = torch.rand(1, 1, 12, 12, 12)
    expected = masked_average(features.double(), mask.double())
    got = masked_average(features, mask)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    assert global_average(features).dtype == torch.float32


def test_without_localisation_the_prior_is_not_looked_at() -> None:
    torch.manual_seed(0)
    model = AdaptiveDiagnoser(small(**ROWS[1])).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(model(image), model(image, torch.rand_like(image)))


@pytest.mark.parametrize("row", [2, 3, 4, 5])
def test_with_localisation_it_is(row: int) -> None:
    torch.manual_seed(0)
    model = AdaptiveDiagnoser(small(reduction=1, **ROWS[row])).eval()
    image, prior = torch.randn(1, 1, 24, 24, 24), torch.zeros(1, 1, 24, 24, 24)
    prior[..., 4:9, 4:9, 4:9] = 1
    assert not torch.allclose(model(image, prior), model(image, prior.flip(2)), atol=1e-7)
    with pytest.raises(InputError, match="no prior"):
        model(image)
    with pytest.raises(InputError, match="prior of shape"):
        model(image, prior[..., :20])


def test_input_masking_hides_all_but_the_prior() -> None:
    torch.manual_seed(0)
    config = small(localisation="coarse", attention=False, without_attention="input")
    model = AdaptiveDiagnoser(config).eval()
    image, prior = torch.randn(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    prior[..., 2:6, 2:6, 2:6] = 1
    assert torch.equal(model(image, prior), model(torch.where(prior > 0, image, 7.0), prior))
    assert model.fusion.width == model.backbone.channels


def test_an_earlier_tap_is_finer() -> None:
    image = torch.randn(1, 1, 32, 32, 32)
    late, early = (
        AdaptiveDiagnoser(small(tap=tap)).eval()(image, image.abs().clamp(max=1), details=True)
        for tap in ("last", "block1")
    )
    assert late.features.shape[2:] == (4, 4, 4)
    assert early.features.shape[2:] == (8, 8, 8)


def test_a_seed_decides_the_network_and_dropout_is_of_training_alone() -> None:
    image, prior = torch.randn(2, 1, 16, 16, 16), torch.rand(2, 1, 16, 16, 16)
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(AdaptiveDiagnoser(small(dropout=0.5)))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(models[0](image, prior), models[0](image, prior))
    evaluated = [model.eval()(image, prior) for model in models]
    models[0].load_state_dict(models[1].state_dict())
    assert torch.equal(models[0](image, prior), models[1](image, prior))
    assert evaluated[0].shape == (2, 4)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_grad_cam_hooks_the_backbone() -> None:
    from monai.visualize import GradCAM

    torch.manual_seed(0)
    model = AdaptiveDiagnoser(small()).eval()
    image, prior = torch.randn(1, 1, 32, 24, 16), torch.rand(1, 1, 32, 24, 16)
    cam = GradCAM(model, target_layers="backbone")
    somewhere = False
    for label in range(4):
        got = cam.compute_map(image, class_idx=label, prior=prior)
        details = model(image, prior, details=True)
        (gradient,) = torch.autograd.grad(details.logits[0, label], details.features)
        weighted = gradient.mean(dim=(2, 3, 4), keepdim=True) * details.features
        expected = weighted.sum(dim=1, keepdim=True).relu()
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-9)
        somewhere |= bool(expected.any())
    assert somewhere


def test_ae_flow_s_own_loss_comes_with_the_details() -> None:
    torch.manual_seed(0)
    settings = {"width": 2, "depth": 2, "blocks": 1}
    image = torch.randn(2, 1, 16, 16, 16)
    plain = AdaptiveDiagnoser(DiagnoserConfig.read({"backbone": "ae_flow", "settings": settings}))
    assert plain(image, image.abs(), details=True).own_loss is None
    config = DiagnoserConfig.read(
        {"backbone": "ae_flow", "settings": {**settings, "own_loss": 0.1}}
    )
    details = AdaptiveDiagnoser(config)(image, image.abs(), details=True)
    assert details.own_loss is not None
    assert details.own_loss.ndim == 0


@pytest.mark.parametrize("edges", [(32, 32, 48), (32, 40, 32)])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("row", ["none", "pool", "attention"])
def test_a_training_pools_map_by_map_what_f_is_pooled_to(
    row: str, rescale: bool, edges: tuple[int, int, int]
) -> None:
    """Logits and gradients of both ways, on grids that divide each other and on others."""
    torch.manual_seed(0)
    ways = {"none": {"localisation": "none"}, "pool": {}, "attention": {"attention": True}}
    config = small(**{"tap": "all", "attention": False, "rescale": rescale, **ways[row]})
    model = AdaptiveDiagnoser(config).double().eval()
    image, prior = torch.randn(2, 1, *edges).double(), torch.zeros(2, 1, *edges).double()
    prior[0, :, 3:14, 5:9, 2:21] = 0.7
    given = None if row == "none" else prior
    at_once, by_map = model(image, given), model.training_pass(image, given)[0]
    torch.testing.assert_close(by_map, at_once, rtol=1e-9, atol=1e-11)
    weights = [w for name, w in model.named_parameters() if "running" not in name]
    gradients = [
        torch.autograd.grad(logits.square().sum(), weights, allow_unused=True)
        for logits in (at_once, by_map)
    ]
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-9)


def test_everything_wrong_with_a_configuration_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        DiagnoserConfig.read({"dropout": 1.0, "localisation": "fine", "atention": True})
    assert len(caught.value.problems) == 3
    with pytest.raises(InputError, match="attention needs a prior"):
        DiagnoserConfig.read({"localisation": "none"})
    with pytest.raises(InputError, match="tap stands beside"):
        DiagnoserConfig.read({"settings": {"tap": "block1"}})
    with pytest.raises(InputError, match="no tap 'block3'"):
        AdaptiveDiagnoser(small(tap="block3"))
    with pytest.raises(ValidationError, match="frozen"):
        small().dropout = 0.1
