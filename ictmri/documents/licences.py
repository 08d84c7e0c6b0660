"""Licences that fit data: their SPDX id and what the Hugging Face Hub calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ictmri.errors import nearest
from ictmri.io.yamlfile import own_table

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
_OF_SPDX: Final[dict[str, str]] = own_table(Path(__file__).with_suffix(".yaml"))
HUB_NAMES: Final = frozenset({*_OF_SPDX.values(), OTHER, UNKNOWN})


def spdx_id(name: str) -> str | None:
    """Return the SPDX id of a licence by its SPDX or Hub name in any case, None where unknown."""
    wanted = name.lower()
    return next((spdx for spdx, hub in _OF_SPDX.items() if wanted in (spdx.lower(), hub)), None)


def hub_name(name: str) -> str:
    """Return what the Hub calls a licence; ``unknown`` for an empty name."""
    spdx = spdx_id(name)
    return _OF_SPDX[spdx] if spdx else (name.lower() or UNKNOWN)


def problem_of(name: str) -> str:
    """Return what is wrong with a licence's name, or an empty string."""
    if spdx_id(name) or name.lower() == OTHER:
        return ""
    return f"{name!r} is no SPDX id of a data licence, nor 'other'{nearest(name, _OF_SPDX)}"


def licence_url(name: str) -> str:
    """Return the address of a licence's text, an empty string for one that SPDX does not list."""
    spdx = spdx_id(name)
    return f"https://spdx.org/licenses/{spdx}.html" if spdx else ""
