"""3D Grad-CAM of a diagnoser: which voxels of F speak for a class, on the grid of the volume.

Grad-CAM weighs each channel of F by the mean, over F's voxels, of the derivative of a class's logit, adds
the channels up and keeps what is positive. All ways by which F reaches the logit count: GAP(F), and with a
prior w GAP(F) or z. Where GAP(F) alone is classified, the weights are those of the linear layer divided by
the number of voxels. With a prior the map is still one sum of channels: the prior changes their weights,
it does not mask the map.

Source: Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74; computed by MONAI's ``GradCAM``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM, ModelWithHooks
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ictmri_baselines.diagnoser.network import AdaptiveDiagnoser


def attention_map(
    network: AdaptiveDiagnoser, image: Tensor, prior: Tensor | None, label: int
) -> NDArray[np.float32]:
    """Return where the network finds what speaks for a class.

    The network is left as it was: its mode, its gradients, its hooks. On a CPU equal inputs give equal
    maps.

    Args:
        network: of any backbone, on any device; it is looked at in evaluation mode.
        image: (1, 1, d, h, w) the volume.
        prior: (1, 1, d, h, w) in [0, 1]; None where the network takes none.
        label: the class, 0 to 3.

    Returns:
        (d, h, w) float32 in [0, 1], on the grid of the volume: the largest value is 1. All 0 where no
        voxel of F speaks for the class.

    Raises:
        InputError: a shape that does not fit; no prior where one is needed.
    """
    device = next(network.parameters()).device
    with torch.inference_mode(mode=False), torch.enable_grad(), _evaluating(network):
        # A clone: what was made in inference mode may not be part of a graph.
        seen = image.detach().to(device, copy=True).requires_grad_()
        known = None if prior is None else prior.detach().to(device, copy=True)
        cam = GradCAM(
            _Pass(network), "backbone", upsampler=_upsampler(network), postprocessing=_to_one
        )
        found: Tensor = cam(seen, class_idx=label, prior=known)
    return np.ascontiguousarray(found[0, 0].detach().cpu().numpy(), dtype=np.float32)


def upsampled(cells: Tensor, size: Sequence[int], extent: Sequence[int]) -> Tensor:
    """Bring a map on F's grid to the grid of the volume, trilinearly.

    Args:
        cells: (B, 1, D, H, W), non-negative.
        size: (d, h, w) of the volume.
        extent: voxels that F's grid spans (:meth:`Backbone.extent`), at least ``size``;
            what lies beyond the volume is cut off.

    Returns:
        (B, 1, d, h, w).
    """
    whole = functional.interpolate(cells, list(extent), mode="trilinear", align_corners=False)
    return whole[..., : size[0], : size[1], : size[2]]


class _Pass(ModelWithHooks):  # type: ignore[misc]
    """A pass that takes F from the network's own details.

    MONAI's hooks would stay on the network, and its backward pass would go through the whole backbone and
    clear the gradients of a training; only the few operations behind F are gone through here.
    """

    def __init__(self, network: AdaptiveDiagnoser) -> None:
        super().__init__(network, ())

    def __call__(
        self, x: Tensor, class_idx: int, retain_graph: bool = False, **kwargs: Any
    ) -> tuple[Tensor, tuple[Tensor], tuple[Tensor]]:
        """Return logits, F, and the derivative of the class's logit by F."""
        found = self.model(x, details=True, **kwargs)
        score = self.class_score(found.logits, class_idx).sum()
        (gradient,) = torch.autograd.grad(score, found.features, retain_graph=retain_graph)
        return found.logits, (found.features,), (gradient.contiguous(),)


def _upsampler(network: AdaptiveDiagnoser) -> Callable[[Sequence[int]], Callable[[Tensor], Tensor]]:
    def for_size(size: Sequence[int]) -> Callable[[Tensor], Tensor]:
        return lambda cells: upsampled(cells, size, network.backbone.extent(size))

    return for_size


def _to_one(found: Tensor) -> Tensor:
    """Divide by the largest value; MONAI's own way would turn large into small."""
    largest = found.max()
    return found / largest if largest > 0 else torch.zeros_like(found)


@contextmanager
def _evaluating(network: AdaptiveDiagnoser) -> Iterator[None]:
    """Put the network into evaluation mode, and each part back into the mode that it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
