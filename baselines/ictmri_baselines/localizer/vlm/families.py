"""What each family of vision-language models counts boxes in, by the name that a model goes by.

Sources: the Qwen team on its models, github.com/QwenLM/Qwen3-VL/issues/866 (Qwen2-VL, Qwen2.5-VL) and
issues/1741 (Qwen3-VL).
"""

from __future__ import annotations

import re
from typing import Final

from ictmri_baselines.localizer.vlm.prompts import Coordinates

FAMILIES: Final[dict[str, tuple[str, Coordinates]]] = {
    "qwen25vl": ("Qwen2.5-VL", "pixels"),
    "qwen2vl": ("Qwen2-VL", "relative"),
    "qwen3vl": ("Qwen3-VL", "relative"),
}
"""By the letters and digits that stand in a name of the family, whatever is between them."""
_BETWEEN: Final = re.compile("[^a-z0-9]")


def family_of(name: str) -> tuple[str, Coordinates] | None:
    """Return title and coordinates of the family that a model's name tells; None where it tells none."""
    letters = _BETWEEN.sub("", name.lower())
    return next((known for key, known in FAMILIES.items() if key in letters), None)


def conflict(name: str, coordinates: Coordinates) -> str | None:
    """Say why a model of this name cannot be read in these coordinates; None where it can."""
    known = family_of(name)
    if known is None or known[1] == coordinates:
        return None
    title, counted = known
    return f"{title} gives no {coordinates} coordinates: --coordinates {counted}"
