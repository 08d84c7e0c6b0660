"""What recipes and commands may name: methods, backbones, detectors. A new one is one row here.

The names stand in recipes, in digests and on the command line, so modules may move. Nothing large is
imported, so that the command line can show them at once; a path ``module:name`` is imported when used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ictmri.io.resources import shipped

_HERE: Final = "ictmri_baselines"


@dataclass(frozen=True, slots=True)
class RegisteredMethod:
    """Where a method is, and what a run must know about it.

    Attributes:
        function: path of a :class:`~ictmri_baselines.methods.Method`.
        libraries: beside NumPy and scikit-learn, those whose versions an entry states.
        device: path of a function that checks the settings and returns where they let the method run; empty
            for a method that runs on the CPU and whose signature says all about its settings.
        parameters: path of a function that returns how many parameters the network of such settings has;
            empty for a method that has none.
        keeps_models: whether its runs hold models that ``predict`` and ``explain`` take.
    """

    function: str
    libraries: tuple[str, ...] = ()
    device: str = ""
    parameters: str = ""
    keeps_models: bool = False


@dataclass(frozen=True, slots=True)
class RegisteredBackbone:
    """Where a backbone is; ``docs/backbones.md`` has its source and its numbers.

    Attributes:
        network: path of a :class:`~ictmri_baselines.backbones.base.Backbone`, made of its settings.
        settings: path of its :class:`~ictmri_baselines.backbones.settings.BackboneSettings`.
        small: settings of a size that two cores train.
    """

    network: str
    settings: str
    small: Mapping[str, Any]


_NETWORK: Final = ("torch", "monai", "pytorch-lightning")

METHODS: Final = {
    "majority": RegisteredMethod(f"{_HERE}.controls.rules:majority"),
    "stratified_random": RegisteredMethod(f"{_HERE}.controls.rules:stratified_random"),
    "demographics": RegisteredMethod(f"{_HERE}.controls.rules:demographics"),
    "location_size": RegisteredMethod(f"{_HERE}.controls.rules:location_size"),
    "radiomics_linear": RegisteredMethod(f"{_HERE}.controls.rules:radiomics_linear"),
    "radiomics_ensemble": RegisteredMethod(f"{_HERE}.controls.rules:radiomics_ensemble"),
    "linear_probe": RegisteredMethod(
        f"{_HERE}.controls.probe:linear_probe",
        libraries=("torch", "monai"),
        device=f"{_HERE}.controls.encoders:device_of",
    ),
    "adaptive_diagnoser": RegisteredMethod(
        f"{_HERE}.diagnoser.fit:adaptive_diagnoser",
        libraries=_NETWORK,
        device=f"{_HERE}.diagnoser.settings:device_of",
        parameters=f"{_HERE}.diagnoser.fit:parameter_count",
        keeps_models=True,
    ),
    "fusion": RegisteredMethod(
        f"{_HERE}.fusion:fusion",
        libraries=_NETWORK,
        device=f"{_HERE}.fusion:device_of",
        parameters=f"{_HERE}.fusion:parameter_count",
    ),
}


def _backbone(module: str, network: str, settings: str, **small: Any) -> RegisteredBackbone:
    package = f"{_HERE}.backbones"
    return RegisteredBackbone(
        f"{package}.{module}:{network}", f"{package}.settings:{settings}", small
    )


BACKBONES: Final = {
    "densenet3d": _backbone(
        "densenet3d", "DenseNet3DBackbone", "DenseNet3D", width=12, depth=(3, 6, 6)
    ),
    "swin3d": _backbone("swin", "SwinBackbone", "Swin3D", width=24, depth=(2, 2, 2)),
    "ae_flow": _backbone("ae_flow", "AeFlowBackbone", "AeFlow", width=8, blocks=4),
    "efficient3d": _backbone("efficient3d", "Efficient3DBackbone", "Efficient3D", width=0.45),
    "swinunetr": _backbone(
        "swin", "SwinBackbone", "SwinUNETR", width=24, depth=(2, 2), window=4, patch=4
    ),
    "vit3d": _backbone(
        "vit3d",
        "ViT3DBackbone",
        "ViT3D",
        width=96,
        depth=4,
        heads=3,
        patch=8,
        size=(48, 48, 48),
    ),
    "convnext3d": _backbone(
        "convnext3d", "ConvNeXt3DBackbone", "ConvNeXt3D", width=24, depth=(2, 2, 2)
    ),
}
"""In the order of Table 3; the last is of the later release."""

DETECTORS: Final = {
    "saliency": f"{_HERE}.localizer.classical.saliency:Saliency",
    "synthetic": f"{_HERE}.localizer.learned.detector:Synthetic",
    "qwen3-vl": f"{_HERE}.localizer.vlm.qwen3_vl:QwenVL",
    "openai": f"{_HERE}.localizer.vlm.openai_server:OpenAIChat",
    "boxes": f"{_HERE}.localizer.replay:Replay",
    "masks": f"{_HERE}.localizer.replay:MaskReplay",
}
"""Paths of their settings."""

DEFAULT_DETECTOR: Final = "synthetic"
OFFLINE: Final = (DEFAULT_DETECTOR, "saliency")
"""Detectors that need nothing but the brain: no server, no file, no weights to fetch. Recipes and models
may name them, whoever they came from."""


def recipe_ids() -> list[str]:
    """Return the ids of the recipes that ship with the package."""
    root = shipped("recipes")
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def is_own(name: str) -> bool:
    """Whether a name is ``module:name``: somebody's own code, imported where the runner names it."""
    return ":" in name


def imported(path: str) -> Any:
    """Import ``module:name``, which is running it: no path that came with data may get here."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
