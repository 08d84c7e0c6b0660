"""ViT3D: MONAI's vision transformer, its tokens laid out as a grid again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ictmri_baselines.backbones.base import Backbone, Size, chosen_tap, fill_up
from ictmri_baselines.backbones.settings import ViT3D


class ViT3DBackbone(Backbone):
    """Patches and transformer blocks; taps ``block1``, ``block2``, ..., each followed by the last norm.

    There is no class token: F holds the patches' tokens alone. All taps have the same grid; a finer
    one takes a smaller patch.
    """

    def __init__(self, settings: ViT3D) -> None:
        taps = [f"block{i + 1}" for i in range(settings.depth)]
        index = chosen_tap("vit3d", taps, settings.tap)
        super().__init__("vit3d", taps, taps[index], settings.width, stride=settings.patch)
        self.learned_grid = self.grid(settings.size)
        self.network = _network(settings, self.learned_grid, index + 1)

    def features(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W) of volumes (B, 1, d, h, w)."""
        network = self.network
        patches = network.patch_embedding.patch_embeddings(fill_up(image, self.stride))
        first, second, third = patches.shape[2:]
        positions = self._positions((first, second, third))
        tokens = network.patch_embedding.dropout(patches.flatten(2).mT + positions)
        for block in network.blocks:
            tokens = block(tokens)
        tokens = network.norm(tokens)
        features: Tensor = tokens.mT.reshape(patches.shape)
        return features

    def _positions(self, grid: Size) -> Tensor:
        """Return the position embeddings (1, tokens, C) of a grid."""
        learned: Tensor = self.network.patch_embedding.position_embeddings
        if grid == self.learned_grid:
            return learned
        volume = learned.mT.reshape(1, self.channels, *self.learned_grid)
        wanted = functional.interpolate(volume, grid, mode="trilinear", align_corners=False)
        return wanted.flatten(2).mT


def _network(settings: ViT3D, grid: Size, blocks: int) -> Any:
    from monai.networks.nets.vit import ViT

    network = ViT(
        in_channels=1,
        img_size=[edge * settings.patch for edge in grid],
        patch_size=settings.patch,
        hidden_size=settings.width,
        mlp_dim=4 * settings.width,
        num_layers=blocks,
        num_heads=settings.heads,
        qkv_bias=True,
    )
    for block in network.blocks:
        # Made for cross-attention, which there is none of: it would never get a gradient.
        block.norm_cross_attn = nn.Identity()
    return network
