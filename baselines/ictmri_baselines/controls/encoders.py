"""Encoders that a linear probe may stand on: registered networks, with weights shipped, drawn or of a file.

A file of weights is data: it names no network and runs no code. Sources of the networks: HD-BET 1
(doi:10.1002/hbm.24750); MedicalNet's ResNets (arXiv:1904.00625); the Swin transformer of SwinUNETR's
self-supervised training (doi:10.1109/CVPR52688.2022.02007); ViT-B with patches of 16^3, the one of BrainIAC
(doi:10.1101/2024.12.02.24317992). All but the first are MONAI's classes.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ictmri.errors import InputError
from ictmri.hub.cache import fetch_model, is_model_name
from ictmri.io.files import sha256_file
from ictmri.io.resources import at_home
from ictmri_baselines.processor.extraction.hd_bet import NETWORK_MM, flushed_network, hd_bet_network
from ictmri_baselines.settings import CheckedSettings
from ictmri_baselines.tensors import not_finite, opened, refusal

SHIPPED: Final = "shipped"
RANDOM: Final = "random"
_STAGES: Final = 5
_NESTED: Final = ("state_dict", "model_state_dict", "model")
"""Where training programs put the tensors in their checkpoints."""
_RENAMED: Final = {".mlp.fc1.": ".mlp.linear1.", ".mlp.fc2.": ".mlp.linear2."}
"""Names of Swin's layers in the files of its self-supervised training, and in MONAI's class."""
_STEP: Final = {"swinunetr": 32}
"""What the edge of a cube must be a multiple of; 16 for the others."""
Network = Literal["hd_bet", "resnet10", "resnet18", "resnet34", "resnet50", "swinunetr", "vit"]


class EncoderSettings(CheckedSettings):
    """Which encoder, with which weights, and what it is shown.

    Attributes:
        network: a registered one.
        weights: ``shipped``, those that come with HD-BET; ``random``, drawn as a training would begin; a
            file of tensors (safetensors, or PyTorch's that holds nothing else); or ``ORG/NAME@COMMIT`` of
            the Hub with one safetensors file.
        sha256: of the file of weights: what a run was made with must not change under its name.
        spacing_mm: edge of a voxel of the cube.
    """

    network: Network = "hd_bet"
    weights: Annotated[str, Field(min_length=1)] = SHIPPED
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    spacing_mm: Annotated[float, Field(ge=0.5, le=8)] = NETWORK_MM

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights == SHIPPED and self.network != "hd_bet":
            raise ValueError(f"no weights of {self.network} are shipped; give a file, or random")
        return self

    @property
    def of_a_file(self) -> bool:
        """Whether the weights are those of a file."""
        return self.weights not in (SHIPPED, RANDOM)


class _Registered(NamedTuple):
    make: Callable[[int], Any]
    maps: Callable[[Any, Tensor], list[Tensor]]


def device_of(given: Mapping[str, Any]) -> str:
    """Check a probe's settings, its file of weights included, before anything long begins.

    Raises:
        InputError: with everything that is wrong.
    """
    settings = EncoderSettings.read(given.get("encoder", {}), "encoder of the probe")
    edge, step = given.get("edge"), _STEP.get(settings.network, 16)
    if type(edge) is not int or edge <= 0 or edge % step:
        problem = f"edge is {edge!r}, not a multiple of {step}, as {settings.network} needs it"
        raise InputError("settings of the probe", [problem], f"give e.g. edge: {2 * step}")
    if settings.of_a_file:
        _load(_made(settings.network, edge), settings)
    return "cpu"


class Encoder(nn.Module):
    """A frozen encoder: its feature maps, from fine to coarse."""

    def __init__(self, settings: EncoderSettings, edge: int, seed: int = 0) -> None:
        """Make it.

        Args:
            settings: which one.
            edge: voxels along the edge of the cubes that it will see.
            seed: random weights follow from it.

        Raises:
            InputError: the weights are not to be had, or not of this network.
        """
        super().__init__()
        if settings.weights == SHIPPED:
            network = flushed_network()
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = _made(settings.network, edge)
            if settings.of_a_file:
                _load(network, settings)
        self.network = network.eval()
        self._maps = _REGISTERED[settings.network].maps

    @torch.inference_mode()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Return maps (1, C, D, H, W) of a cube (1, 1, e, e, e)."""
        return self._maps(self.network, image)


def _made(network: Network, edge: int) -> Any:
    return _REGISTERED[network].make(edge)


def _resnet(depth: int) -> _Registered:
    def make(_: int) -> Any:
        from monai.networks.nets import resnet

        bias, shortcut = resnet.get_medicalnet_pretrained_resnet_args(depth)
        return getattr(resnet, f"resnet{depth}")(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=bias,
            shortcut_type=shortcut,
        )

    return _Registered(make, _resnet_maps)


def _resnet_maps(network: Any, image: Tensor) -> list[Tensor]:
    features = network.maxpool(network.act(network.bn1(network.conv1(image))))
    maps = []
    for stage in range(1, _STAGES):
        features = getattr(network, f"layer{stage}")(features)
        maps.append(features)
    return maps


def _hd_bet_maps(network: Any, image: Tensor) -> list[Tensor]:
    """Return the maps at strides 1, 2, 4, 8 and 16."""
    features, maps = network.init_conv(image), []
    for stage in range(1, _STAGES + 1):
        features = getattr(network, f"context{stage}")(features)
        maps.append(features)
        if stage < _STAGES:
            _, features = getattr(network, f"down{stage}")(features)
    return maps


def _swin(_: int) -> Any:
    from ictmri_baselines.backbones import make_backbone

    return make_backbone("swinunetr").network


def _vit(edge: int) -> Any:
    from monai.networks.nets.vit import ViT

    return ViT(in_channels=1, img_size=(edge,) * 3, patch_size=(16,) * 3)


def _vit_maps(network: Any, image: Tensor) -> list[Tensor]:
    tokens, _ = network(image)
    grid = [edge // 16 for edge in image.shape[2:]]
    return [tokens.transpose(1, 2).reshape(1, -1, *grid)]


_REGISTERED: Final[dict[str, _Registered]] = {
    "hd_bet": _Registered(lambda _: hd_bet_network(trained=False), _hd_bet_maps),
    **{f"resnet{depth}": _resnet(depth) for depth in (10, 18, 34, 50)},
    "swinunetr": _Registered(_swin, lambda network, image: list(network(image))),
    "vit": _Registered(_vit, _vit_maps),
}


def _load(network: nn.Module, settings: EncoderSettings) -> None:
    """Give a network the weights of a file: each of its tensors must be there, others may be.

    Raises:
        InputError: there is no such file; it is another; it is no file of tensors, or not of this network.
    """
    path = _file(settings.weights)
    found = sha256_file(path)
    if found != settings.sha256:
        problem = f"its sha256 is {found}, the settings say {settings.sha256 or 'none'}"
        raise InputError(str(path), [problem], "put the sha256 of the file you mean beside weights")
    wanted = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    given = _of_network(_tensors(path), wanted)
    problems = [
        *(f"no tensor {name}" for name in wanted if name not in given),
        *(
            f"{name} has the shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ),
        *not_finite(given),
    ]
    if problems:
        what = f"not weights of {settings.network}"
        raise refusal(path, what, problems, "give the network that they are of, its edge")
    network.load_state_dict({name: given[name].float() for name in wanted}, strict=False)


def _file(weights: str) -> Path:
    if not is_model_name(weights):
        path = at_home(Path(weights))
        if not path.is_file():
            problem = (
                f"no file {path.absolute()}, nor shipped, random, or ORG/NAME@COMMIT of the Hub"
            )
            raise InputError(f"weights {weights!r}", [problem], "correct encoder.weights")
        return path
    paths = sorted(fetch_model(weights).rglob("*.safetensors"))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths)
        step = "download the one you mean, and give its file"
        raise InputError(weights, [f"holds {len(paths)} files of weights: {names}"], step)
    return paths[0]


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; nothing else that a file holds is made."""
    step = "save its tensors alone, with safetensors.torch.save_file, and give that file"
    try:
        if path.suffix == ".safetensors":
            with opened(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever its bytes lead to
        raise refusal(path, "not a file of tensors", [_reason(error)], step) from None
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise refusal(path, "not a file of tensors", [f"holds a {type(found).__name__}"], step)
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _reason(error: Exception) -> str:
    """Say why a file was not read; torch's own words advise to run what it holds."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in text:
        named = re.search(r"GLOBAL (\S+)", text)
        what = f" ({named[1]})" if named else ""
        return f"it holds code or objects{what}, which are not loaded"
    if isinstance(error, ValueError) and text.strip():
        return text.strip().splitlines()[0]
    return "it is cut off or damaged"


def _of_network(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the network's names: below the prefix under which most of them are."""
    named = dict(found)
    for old, new in _RENAMED.items():
        named = {name.replace(old, new): tensor for name, tensor in named.items()}
    first = next(iter(wanted))
    prefixes = {name.removesuffix(first) for name in named if name.endswith(first)} | {""}
    prefix = max(sorted(prefixes), key=lambda one: sum(one + name in named for name in wanted))
    return {name: named[prefix + name] for name in wanted if prefix + name in named}
