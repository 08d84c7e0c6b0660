import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import SwinUNETR, ViT, resnet
from safetensors.torch import save_file
from scipy import ndimage

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.files import sha256_file
from ictmri_baselines.cases import Cases, Volumes
from ictmri_baselines.controls import probe
from ictmri_baselines.controls.encoders import Encoder, EncoderSettings, device_of
from ictmri_baselines.methods import Workspace
from ictmri_baselines.processor.extraction.hd_bet import hd_bet_network
from ictmri_baselines.reproduction.recipe import load_recipe
from ictmri_baselines.reproduction.reproduce import reproduce

EDGE = 32


def cases(n: int = 6) -> tuple[Cases, np.ndarray]:
    """Smooth noise; the class is how bright, and how grainy, the prior's inside is."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    image = np.stack([ndimage.gaussian_filter(rng.normal(size=(40,) * 3), 2) for _ in range(n)])
    prior = np.zeros(image.shape, dtype=np.uint8)
    prior[:, 14:24, 16:26, 15:25] = 255
    for index in np.flatnonzero(labels):
        image[index][prior[index] > 0] = 1 + rng.normal(size=1000)
    unknown = np.full(n, np.nan)
    volumes = Volumes(image.astype(np.float16), prior, prior, np.diag([1.5, 1.5, 1.5, 1.0]))
    return Cases([f"c{i}" for i in range(n)], unknown, unknown, np.arange(n), volumes), labels


def test_features_are_the_encoders_means_inside_the_prior_and_around_it() -> None:
    some, _ = cases(1)
    (found,) = probe.encoder_features(some, EDGE)
    volume = some.image(0)
    scaled = (volume - volume.mean()) / volume.std()
    # The middle of voxels 14..23 is 18.5; a cube of 32 about it begins at 3, on a voxel.
    cube = scaled[3:35, 5:37, 4:36]
    mask = some.refined(0)[3:35, 5:37, 4:36]
    kept: list[torch.Tensor] = []
    network = hd_bet_network().eval()
    network.context1.register_forward_hook(lambda *stage: kept.append(stage[2]))
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(cube))[None, None])
    (first,) = kept
    channels = first.shape[1]
    inside = first[0].numpy()[:, mask > 0.5].mean(axis=1)
    np.testing.assert_allclose(found[:channels], inside, rtol=1e-3, atol=1e-4)
    around = first[0].numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found[channels : 2 * channels], around, rtol=1e-3, atol=1e-4)


def test_what_the_encoder_sees_tells_textures_apart() -> None:
    some, labels = cases(12)
    train = np.arange(12) < 8
    found = probe.linear_probe(
        some.subset(train), labels[train], some.subset(~train), seed=0, strengths=[1.0], edge=EDGE
    )
    assert (found.argmax(axis=1) == labels[~train]).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_features_are_computed_once_a_cohort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path))
    some, labels = cases()
    workspace = Workspace(tmp_path / "fold", {"data_sha256": "d" * 64})
    settings = {"seed": 0, "strengths": [1.0], "edge": 16, "workspace": workspace}
    train = np.arange(6) < 4
    first = probe.linear_probe(some.subset(train), labels[train], some.subset(~train), **settings)
    (path,) = (tmp_path / "probe").glob("*.npz")
    written = path.stat().st_mtime_ns
    # The other fold: what was tested is trained on now.
    probe.linear_probe(some.subset(~train), labels[~train], some.subset(train), **settings)
    assert path.stat().st_mtime_ns == written
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path / "other"))
    again = probe.linear_probe(some.subset(train), labels[train], some.subset(~train), **settings)
    np.testing.assert_array_equal(first, again)


def test_random_weights_follow_from_the_seed_and_are_not_the_trained_ones(tmp_path: Path) -> None:
    some, _ = cases(1)
    drawn = EncoderSettings(weights="random")
    features = [probe.encoder_features(some, EDGE, drawn, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(features[0], features[1])
    others = [features[2], probe.encoder_features(some, EDGE)]
    assert all(not np.allclose(features[0], other) for other in others)
    assert features[0].shape == others[1].shape
    assert features[0].std() > 0.01, "an encoder of zeros is no control"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_draws_one_random_encoder_for_all_its_folds(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICTMRI_CACHE", str(tmp_path))
    some, _ = cases(2)
    chosen = EncoderSettings(weights="random")
    for fold in (0, 1):
        workspace = Workspace(tmp_path, {"data_sha256": "d" * 64, "seed": seed, "fold": fold})
        (found,) = probe._features([some], 16, chosen, workspace)
        np.testing.assert_array_equal(found, probe.encoder_features(some, 16, chosen, seed))
    assert len(list((tmp_path / "probe").glob("*.npz"))) == 1


Made = Callable[[], tuple[dict[str, torch.Tensor], Callable[[torch.Tensor], list[torch.Tensor]]]]


def medicalnet() -> Any:
    """A ResNet's tensors as MedicalNet's files name them, and what MONAI's class makes of a volume."""
    network = resnet.resnet10(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        num_classes=2,
        bias_downsample=False,
        shortcut_type="B",
    ).eval()
    kept: list[torch.Tensor] = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda *call: kept.append(call[2]))

    def maps(image: torch.Tensor) -> list[torch.Tensor]:
        network(image)
        return kept

    return {f"module.{name}": t for name, t in network.state_dict().items()}, maps


def swin() -> Any:
    """The encoder's tensors as SwinUNETR's self-supervised training names them, and MONAI's own maps."""
    network = SwinUNETR(in_channels=1, out_channels=3, feature_size=48).swinViT.eval()
    named = network.state_dict().items()
    old = {f"module.{name.replace('mlp.linear', 'mlp.fc')}": tensor for name, tensor in named}
    return old, lambda image: list(network(image, normalize=True))


def vit() -> Any:
    """ViT-B's tensors as BrainIAC's checkpoint names them, and the tokens of MONAI's class as a grid."""
    network = ViT(in_channels=1, img_size=(EDGE,) * 3, patch_size=(16,) * 3).eval()

    def maps(image: torch.Tensor) -> list[torch.Tensor]:
        (tokens,) = network(image)[0]
        return [tokens.T.reshape(1, 768, 2, 2, 2)]

    return {f"backbone.{name}": t for name, t in network.state_dict().items()}, maps


@pytest.mark.parametrize(
    ("network", "made", "kind"),
    [
        ("resnet10", medicalnet, "pth"),
        ("swinunetr", swin, "safetensors"),
        pytest.param("vit", vit, "ckpt", marks=pytest.mark.long),
    ],
)
def test_an_encoder_of_a_file_is_the_network_that_the_file_was_saved_from(
    network: Any, made: Made, kind: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    tensors, maps = made()
    tensors = {**tensors, "head.weight": torch.zeros(4, 7)}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3}, path)
    chosen = {"network": network, "weights": str(path), "sha256": sha256_file(path)}
    assert device_of({"encoder": chosen, "edge": EDGE}) == "cpu"
    image = torch.randn(1, 1, EDGE, EDGE, EDGE)
    with torch.inference_mode():
        expected = maps(image)
    found = Encoder(EncoderSettings(**chosen), EDGE)(image)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def refused(path: Path, **changes: Any) -> str:
    chosen = {"network": "resnet10", "weights": str(path), **changes}
    if path.is_file():
        chosen.setdefault("sha256", sha256_file(path))
    with pytest.raises(InputError) as caught:
        device_of({"encoder": chosen, "edge": EDGE})
    return str(caught.value)


def test_a_file_that_holds_no_weights_of_the_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    assert "no file" in refused(path)
    path.write_bytes(pickle.dumps({"state_dict": Payload()}))
    assert "not a file of tensors" in refused(path)
    torch.save({"state_dict": Payload()}, path)
    assert "code or objects (getattr), which are not loaded" in refused(path)
    path.write_text("hello")
    assert "not a file of tensors: it is cut off or damaged" in refused(path)
    assert not Path("ran").exists()
    tensors, _ = medicalnet()
    torch.save(tensors, path)
    assert "its sha256 is" in refused(path, sha256="0" * 64)
    assert "the settings say none" in refused(path, sha256="")
    assert "conv1.weight has the shape" not in refused(path, network="resnet50").splitlines()[0]
    assert "no tensor layer1.0.conv3.weight" in refused(path, network="resnet50")
    first = next(iter(tensors))
    torch.save(tensors | {first: tensors[first] * float("nan")}, path)
    assert "conv1.weight holds numbers that are not finite" in refused(path)
    torch.save(tensors | {first: tensors[first][:3]}, path)
    assert "conv1.weight has the shape (3, 1, 7, 7, 7), not (64, 1, 7, 7, 7)" in refused(path)
    assert "no weights of resnet10 are shipped" in refused(path, weights="shipped", sha256="")


@pytest.mark.parametrize("edge", ["big", None, 0, -32, 48.0, True, 24])
def test_an_edge_that_the_encoder_cannot_halve_is_refused(edge: Any) -> None:
    with pytest.raises(InputError, match=f"edge is {edge!r}, not a multiple of 16, as vit needs"):
        device_of({"encoder": {"network": "vit", "weights": "random"}, "edge": edge})


def test_the_recipe_of_ones_own_encoder_asks_for_it(raw_phantom: Cohort, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"needs your encoder\.network\n.*needs your encoder\.weights"
    ):
        reproduce("external/probe", raw_phantom, tmp_path / "run", jobs=1)
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: external/probe\nsettings: {encoder: {network: vit, weights: random}, edge: 96}\n"
    )
    assert not load_recipe(str(path)).missing("cpu")
