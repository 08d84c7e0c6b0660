"""The backbones by name: where each comes from, what it yields, and how it is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ictmri.errors import InputError, MissingDependencyError, nearest, validated
from ictmri_baselines.backbones import settings as chosen
from ictmri_baselines.backbones.settings import LAST, Settings

if TYPE_CHECKING:
    from ictmri_baselines.backbones.base import Backbone


@dataclass(frozen=True, slots=True)
class Tap:
    """A place where F can be taken, at the default settings.

    Attributes:
        name: as in the settings.
        channels: C of F there.
        stride: voxels of the input along an edge of one voxel of F.
    """

    name: str
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """One backbone of the registry.

    Attributes:
        name: as in recipes.
        title: as the tables call it.
        paper: where the network is described.
        source: whose code it is.
        settings: what can be chosen.
        parameters: trained ones at the default settings, up to F at the last tap.
        taps: from early to late; the last is the default. Of a vision transformer, every third.
        small: settings of the ``cpu`` profile.
        small_parameters: trained ones at those.
        left_open: what the Virtual Biopsy paper does not say about it, and what is done instead.
    """

    name: str
    title: str
    paper: str
    source: str
    settings: type[Settings]
    parameters: int
    taps: tuple[Tap, ...]
    small: Mapping[str, Any]
    small_parameters: int
    left_open: tuple[str, ...] = field(default=())


_SIZE_OPEN: Final = "Its size is not printed."

BACKBONES: Final[Mapping[str, BackboneSpec]] = {
    spec.name: spec
    for spec in (
        BackboneSpec(
            name="densenet3d",
            title="3D DenseNet",
            paper="Huang et al. 2017, doi:10.1109/CVPR.2017.243",
            source="MONAI, DenseNet",
            settings=chosen.DenseNet3D,
            parameters=11_242_624,
            taps=(
                Tap("block1", 256, 4),
                Tap("block2", 512, 8),
                Tap("block3", 1024, 16),
                Tap("block4", 1024, 32),
            ),
            small={"width": 12, "depth": (3, 6, 6)},
            small_parameters=298_272,
            left_open=("Which DenseNet is not printed: 121, the smallest of the paper's four.",),
        ),
        BackboneSpec(
            name="swin3d",
            title="Swin3D",
            paper="Liu et al. 2021, doi:10.1109/ICCV48922.2021.00986; cited through Chen et al. 2023, "
            "arXiv:2204.11716",
            source="MONAI, SwinTransformer",
            settings=chosen.Swin3D,
            parameters=29_352_882,
            taps=(
                Tap("stage1", 96, 4),
                Tap("stage2", 192, 8),
                Tap("stage3", 384, 16),
                Tap("stage4", 768, 32),
            ),
            small={"width": 24, "depth": (2, 2, 2)},
            small_parameters=435_786,
            left_open=(
                f"{_SIZE_OPEN} Swin-T: patches of 4^3, windows of 7^3, blocks 2, 2, 6, 2.",
                "Chen et al. pre-train it by masked images; nothing is pre-trained here.",
            ),
        ),
        BackboneSpec(
            name="ae_flow",
            title="AE-FLOW",
            paper="Zhao et al. 2023, openreview.net/forum?id=9OmCr1q54Z",
            source="own; coupling blocks of FrEIA, AllInOneBlock",
            settings=chosen.AeFlow,
            parameters=14_138_080,
            taps=(
                Tap("stage1", 32, 2),
                Tap("stage2", 64, 4),
                Tap("stage3", 128, 8),
                Tap("stage4", 256, 16),
                Tap("flow", 256, 16),
            ),
            small={"width": 8, "blocks": 4},
            small_parameters=552_824,
            left_open=(
                "How a detector of anomalies, trained on normal images alone, became a classifier of four "
                "tumours: F is the flow's output z', on a sixteenth of the grid as in AE-FLOW.",
                "Whether its own loss was kept. The text has cross-entropy alone, which reaches neither "
                "likelihood nor decoder, so neither is there; own_loss > 0 adds both.",
                "Channels, and the number of couplings, in 3D: 32 to 256, and 8.",
            ),
        ),
        BackboneSpec(
            name="efficient3d",
            title="Efficient3D",
            paper="Kopuklu et al. 2019, arXiv:1904.02422",
            source="own, 3D MobileNetV2 from the paper's table",
            settings=chosen.Efficient3D,
            parameters=2_352_320,
            taps=(
                Tap("stage1", 16, 2),
                Tap("stage2", 24, 4),
                Tap("stage3", 32, 8),
                Tap("stage4", 96, 16),
                Tap("stage5", 1280, 32),
            ),
            small={"width": 0.45},
            small_parameters=630_478,
            left_open=(
                "Which of the paper's five networks: MobileNetV2, at width 1.",
                "Whether the stem kept the slices' axis, as for video: it halves all three.",
            ),
        ),
        BackboneSpec(
            name="swinunetr",
            title="SwinUNETR",
            paper="Tang et al. 2022, doi:10.1109/CVPR52688.2022.02007",
            source="MONAI, SwinTransformer with the arguments of SwinUNETR",
            settings=chosen.SwinUNETR,
            parameters=8_062_002,
            taps=(
                Tap("stage1", 96, 4),
                Tap("stage2", 192, 8),
                Tap("stage3", 384, 16),
                Tap("stage4", 768, 32),
            ),
            small={"width": 24, "depth": (2, 2), "window": 4, "patch": 4},
            small_parameters=125_958,
            left_open=(
                f"{_SIZE_OPEN} Feature size 48, as in Tang et al.",
                "What of a network for segmentation was used: the encoder, whose deepest map is F.",
                "Tang et al. pre-train the encoder; nothing is pre-trained here.",
            ),
        ),
        BackboneSpec(
            name="vit3d",
            title="ViT3D",
            paper="Dosovitskiy et al. 2021, arXiv:2010.11929; cited through Chen et al. 2023, "
            "arXiv:2204.11716",
            source="MONAI, ViT",
            settings=chosen.ViT3D,
            parameters=88_368_384,
            taps=tuple(Tap(f"block{i}", 768, 16) for i in (3, 6, 9, 12)),
            small={"width": 96, "depth": 4, "heads": 3, "patch": 8, "size": (48, 48, 48)},
            small_parameters=517_536,
            left_open=(
                f"{_SIZE_OPEN} ViT-B with patches of 16^3.",
                "A transformer has no map to pool by a mask but its tokens: F is those, as a grid.",
                "Chen et al. pre-train it by masked images; nothing is pre-trained here.",
            ),
        ),
        BackboneSpec(
            name="convnext3d",
            title="ConvNeXt3D",
            paper="Liu et al. 2022, doi:10.1109/CVPR52688.2022.01167",
            source="own",
            settings=chosen.ConvNeXt3D,
            parameters=31_317_408,
            taps=(
                Tap("stage1", 96, 4),
                Tap("stage2", 192, 8),
                Tap("stage3", 384, 16),
                Tap("stage4", 768, 32),
            ),
            small={"width": 24, "depth": (2, 2, 2)},
            small_parameters=359_976,
            left_open=("Named on the later release's card alone, without its size: ConvNeXt-T.",),
        ),
    )
}
"""In the order of Table 3; the last is of the later release."""


def make_backbone(name: str, **settings: Any) -> Backbone:
    """Make a backbone; initial weights follow from torch's generator alone.

    Args:
        name: a key of :data:`BACKBONES`, or ``module:Class`` of one's own network: a ``torch.nn.Module``
            that turns (B, 1, d, h, w) into a feature map (B, C, D, H, W).
        **settings: of that backbone's ``settings``, ``tap`` among them; for one's own class, its keyword
            arguments.

    Naming ``module:Class`` imports it, which is running it: no name that came with data may get here.

    Raises:
        InputError: unknown name; settings that are wrong or not of this backbone, all of them; or one's own
            network cannot be used.
        MissingDependencyError: the library that holds the network is not installed.
    """
    if is_own(name):
        from ictmri_baselines.backbones.own import own_backbone

        tap = settings.pop("tap", LAST)
        if tap != LAST:
            problem = f"tap {tap!r}, but one's own network has the tap {LAST!r} alone"
            raise InputError(
                f"backbone {name}", [problem], "let the network return the map you want"
            )
        return own_backbone(name, settings)
    checked = checked_settings(name, settings)
    try:
        return _class_of(name)(checked)
    except ImportError:
        raise MissingDependencyError(f"The backbone {name}", "baselines") from None


def is_own(name: str) -> bool:
    """Whether a name is ``module:Class``: code that is imported, not a choice from the registry."""
    return ":" in name


def checked_settings(name: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a backbone of the registry.

    Raises:
        InputError: there is no such backbone; or what is wrong with them, all of it.
    """
    if name not in BACKBONES:
        problem = f"no backbone {name!r}{nearest(name, BACKBONES)}"
        raise InputError(
            "backbone", [problem], f"take one of {', '.join(BACKBONES)}, or module:Class"
        )
    kind = BACKBONES[name].settings
    return validated(kind, given, f"backbone {name}")


_CLASSES: Final = {
    "densenet3d": "densenet3d:DenseNet3DBackbone",
    "swin3d": "swin:SwinBackbone",
    "ae_flow": "ae_flow:AeFlowBackbone",
    "efficient3d": "efficient3d:Efficient3DBackbone",
    "swinunetr": "swin:SwinBackbone",
    "vit3d": "vit3d:ViT3DBackbone",
    "convnext3d": "convnext3d:ConvNeXt3DBackbone",
}
"""Module in this package and class; imported when one is made, so that looking names up needs no torch."""


def _class_of(name: str) -> Callable[[Any], Backbone]:
    module, _, kind = _CLASSES[name].partition(":")
    found = importlib.import_module(f"{__package__}.{module}")
    made: Callable[[Any], Backbone] = getattr(found, kind)
    return made
