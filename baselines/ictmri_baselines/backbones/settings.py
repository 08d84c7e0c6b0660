"""What can be chosen about each backbone; the defaults are the paper's network, or nearest to it."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from ictmri_baselines.settings import CheckedSettings

LAST: Final = "last"
"""The tap that every backbone has."""
ALL: Final = "all"
"""The tap of ``densenet3d`` that is all of its maps, and the intensities."""
_MOST_LAYERS: Final = 200
"""DenseNet-264, the deepest that its authors describe, has 130."""
_MOST_PERMUTED: Final = 1024
"""A coupling block holds its permutation as a whole matrix."""


def _few(depth: tuple[int, ...]) -> tuple[int, ...]:
    if sum(depth) > _MOST_LAYERS:
        raise ValueError(f"{sum(depth)} layers, at most {_MOST_LAYERS}")
    return depth


Count = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[int, Field(ge=1, le=_MOST_LAYERS)]
Depths = Annotated[tuple[Layers, ...], Field(min_length=1, max_length=8), AfterValidator(_few)]
Stages = Annotated[tuple[Layers, ...], Field(min_length=1, max_length=4), AfterValidator(_few)]
Rows = Annotated[
    tuple[Layers, Layers, Layers, Layers, Layers, Layers, Layers], AfterValidator(_few)
]
Share = Annotated[float, Field(ge=0, lt=1)]


def _odd(edge: int) -> int:
    if edge % 2 == 0:
        raise ValueError("must be odd, or no voxel is its centre")
    return edge


class BackboneSettings(CheckedSettings):
    """Settings of one backbone.

    Attributes:
        tap: where the feature map F is taken.
    """

    tap: str = LAST


class DenseNet3D(BackboneSettings):
    """DenseNet121.

    Attributes:
        width: growth rate; the stem has twice as many channels.
        depth: layers of each dense block; one block halves the grid, the stem quarters it.
        dropout: after each layer.
    """

    width: Count = 32
    depth: Depths = (6, 12, 24, 16)
    dropout: Share = 0.0


class _Attending(BackboneSettings):
    width: Count
    heads: Count

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class _Swin(_Attending):
    depth: Stages
    heads: Count = 3
    window: Count = 7
    patch: Count


class Swin3D(_Swin):
    """Swin-T in 3D.

    Attributes:
        width: channels of the first stage; doubled by each further one.
        depth: blocks of each stage, at most four; each further stage halves the grid.
        heads: of the first stage; doubled by each further one.
        window: edge of the attention window in patches.
        patch: edge of a patch in voxels.
    """

    width: Count = 96
    depth: Stages = (2, 2, 6, 2)
    patch: Count = 4


class SwinUNETR(_Swin):
    """The encoder of SwinUNETR.

    Attributes:
        width: the network's feature size; doubled by each stage.
        depth: blocks of each stage, at most four; each stage ends in halving the grid.
        heads: of the first stage; doubled by each further one.
        window: edge of the attention window in patches.
        patch: edge of a patch in voxels.
    """

    width: Count = 48
    depth: Stages = (2, 2, 2, 2)
    patch: Count = 2


class ViT3D(_Attending):
    """ViT-B/16.

    Attributes:
        width: channels.
        depth: transformer blocks.
        heads: of each block.
        patch: edge of a patch in voxels, and so of F's voxels.
        size: input in voxels for which position embeddings are learned; those of any other size are
            interpolated from them.
    """

    width: Count = 768
    depth: Layers = 12
    heads: Count = 12
    patch: Count = 16
    size: tuple[Count, Count, Count] = (96, 96, 96)


class Efficient3D(BackboneSettings):
    """3D MobileNetV2.

    Attributes:
        width: multiplier of the channels; the paper has 0.2, 0.45, 0.7 and 1.
        depth: blocks of each of the seven rows of the table.
    """

    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    depth: Rows = (1, 2, 3, 4, 3, 3, 1)


class AeFlow(BackboneSettings):
    """Autoencoder with a normalizing flow.

    Attributes:
        width: channels of the first stage; doubled by each further one.
        depth: stages of the encoder; each halves the grid.
        blocks: coupling blocks of the flow.
        own_loss: weight of AE-FLOW's loss beside the classifier's; with 0 there is no decoder.
        flow_share: share of the likelihood in that loss; the rest is reconstruction.
    """

    width: Annotated[int, Field(ge=2, le=256)] = 32
    depth: Annotated[int, Field(ge=1, le=6)] = 4
    blocks: Annotated[int, Field(ge=1, le=32)] = 8
    own_loss: Annotated[float, Field(ge=0)] = 0.0
    flow_share: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _permutes(self) -> Self:
        channels = self.width * 2 ** (self.depth - 1)
        if channels > _MOST_PERMUTED:
            raise ValueError(f"{channels} channels in the flow, at most {_MOST_PERMUTED}")
        return self


class ConvNeXt3D(BackboneSettings):
    """ConvNeXt-T in 3D.

    Attributes:
        width: channels of the first stage; doubled by each further one.
        depth: blocks of each stage; each further stage halves the grid.
        kernel: edge of the depthwise convolutions in voxels, odd.
        patch: edge of the stem's patches in voxels.
        drop_path: probability that a block is passed over, at the last one; from 0 at the first.
    """

    width: Count = 96
    depth: Depths = (3, 3, 9, 3)
    kernel: Annotated[Count, AfterValidator(_odd)] = 7
    patch: Count = 4
    drop_path: Share = 0.0
