"""How a backbone of the registry is made, and one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ictmri.errors import InputError, MissingDependencyError, nearest
from ictmri_baselines.backbones.settings import LAST, BackboneSettings
from ictmri_baselines.registry import BACKBONES, imported, is_own

if TYPE_CHECKING:
    from ictmri_baselines.backbones.base import Backbone


def make_backbone(name: str, **settings: Any) -> Backbone:
    """Make a backbone; initial weights follow from torch's generator alone.

    Args:
        name: of the registry, or ``module:Class`` of one's own network: a ``torch.nn.Module``
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
        from ictmri_baselines.backbones.base import own_backbone

        tap = settings.pop("tap", LAST)
        if tap != LAST:
            problem = f"tap {tap!r}, but one's own network has the tap {LAST!r} alone"
            raise InputError(
                f"backbone {name}", [problem], "let the network return the map you want"
            )
        return own_backbone(name, settings)
    checked = checked_settings(name, settings)
    try:
        made: Backbone = imported(BACKBONES[name].network)(checked)
    except ImportError:
        raise MissingDependencyError(f"The backbone {name}", "baselines") from None
    return made


def checked_settings(name: str, given: Mapping[str, Any]) -> BackboneSettings:
    """Return the settings of a backbone of the registry.

    Raises:
        InputError: there is no such backbone; or what is wrong with them, all of it.
    """
    if name not in BACKBONES:
        problem = f"no backbone {name!r}{nearest(name, BACKBONES)}"
        raise InputError(
            "backbone", [problem], f"take one of {', '.join(BACKBONES)}, or module:Class"
        )
    kind: type[BackboneSettings] = imported(BACKBONES[name].settings)
    return kind.read(given, f"backbone {name}")
