"""Versions of a cohort's data: what a number means, and the list of changes.

Semantic versions (https://semver.org), read for data: scores compare only within one major version.

=======  ==================================================================
major    a case left, or the class or fold of a case changed
minor    cases were added; every earlier case kept its id, class and fold
patch    only documents changed, or an erratum was added
=======  ==================================================================
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

from ictmri.manifest import Manifest

FIRST_VERSION: Final = "1.0.0"
FILE_NAME: Final = "CHANGES.md"
Part = Literal["major", "minor", "patch"]
_PARTS: Final = ("major", "minor", "patch")


def next_version(version: str, part: Part) -> str:
    """Return the version after ``version``; ``part`` is the number that is raised.

    >>> next_version("1.2.3", "minor")
    '1.3.0'
    """
    place = _PARTS.index(part)
    numbers = [int(number) for number in version.split(".")]
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1, *[0] * (2 - place)]))


def revised(manifest: Manifest, part: Part, text: str, *, cases: list[str]) -> Manifest:
    """Return the manifest of the next version, with the change in its history.

    Args:
        manifest: of the version before.
        part: number of the version to raise.
        text: what changed, for every reader.
        cases: ids of the cases that it concerns.
    """
    version = next_version(manifest.version, part)
    change = {"version": version, "change": text, "cases": sorted(cases)}
    return replace(manifest, version=version, history=[*manifest.history, change])


def changes_text(manifest: Manifest) -> str:
    """Return ``CHANGES.md``, newest version first."""
    first = manifest.history[0]["version"] if manifest.history else None
    start = {
        "version": FIRST_VERSION if first else manifest.version,
        "change": "First release.",
        "cases": [],
    }
    blocks = [_block(change) for change in [*reversed(manifest.history), start]]
    return "\n".join(
        [
            f"# Changes of {manifest.name}\n",
            "Scores compare only within one major version. Major: a case left, or its class or fold",
            "changed. Minor: cases were added. Patch: documents and errata.\n",
            *blocks,
        ]
    )


def _block(change: dict[str, Any]) -> str:
    cases = f" Cases: {', '.join(change['cases'])}." if change["cases"] else ""
    return f"## {change['version']}\n\n{change['change']}{cases}\n"
