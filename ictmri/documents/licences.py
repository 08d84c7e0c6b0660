"""Licences that fit data: their SPDX id and what the Hugging Face Hub calls them."""

from __future__ import annotations

from typing import Final

from ictmri.errors import nearest

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
_OF_SPDX: Final = {
    "CC0-1.0": "cc0-1.0",
    "CC-BY-3.0": "cc-by-3.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-3.0": "cc-by-nc-3.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-ND-4.0": "cc-by-nd-4.0",
    "CC-BY-NC-ND-3.0": "cc-by-nc-nd-3.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "CC-BY-NC-SA-3.0": "cc-by-nc-sa-3.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CDLA-Permissive-1.0": "cdla-permissive-1.0",
    "CDLA-Permissive-2.0": "cdla-permissive-2.0",
    "CDLA-Sharing-1.0": "cdla-sharing-1.0",
    "C-UDA-1.0": "c-uda",
    "etalab-2.0": "etalab-2.0",
    "ODbL-1.0": "odbl",
    "ODC-By-1.0": "odc-by",
    "PDDL-1.0": "pddl",
}
"""SPDX id -> name on the Hub, of the licences that both know and that are meant for data."""

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
