import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ictmri.errors import InputError
from ictmri_baselines.backbones import BACKBONES, make_backbone
from ictmri_baselines.backbones.base import Backbone, chosen_tap
from ictmri_baselines.backbones.densenet3d import BINS, IntensityMaps
from ictmri_baselines.backbones.settings import BackboneSettings
from ictmri_baselines.diagnoser.attention import masked_average, resample_prior
from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser
from ictmri_baselines.diagnoser.settings import read_settings
from ictmri_baselines.registry import RegisteredBackbone
from ictmri_baselines.reproduction.recipe import load_recipe

NAMES = list(BACKBONES)
PAPER = (96, 96, 96)
NUMBERS: dict[str, tuple[int, int, dict[str, tuple[int, int]]]] = {
    "densenet3d": (
        *(11_242_624, 298_272),
        {"block1": (256, 4), "block2": (512, 8), "block3": (1024, 16), "block4": (1024, 32)},
    ),
    "swin3d": (
        *(29_352_882, 435_786),
        {"stage1": (96, 4), "stage2": (192, 8), "stage3": (384, 16), "stage4": (768, 32)},
    ),
    "ae_flow": (
        *(14_138_080, 552_824),
        {
            **{"stage1": (32, 2), "stage2": (64, 4), "stage3": (128, 8), "stage4": (256, 16)},
            "flow": (256, 16),
        },
    ),
    "efficient3d": (
        *(2_352_320, 630_478),
        {
            **{"stage1": (16, 2), "stage2": (24, 4), "stage3": (32, 8), "stage4": (96, 16)},
            "stage5": (1280, 32),
        },
    ),
    "swinunetr": (
        *(8_062_002, 125_958),
        {"stage1": (96, 4), "stage2": (192, 8), "stage3": (384, 16), "stage4": (768, 32)},
    ),
    "vit3d": (88_368_384, 517_536, {f"block{i}": (768, 16) for i in (3, 6, 9, 12)}),
    "convnext3d": (
        *(31_317_408, 359_976),
        {"stage1": (96, 4), "stage2": (192, 8), "stage3": (384, 16), "stage4": (768, 32)},
    ),
}
"""Trained parameters of the whole network and of the small one, and channels and stride at each tap."""
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "backbones.md"


def small(name: str, **changes: Any) -> Backbone:
    torch.manual_seed(0)
    return make_backbone(name, **{**BACKBONES[name].small, **changes})


def whole(name: str, **changes: Any) -> Backbone:
    """The backbone at its default size, without its numbers."""
    if name.startswith("swin"):  # MONAI reads a number off a tensor while it makes one
        return make_backbone(name, **changes).to("meta")
    with torch.device("meta"):
        return make_backbone(name, **changes).to("meta")


def trained(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_network_is_what_the_documentation_says(name: str) -> None:
    parameters, _, taps = NUMBERS[name]
    for tap, (channels, stride) in taps.items():
        backbone = whole(name, tap=tap)
        features = backbone(torch.empty(2, 1, *PAPER, device="meta"))
        assert (backbone.channels, backbone.stride) == (channels, stride)
        assert features.shape == (2, channels, *(edge // stride for edge in PAPER))
        assert tap in backbone.taps
    assert backbone.tap == backbone.taps[-1]
    assert trained(backbone) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_the_small_network_trains_at_48(name: str) -> None:
    backbone = small(name)
    assert trained(backbone) == NUMBERS[name][1]
    features = backbone(torch.randn(2, 1, 48, 48, 48))
    assert features.shape == (2, backbone.channels, *backbone.grid((48, 48, 48)))
    assert features.isfinite().all()
    features.square().mean().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_every_tap_builds_nothing_behind_it(name: str) -> None:
    for tap in small(name).taps:
        backbone = small(name, tap=tap)
        features = backbone(torch.randn(2, 1, 32, 32, 32))
        assert features.shape == (2, backbone.channels, *backbone.grid((32, 32, 32)))
        features.square().mean().backward()
        assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_a_network_and_the_generators_of_others_are_left(name: str) -> None:
    numpy_state = np.random.get_state()[1].copy()
    first, second = (small(name).eval() for _ in range(2))
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    states = first.state_dict(), second.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


@pytest.mark.parametrize("name", NAMES)
def test_sizes_from_the_minimum_on_of_any_shape(name: str) -> None:
    backbone = small(name)
    least = backbone.minimum
    for size in ((least, least, least), (least + 1, least + 19, 2 * least), (35, 47, 50)):
        with torch.no_grad():
            features = backbone(torch.randn(2, 1, *size))
        assert tuple(features.shape[2:]) == backbone.grid(size)
        assert features.isfinite().all()
        assert all(e >= n for e, n in zip(backbone.extent(size), size, strict=True))
    with pytest.raises(InputError, match=f"the smallest is {least}"):
        backbone(torch.randn(1, 1, least, least - 1, least))
    with pytest.raises(InputError, match="3 channels"):
        backbone(torch.randn(1, 3, least, least, least))
    with pytest.raises(InputError, match="4 dimensions"):
        backbone(torch.randn(1, least, least, least))


@pytest.mark.parametrize("name", NAMES)
def test_a_voxel_of_f_looks_at_its_part_of_the_volume(name: str) -> None:
    """The centre of what it depends on is off by at most 0.3 of its edge; half an edge would be wrong."""
    backbone = small(name).eval()
    edge = 3 * backbone.stride
    image = torch.randn(1, 1, edge, edge, edge, requires_grad=True)
    middle = backbone(image)[0, :, 1, 1, 1]
    (gradient,) = torch.autograd.grad(middle @ torch.randn_like(middle), image)
    energy = gradient[0, 0].square()
    places = torch.arange(edge) + 0.5
    for axis in range(3):
        profile = energy.sum(dim=[a for a in range(3) if a != axis])
        centre = float((profile * places).sum() / profile.sum())
        assert abs(centre - 1.5 * backbone.stride) < 0.3 * backbone.stride


def test_densenet_is_monai_s() -> None:
    from monai.networks.nets.densenet import DenseNet

    ours = small("densenet3d").eval()
    theirs = DenseNet(3, 1, 4, init_features=24, growth_rate=12, block_config=(3, 6, 6)).eval()
    theirs.features.load_state_dict(ours.network.state_dict())
    image = torch.randn(1, 1, 32, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.features(image).relu())


def test_all_of_densenet_s_maps_lie_on_the_grid_of_its_stem() -> None:
    """Pooled inside a mask, they are what each map is inside the mask averaged to its own grid."""
    every = small("densenet3d", tap="all").eval()
    image, mask = torch.randn(2, 1, 32, 32, 32), torch.rand(2, 1, 32, 32, 32)
    seen: list[torch.Tensor] = []
    stem = every.network.get_submodule("relu0")
    stem.register_forward_hook(lambda *passed: seen.append(passed[2].clone()))
    with torch.no_grad():
        found = masked_average(every(image), resample_prior(mask, (16, 16, 16)))
        parts = [masked_average(seen[0], resample_prior(mask, (16, 16, 16)))]
        assert every.intensities is not None
        levels = every.intensities(image)
        parts.insert(0, masked_average(levels, resample_prior(mask, (16, 16, 16))))
        for tap in every.taps:
            alone = small("densenet3d", tap=tap).eval()
            known = alone.state_dict().keys()
            weights = {k: v for k, v in every.state_dict().items() if k in known}
            index = every.taps.index(tap) + 1
            if index < len(every.taps):
                norm = every.network.get_submodule(f"transition{index}.norm").state_dict()
                weights |= {f"network.norm5.{k}": v for k, v in norm.items()}
            alone.load_state_dict(weights)
            features = alone(image)
            parts.append(masked_average(features, resample_prior(mask, features.shape[2:])))
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=1e-4, atol=1e-5)
    assert every.channels == found.shape[1]
    assert every.grid((33, 32, 31)) == (17, 16, 16)


def test_maps_of_intensities_are_a_histogram_and_the_spread_of_neighbours() -> None:
    maps = IntensityMaps().eval()
    levels = torch.tensor([0.0, -2, -1.5, 2, 5.25]).repeat_interleave(2)
    image = levels[:, None, None].expand(10, 6, 6)[None, None].clone()
    with torch.no_grad():
        found = maps(image)[0, :, :, 1, 1].T * (1 + maps.norm.eps) ** 0.5
    histogram = torch.zeros(5, len(BINS))
    histogram[1, 0] = 1
    histogram[2, :2] = 0.5
    histogram[3, 4] = 1
    histogram[4, 6:8] = 0.5
    torch.testing.assert_close(found[:, : len(BINS)], histogram)
    torch.testing.assert_close(found[:, len(BINS)] * 4, levels[::2])
    noise = torch.randn(1, 1, 7, 8, 9)
    with torch.no_grad():
        spread = maps(noise)[0, -3] * (1 + maps.norm.eps) ** 0.5
    assert spread.shape == (4, 4, 5)
    neighbours = [
        noise[0, 0, x : x + 3, y : y + 3, z : z + 3].std(correction=0)
        for x in (1, 2) for y in (1, 2) for z in (1, 2)
    ]  # fmt: skip
    torch.testing.assert_close(
        spread[1, 1, 1], torch.stack(neighbours).mean(), rtol=1e-3, atol=1e-3
    )


def test_swinunetr_is_the_encoder_of_monai_s() -> None:
    from monai.networks.nets.swin_unetr import SwinUNETR

    ours = small("swinunetr", width=12, depth=(1, 1, 1, 1), patch=2, window=3).eval()
    theirs = SwinUNETR(1, 2, depths=(1, 1, 1, 1), feature_size=12, window_size=3).eval()
    theirs.swinViT.load_state_dict(ours.network.state_dict())
    image = torch.randn(1, 1, 32, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.swinViT(image)[-1])


def test_vit_is_monai_s_and_positions_follow_the_size() -> None:
    from monai.networks.nets.vit import ViT

    settings = {"width": 24, "depth": 2, "heads": 2, "patch": 8, "size": (16, 24, 32)}
    ours = small("vit3d", **settings).eval()
    theirs = ViT(1, (16, 24, 32), 8, 24, 96, 2, 2, qkv_bias=True).eval()
    assert theirs.load_state_dict(ours.network.state_dict(), strict=False).unexpected_keys == []
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.no_grad():
        tokens = theirs(image)[0]
        torch.testing.assert_close(ours(image)[0].flatten(1).mT, tokens[0])
        positions = ours.network.patch_embedding.position_embeddings
        ramp = torch.linspace(0.5, 3.5, 4).repeat(6)[None, :, None]
        positions.copy_(ramp.expand_as(positions))
        finer = ours._positions((2, 3, 8))[0, :, 0].reshape(2, 3, 8)
    expected = torch.tensor([0.5, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.5])
    torch.testing.assert_close(finer, expected.expand(2, 3, 8))


def mobilenet_v2(axes: int, inputs: int) -> int:
    """Parameters of MobileNetV2's convolutions and norms, from its table."""

    def block(t: int, c: int, out: int) -> int:
        h = t * c
        expand = c * h + 2 * h if t > 1 else 0
        return expand + h * 3**axes + 2 * h + h * out + 2 * out

    rows = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    total, c = inputs * 32 * 3**axes + 64, 32
    for t, out, repeats in rows:
        for _ in range(repeats):
            total, c = total + block(t, c, out), out
    return total + 320 * 1280 + 2 * 1280


def convnext_t(axes: int, inputs: int) -> int:
    """Parameters of ConvNeXt-T up to the last norm."""
    total, c = inputs * 96 * 4**axes + 96 + 2 * 96, 96
    for stage, blocks in enumerate((3, 3, 9, 3)):
        if stage:
            total, c = total + 2 * c + c * 2 * c * 2**axes + 2 * c, 2 * c
        mlp = c * 4 * c + 4 * c + 4 * c * c + c
        total += blocks * (c * 7**axes + c + 2 * c + mlp + c)
    return total + 2 * c


def test_own_networks_have_the_parameters_of_their_papers() -> None:
    # The formulas first give what is known of the networks for pictures, heads of 1,000 included.
    assert mobilenet_v2(2, 3) + 1280 * 1000 + 1000 == 3_504_872
    assert convnext_t(2, 3) + 768 * 1000 + 1000 == 28_589_128
    assert NUMBERS["efficient3d"][0] == mobilenet_v2(3, 1)
    assert NUMBERS["convnext3d"][0] == convnext_t(3, 1)


def test_drop_path_passes_over_whole_cases() -> None:
    from ictmri_baselines.backbones.convnext3d import Block

    torch.manual_seed(0)
    block = Block(4, kernel=3, drop_path=0.5)
    nn.init.ones_(block.scale)
    features = torch.randn(16, 4, 3, 3, 3)
    with torch.no_grad():
        branch = block.eval()(features) - features
        dropped = block.train()(features) - features
    for case, whole_branch in zip(dropped, branch, strict=True):
        assert not case.any() or torch.allclose(case, 2 * whole_branch, atol=1e-6)
    assert 0 < sum(bool(case.any()) for case in dropped) < 16


def test_the_flow_inverts_and_its_density_is_that_of_the_jacobian() -> None:
    torch.manual_seed(0)
    backbone = make_backbone("ae_flow", width=2, depth=1, blocks=3, own_loss=0.5, flow_share=1.0)
    backbone = backbone.double().eval()
    image = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64)
    code = backbone.encoder(image)
    features = backbone(image)
    back, inverse_log_det = backbone.flow(features, rev=True)
    torch.testing.assert_close(back, code)
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: backbone.flow(flat.reshape(code.shape))[0].flatten(), code.detach().flatten()
    )
    sign, log_det = torch.linalg.slogdet(jacobian)
    assert abs(sign) == 1
    torch.testing.assert_close(inverse_log_det[0], -log_det)
    expected = 0.5 * (0.5 * features.square().sum() - log_det) / features.numel()
    torch.testing.assert_close(backbone.own_loss(image, features), expected)


def test_ae_flow_s_own_loss_reaches_the_decoder_at_any_size() -> None:
    backbone = small("ae_flow", own_loss=1.0, flow_share=0.25)
    image = torch.randn(2, 1, 32, 17, 40)
    loss = backbone.own_loss(image, backbone(image))
    assert loss is not None
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    with pytest.raises(InputError, match="own_loss needs the flow"):
        small("ae_flow", own_loss=1.0, tap="stage2")


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_gives_features_near_those_of_float32(name: str) -> None:
    backbone = small(name).eval()
    image = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        exact = backbone(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = backbone(image).float()
    assert (rough - exact).norm() < 0.1 * exact.norm()


def test_everything_wrong_with_the_settings_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        make_backbone("densenet3d", width=0, depth=(), growth=3)
    assert len(caught.value.problems) == 3
    assert "its settings are: tap, width, depth, dropout" in caught.value.next_step
    with pytest.raises(InputError, match="did you mean 'densenet3d'"):
        make_backbone("densenet")
    with pytest.raises(InputError, match="did you mean 'block2'"):
        make_backbone("densenet3d", tap="blok2")
    with pytest.raises(InputError, match="width 10 is no multiple of heads 3"):
        make_backbone("swin3d", width=10)
    with pytest.raises(InputError, match="kernel: must be odd"):
        make_backbone("convnext3d", kernel=4)


OWN = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, width, 3, 4, 1), nn.BatchNorm3d(width), nn.Dropout())
    def forward(self, image):
        return self.layers(image)

class Lying(Good):
    channels = 7

class Pooling(Good):
    def forward(self, image):
        return super().forward(image).mean(dim=(2, 3, 4))

class Several(Good):
    def forward(self, image):
        return [super().forward(image)]

class Picky(Good):
    def forward(self, image):
        assert image.shape[-1] == 96, "96 only"

class Fickle(Good):
    def forward(self, image):
        return super().forward(image)[:1, :, :, 0] if len(image) > 1 else super().forward(image)

def plain(): return object()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return "my_networks"


def test_one_s_own_network(own: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    backbone = make_backbone(f"{own}:Good", width=5)
    assert (backbone.channels, backbone.stride, backbone.taps) == (5, 4, ("last",))
    assert backbone.training
    features = backbone(torch.randn(2, 1, 10, 16, 20))
    assert features.shape == (2, 5, 3, 4, 5)
    assert backbone.extent((10, 16, 20)) == (10, 16, 20)
    assert torch.equal(backbone.network.layers[1].num_batches_tracked, torch.tensor(1))
    torch.set_rng_state(before)
    again = make_backbone(f"{own}:Good", width=5)
    assert torch.equal(again.network.layers[0].weight, backbone.network.layers[0].weight)


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("no_such_module:Net", {}, "cannot import 'no_such_module'"),
        ("my_networks:Goood", {}, "no class 'Goood'; did you mean 'Good'"),
        ("my_networks:Good", {"depth": 2}, "unexpected keyword argument 'depth'"),
        ("my_networks:plain", {}, "made a object, no torch.nn.Module"),
        ("my_networks:Lying", {}, "3 channels, and has 7"),
        ("my_networks:Pooling", {}, "returned 2 dimensions"),
        ("my_networks:Several", {}, "returned a list, no tensor"),
        ("my_networks:Picky", {}, "AssertionError: 96 only"),
        ("my_networks:Good", {"tap": "block1"}, "has the tap 'last' alone"),
    ],
)
def test_what_is_wrong_with_one_s_own_network(
    own: str, path: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        make_backbone(path, **settings)
    assert caught.value.next_step


def test_one_s_own_network_is_watched_while_it_runs(own: str) -> None:
    backbone = make_backbone(f"{own}:Fickle")
    with pytest.raises(InputError, match="returned 4 dimensions"):
        backbone(torch.randn(2, 1, 16, 16, 16))


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_has_the_numbers(name: str) -> None:
    parameters, small_parameters, taps = NUMBERS[name]
    (row,) = (line for line in DOCUMENTATION.read_text().splitlines() if f"| `{name}` |" in line)
    channels, stride = list(taps.values())[-1]
    for said in (f"{parameters / 1e6:.2f}", f"{channels}", f"{stride}"):
        assert f"| {said} |" in row
    assert f"{small_parameters / 1e6:.2f}" in row
    assert all(f"`{tap}`" in row for tap in list(taps)[:-1])


class MadeUp(Backbone):
    """One convolution."""

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__("made_up", ("only",), "only", 3, 8)
        chosen_tap("made_up", self.taps, settings.tap)
        self.network = nn.Conv3d(1, 3, 8, 8)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(image)
        return found


def test_a_new_backbone_is_one_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: table2/5\nsettings: {network: {backbone: made_up, settings: {}}}\n")
    given = {"network": {"backbone": "made_up"}}
    with pytest.raises(InputError, match="no backbone 'made_up'"):
        read_settings(given)
    spec = RegisteredBackbone(f"{__name__}:MadeUp", f"{__name__}:BackboneSettings", small={})
    monkeypatch.setitem(BACKBONES, "made_up", spec)
    network = AdaptiveDiagnoser(read_settings(given).network)
    assert network(torch.zeros(2, 1, 16, 16, 16), torch.ones(2, 1, 16, 16, 16)).shape == (2, 4)
    assert not load_recipe(str(recipe)).imports("cpu")
    with pytest.raises(InputError, match=r"take one of densenet3d, .*, made_up, or module:Class"):
        make_backbone("other")
    with pytest.raises(InputError, match=r"its settings are: tap"):
        make_backbone("made_up", width=3)
