"""3D networks that yield a feature map F [6], behind one registry."""

from ictmri_baselines.backbones.registry import BACKBONES, BackboneSpec, Tap, make_backbone

__all__ = ["BACKBONES", "BackboneSpec", "Tap", "make_backbone"]
