"""AE-FLOW (Zhao et al. 2023, openreview.net/forum?id=9OmCr1q54Z) as a classifier's backbone, in 3D.

AE-FLOW detects anomalies: encoder, normalizing flow on the code, decoder; likelihood and reconstruction are
its loss. Here F is the flow's output z'. The likelihood and the decoder are built only where their loss is
asked for: a classifier's cross-entropy reaches neither.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ictmri.errors import InputError, MissingDependencyError
from ictmri_baselines.backbones.base import Backbone, chosen_tap
from ictmri_baselines.backbones.settings import AeFlow

FLOW: Final = "flow"


class AeFlowBackbone(Backbone):
    """Encoder and flow; taps ``stage1``, ``stage2``, ... of the encoder, and ``flow``."""

    def __init__(self, settings: AeFlow) -> None:
        taps = [*(f"stage{i + 1}" for i in range(settings.depth)), FLOW]
        index = chosen_tap("ae_flow", taps, settings.tap)
        flows = taps[index] == FLOW
        if settings.own_loss and not flows:
            problem = f"own_loss needs the flow, and F is taken before it, at {taps[index]}"
            raise InputError("backbone ae_flow", [problem], f"take tap {FLOW}, or own_loss 0")
        widths = [settings.width * 2**i for i in range(min(index + 1, settings.depth))]
        super().__init__("ae_flow", taps, taps[index], widths[-1], stride=2 ** len(widths))
        self.weight = settings.own_loss
        self.flow_share = settings.flow_share
        ends = len(widths) == settings.depth
        self.encoder = _encoder(widths, ends=ends)
        self.flow = _flow(widths[-1], settings.blocks) if flows else None
        self.decoder = _decoder(widths) if settings.own_loss else None

    def features(self, image: Tensor) -> Tensor:
        """Return F (B, C, D, H, W): z' of the flow, or what the encoder has at an earlier tap."""
        code: Tensor = self.encoder(image)
        if self.flow is None:
            return code
        features: Tensor = self.flow(code)[0]
        return features

    def own_loss(self, image: Tensor, features: Tensor) -> Tensor | None:
        """Return AE-FLOW's loss, weighted: ``flow_share`` x likelihood + the rest x reconstruction.

        The likelihood is the negative log density of the code under the flow and a standard normal z',
        its constant left out, in nats a number of the code; the reconstruction is the mean squared error.

        Args:
            image: (B, 1, d, h, w) the input.
            features: (B, C, D, H, W) z' of that input.
        """
        if self.decoder is None or self.flow is None:
            return None
        inverse_log_det = self.flow(features, rev=True)[1]
        numbers = features[0].numel()
        energy = 0.5 * features.square().flatten(1).sum(dim=1)
        likelihood = (energy + inverse_log_det).mean() / numbers
        decoded = self.decoder(features)
        depth, height, width = image.shape[2:]
        reconstruction = functional.mse_loss(decoded[:, :, :depth, :height, :width], image)
        return self.weight * torch.lerp(reconstruction, likelihood, self.flow_share)


def _encoder(widths: list[int], *, ends: bool) -> nn.Sequential:
    """Return stages of two convolutions; the code itself has no ReLU, so that it can be normal."""
    layers: list[nn.Module] = []
    for stage, width in enumerate(widths):
        inputs = 1 if stage == 0 else widths[stage - 1]
        layers += [*_convolution(inputs, width, stride=2), nn.ReLU(inplace=True)]
        layers += _convolution(width, width, stride=1)
        if not (ends and stage == len(widths) - 1):
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _decoder(widths: list[int]) -> nn.Sequential:
    """Return the encoder's mirror image."""
    layers: list[nn.Module] = []
    for stage in reversed(range(len(widths))):
        width = widths[max(0, stage - 1)]
        layers += [nn.ConvTranspose3d(widths[stage], width, 2, stride=2, bias=False)]
        layers += [nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
        layers += [*_convolution(width, width, stride=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv3d(widths[0], 1, 3, padding=1))


def _convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm3d(outputs)]


def _flow(channels: int, blocks: int) -> Any:
    """Return affine couplings, each with a global affine map (softplus) and a fixed permutation.

    FrEIA draws the permutations from NumPy's global generator: it is seeded from torch's for the while, so
    that one seed decides the whole network, and put back. It keeps them as parameters that are not trained;
    here they are buffers.
    """
    try:
        from FrEIA.framework import SequenceINN
        from FrEIA.modules import AllInOneBlock
    except ImportError:
        raise MissingDependencyError("The backbone ae_flow (FrEIA)", "baselines") from None

    seed = int(torch.randint(2**31, (1,), device="cpu"))
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        flow = SequenceINN(channels, 1, 1, 1)
        for _ in range(blocks):
            flow.append(AllInOneBlock, subnet_constructor=_subnet, global_affine_type="SOFTPLUS")
    finally:
        np.random.set_state(state)
    for block in flow:
        for name in ("w_perm", "w_perm_inv"):
            permutation = getattr(block, name).detach()
            delattr(block, name)
            block.register_buffer(name, permutation)
    return flow


def _subnet(inputs: int, outputs: int) -> nn.Sequential:
    """Return AE-FLOW's plain subnetwork: two convolutions with a ReLU between."""
    return nn.Sequential(
        nn.Conv3d(inputs, inputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv3d(inputs, outputs, 3, padding=1),
    )
