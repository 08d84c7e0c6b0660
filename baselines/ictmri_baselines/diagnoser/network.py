"""The Adaptive-Diagnoser: backbone, what the prior does to F, dropout, a linear layer [6 to 9].

Source: Virtual Biopsy, arXiv:2602.21613, equations 6 to 9; the switches are the columns of Table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, overload

from pydantic import Field, model_validator
from torch import Tensor, nn

from ictmri.classes import CLASSES
from ictmri.errors import InputError
from ictmri_baselines.backbones.base import VOLUME
from ictmri_baselines.backbones.make import checked_settings, make_backbone
from ictmri_baselines.backbones.settings import LAST
from ictmri_baselines.diagnoser.attention import (
    REDUCTION,
    AttentionFusion,
    Fused,
    GlobalFusion,
    PooledFusion,
    resample_prior,
)
from ictmri_baselines.registry import is_own
from ictmri_baselines.settings import CheckedSettings

Localisation = Literal["none", "coarse", "refined"]


class DiagnoserConfig(CheckedSettings):
    """What a network is made of.

    Rows 2 and 4 of Table 2 have a prior but no attention, and the paper does not say how the prior enters
    there. The default, ``pool``, classifies GAP(F) || z: the input (the whole brain) and the head's width
    stay those of rows 3 and 5, so that these differ from them by the recalibration alone. ``input``
    multiplies the volume by the prior and classifies GAP(F): what the text on row 2 may mean by
    "background removal"; it gives up the whole-brain input that section 4.4 argues for. ``cut`` shows the
    network no prior: it only says where the cube of a region lies.

    Attributes:
        backbone: a name of the registry; or ``module:Class``, which is imported only where whoever runs the
            program has named it, see :class:`AdaptiveDiagnoser`.
        settings: of the backbone.
        tap: where F is taken; ``last``, or an earlier tap with a finer grid.
        localisation: which prior the network is given; the network treats ``coarse`` and ``refined`` alike.
        attention: masked channel attention.
        without_attention: how a prior enters where there is no attention.
        reduction: channels of F per hidden unit of the attention.
        rescale: see :func:`~ictmri_baselines.diagnoser.attention.masked_average`.
        dropout: before the linear layer. The paper prints 0.2 without its place; this one exists for
            every backbone.
    """

    backbone: str = "densenet3d"
    settings: dict[str, Any] = Field(default_factory=dict)
    tap: str = LAST
    localisation: Localisation = "refined"
    attention: bool = True
    without_attention: Literal["pool", "input", "cut"] = "pool"
    reduction: Annotated[int, Field(ge=1, le=4096)] = REDUCTION
    rescale: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.attention and self.localisation == "none":
            raise ValueError("attention needs a prior; take localisation coarse or refined")
        if "tap" in self.settings:
            raise ValueError("tap stands beside settings, not among them")
        if not self.is_own:
            try:
                checked_settings(self.backbone, {**self.settings, "tap": self.tap})
            except InputError as error:
                raise ValueError(f"{error.subject}: {'; '.join(error.problems)}") from None
        return self

    @property
    def is_own(self) -> bool:
        """Whether the backbone is a class of one's own."""
        return is_own(self.backbone)

    @property
    def needs_prior(self) -> bool:
        """Whether the network looks at a prior."""
        return self.localisation != "none"

    @property
    def masks_input(self) -> bool:
        """Whether the volume is multiplied by the prior."""
        return self.needs_prior and not self.attention and self.without_attention == "input"


class Details(NamedTuple):
    """All that a pass through the network yields.

    Attributes:
        logits: (B, 4).
        features: F (B, C, D, H, W), on the backbone's grid.
        weights: (B, C) channel weights of equation 8; None without attention.
        own_loss: what the backbone adds to the loss, its weight included; None: nothing.
    """

    logits: Tensor
    features: Tensor
    weights: Tensor | None
    own_loss: Tensor | None


class AdaptiveDiagnoser(nn.Module):
    """A network of any backbone and any row of Table 2.

    The output of the submodule ``backbone`` is F, whatever the configuration: the place for Grad-CAM's
    hooks.
    """

    def __init__(self, config: DiagnoserConfig, *, own: str | None = None) -> None:
        """Build the network; initial weights follow from torch's generator alone.

        Args:
            config: what it is made of.
            own: ``module:Class`` of the backbone, where that is a class of one's own. It is imported, so it
                must be named by whoever runs the program, never by data.

        Raises:
            InputError: the backbone cannot be made, or is a class that was not named.
        """
        super().__init__()
        if config.is_own is not (own is not None):
            raise _not_named(config, own)
        self.config = config
        self.backbone = make_backbone(own or config.backbone, tap=config.tap, **config.settings)
        self.fusion = _fusion(config, self.backbone.channels)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.fusion.width, len(CLASSES))

    @property
    def n_parameters(self) -> int:
        """How many numbers it learns, or keeps as they were drawn."""
        return sum(parameter.numel() for parameter in self.parameters())

    @overload
    def forward(
        self, image: Tensor, prior: Tensor | None = None, *, details: Literal[False] = False
    ) -> Tensor: ...

    @overload
    def forward(
        self, image: Tensor, prior: Tensor | None = None, *, details: Literal[True]
    ) -> Details: ...

    def forward(
        self, image: Tensor, prior: Tensor | None = None, *, details: bool = False
    ) -> Tensor | Details:
        """Return logits (B, 4), in the order of the classes.

        Args:
            image: (B, 1, D, H, W) processed volumes, 0 outside the brain.
            prior: (B, 1, D, H, W) in [0, 1], on the same grid; not looked at with localisation ``none``.
            details: return everything instead.

        Raises:
            InputError: a shape that does not fit; no prior where one is needed.
        """
        seen = self._seen(image, prior)
        features: Tensor = self.backbone(seen)
        fused, logits = self._classified([features], prior)
        if not details:
            return logits
        return Details(logits, features, fused.weights, self.backbone.own_loss(seen, features))

    def training_pass(self, image: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return logits and the backbone's own loss, as :meth:`forward` does up to rounding.

        F is pooled map by map and never made: where it joins maps of several grids, that is most of a step.

        Raises:
            InputError: as :meth:`forward`.
        """
        seen = self._seen(image, prior)
        self.backbone.check(seen)
        maps = self.backbone.maps(seen)
        return self._classified(maps, prior)[1], self.backbone.own_loss(seen, maps[0])

    def _seen(self, image: Tensor, prior: Tensor | None) -> Tensor:
        """Return the backbone's input, once image and prior are checked."""
        self._check(image, prior)
        return image * prior if prior is not None and self.config.masks_input else image

    def _classified(self, maps: Sequence[Tensor], prior: Tensor | None) -> tuple[Fused, Tensor]:
        mask = None
        if prior is not None and not isinstance(self.fusion, GlobalFusion):
            extent = self.backbone.extent(prior.shape[2:])
            mask = resample_prior(prior, maps[0].shape[2:], extent)
        fused: Fused = self.fusion(maps, mask)
        return fused, self.classifier(self.dropout(fused.vector))

    def _check(self, image: Tensor, prior: Tensor | None) -> None:
        problem = ""
        if prior is None:
            if self.config.needs_prior:
                problem = f"no prior, and localisation is {self.config.localisation}"
        elif image.ndim == VOLUME and prior.shape != image.shape:
            problem = f"prior of shape {tuple(prior.shape)} for volumes of {tuple(image.shape)}"
        if problem:
            step = "give volume and prior on the same grid, or localisation none"
            raise InputError("input of the diagnoser", [problem], step)


def _not_named(config: DiagnoserConfig, own: str | None) -> InputError:
    if own is None:
        problem = f"is {config.backbone!r}, a class of somebody's own: code that would be run here"
        step = "if you trust that code, name it yourself: --backbone module:Class"
    else:
        problem = f"is {config.backbone!r}, one of the registry, not {own!r}"
        step = "leave --backbone out"
    return InputError("the backbone", [problem], step)


def _fusion(
    config: DiagnoserConfig, channels: int
) -> AttentionFusion | PooledFusion | GlobalFusion:
    if config.attention:
        return AttentionFusion(channels, reduction=config.reduction, rescale=config.rescale)
    if config.needs_prior and config.without_attention == "pool":
        return PooledFusion(channels, rescale=config.rescale)
    return GlobalFusion(channels)
