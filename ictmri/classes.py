"""The classes, their order and their names: the one definition that everything else imports."""

from __future__ import annotations

from typing import Final

CLASSES: Final = ("glioma", "pcnsl", "germinoma", "rare")
"""Class names; the integer label of a class is its index here."""

CLASS_TITLES: Final = {
    "glioma": "Glioma",
    "pcnsl": "PCNSL",
    "germinoma": "Germinoma",
    "rare": "Rare",
}
"""Class names as a reader should see them."""

SEXES: Final = ("female", "male")


def label_of(name: str) -> int:
    """Return the integer label of a class name.

    Raises:
        ValueError: ``name`` is not one of :data:`CLASSES`.
    """
    return CLASSES.index(name)
