"""Swin3D and the encoder of SwinUNETR: MONAI's Swin transformer, cut where F is taken."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from ictmri_baselines.backbones.base import Backbone, chosen_tap, fill_up
from ictmri_baselines.backbones.settings import Swin3D, SwinUNETR


class SwinBackbone(Backbone):
    """Patch embedding and stages; taps ``stage1``, ``stage2``, ... behind the stages.

    MONAI's stage ends in merging its patches. SwinUNETR takes its features behind that; Swin itself
    ends the last stage without, so ``swin3d`` leaves it out at the tap. F is layer-normalised without
    an affine map, as MONAI hands it on.
    """

    def __init__(self, settings: Swin3D | SwinUNETR) -> None:
        name = "swin3d" if isinstance(settings, Swin3D) else "swinunetr"
        taps = [f"stage{i + 1}" for i in range(len(settings.depth))]
        index = chosen_tap(name, taps, settings.tap)
        merged = index + 1 if name == "swinunetr" else index
        super().__init__(
            name, taps, taps[index], settings.width * 2**merged, stride=settings.patch * 2**merged
        )
        self.network = _network(settings, index + 1)

    def features(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W) of volumes (B, 1, d, h, w)."""
        network = self.network
        tokens = network.pos_drop(network.patch_embed(fill_up(image, self.stride)))
        for stage in range(1, network.num_layers + 1):
            tokens = getattr(network, f"layers{stage}")[0](tokens.contiguous())
        features: Tensor = network.proj_out(tokens, normalize=True)
        return features


def _network(settings: Swin3D | SwinUNETR, stages: int) -> Any:
    """Return MONAI's network, and its names for the parameters, with as many stages."""
    from monai.networks.nets.swin_unetr import SwinTransformer

    importlib.import_module("einops")  # MONAI would miss it in the first pass only
    network = SwinTransformer(
        in_chans=1,
        embed_dim=settings.width,
        window_size=(settings.window,) * 3,
        patch_size=(settings.patch,) * 3,
        depths=settings.depth[:stages],
        num_heads=[settings.heads * 2**i for i in range(stages)],
        patch_norm=isinstance(settings, Swin3D),
    )
    if isinstance(settings, Swin3D):
        getattr(network, f"layers{stages}")[0].downsample = None
    return network
