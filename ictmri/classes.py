"""The classes, their order and their names: the one definition that everything else imports.

A further class is one more line of :data:`CLASS_TITLES`. What must know it besides, because it says
something about each class that nobody can derive, is named by ``tests/ictmri/test_classes.py``.
"""

from __future__ import annotations

from typing import Final

CLASS_TITLES: Final = {
    "glioma": "Glioma",
    "pcnsl": "PCNSL",
    "germinoma": "Germinoma",
    "rare": "Rare",
}
"""Class names in the order of their labels, and as a reader should see them."""

CLASSES: Final = tuple(CLASS_TITLES)
"""Class names; the integer label of a class is its index here."""

N_CLASSES_WORD: Final = ("no", "one", "two", "three", "four", "five", "six", "seven")[len(CLASSES)]
"""How many classes there are, for sentences."""

SEXES: Final = ("female", "male")


def label_of(name: str) -> int:
    """Return the integer label of a class name.

    Raises:
        ValueError: ``name`` is not one of :data:`CLASSES`.
    """
    return CLASSES.index(name)
