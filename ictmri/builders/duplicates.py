"""Volumes that are there twice, under two patients: the commonest way labels leak across folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ictmri.builders.findings import Finding

NEAR: Final = 0.995
"""Rank correlation of fingerprints from which two heads are taken for the same one."""
_BLOCK: Final = 1000


def exact_copies(digests: Mapping[str, str]) -> list[Finding]:
    """Return an error for each case whose voxels another case has too: neither can be trusted."""
    by_digest: dict[str, list[str]] = {}
    for case_id, digest in digests.items():
        by_digest.setdefault(digest, []).append(case_id)
    return [
        Finding(
            case_id, "error", f"the same volume as {', '.join(c for c in group if c != case_id)}"
        )
        for group in by_digest.values()
        if len(group) > 1
        for case_id in group
    ]


def near_copies(case_ids: Sequence[str], prints: NDArray[np.float32]) -> list[Finding]:
    """Return a warning for each pair of cases whose heads look the same.

    Args:
        case_ids: n ids.
        prints: (n, 216) fingerprints.
    """
    found = []
    for start in range(0, len(prints), _BLOCK):
        near = prints[start : start + _BLOCK] @ prints.T >= NEAR
        for row, column in np.argwhere(near):
            first, second = start + int(row), int(column)
            if first < second:
                text = f"looks like {case_ids[second]}: the same patient twice?"
                found.append(Finding(case_ids[first], "warning", text))
    return found
