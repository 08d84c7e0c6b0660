"""3D networks that yield a feature map F [6], by the names of the registry."""

from ictmri_baselines.backbones.make import make_backbone
from ictmri_baselines.registry import BACKBONES

__all__ = ["BACKBONES", "make_backbone"]
