"""Heads that are there twice, under two patients: the commonest way labels leak across folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ictmri.builders.findings import Finding, finding
from ictmri.parallel import run_all

if TYPE_CHECKING:
    from ictmri.builders.similarity import Picture

SAME: Final = 0.85
"""Likeness from which two heads are taken for the same one; see :func:`similarity.likeness`."""
ALIKE: Final = 0.8
"""Similarity of patterns from which every pair is looked at closely."""
PERHAPS: Final = 0.3
"""Below this not even a case's nearest neighbours are."""
NEIGHBOURS: Final = 2
_BLOCK: Final = 1000

Pair = tuple[str, str]
PictureOf = Callable[[str], "Picture"]


def exact_copies(digests: Mapping[str, str]) -> list[Finding]:
    """Return an error for each case whose voxels another case has too: neither can be trusted."""
    by_digest: dict[str, list[str]] = {}
    for case_id, digest in digests.items():
        by_digest.setdefault(digest, []).append(case_id)
    return [
        finding(
            case_id,
            "duplicate",
            f"the same volume as {', '.join(c for c in group if c != case_id)}",
        )
        for group in by_digest.values()
        if len(group) > 1
        for case_id in group
    ]


def near_copies(
    case_ids: Sequence[str], picture_of: PictureOf, jobs: int | None = None
) -> list[Pair]:
    """Return the pairs of cases that show the same head.

    Each case is compared closely with its nearest neighbours only, so that time grows with the cases and
    not with their pairs.

    Args:
        case_ids: n ids.
        picture_of: picklable; returns a case's :func:`similarity.head_print`.
        jobs: worker processes.
    """
    from ictmri.builders.similarity import pattern

    if len(case_ids) < 2:
        return []
    patterns = np.stack([pattern(picture_of(case_id)) for case_id in case_ids])
    pairs = [(case_ids[a], case_ids[b]) for a, b in _candidates(patterns)]
    found = run_all(
        partial(_likeness, picture_of), pairs, total=len(pairs), title="near copies", jobs=jobs
    )
    return [pair for pair, value in zip(pairs, found, strict=True) if value >= SAME]


def near_findings(pairs: Sequence[Pair], folds: Mapping[str, int]) -> list[Finding]:
    """Return a warning for both cases of each pair.

    Args:
        pairs: cases that show the same head.
        folds: fold of each case.
    """
    found = []
    for pair in pairs:
        for case_id, other in (pair, pair[::-1]):
            text = f"looks like {other}: the same patient twice?"
            if folds[case_id] == folds[other]:
                found.append(finding(case_id, "near-duplicate", text))
            else:
                where = f"folds {folds[case_id]} and {folds[other]}"
                found.append(
                    finding(case_id, "near-duplicate-across-folds", f"{text} They are in {where}")
                )
    return found


def _candidates(patterns: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the pairs (a < b) that are worth a closer look."""
    found: set[tuple[int, int]] = set()
    for start in range(0, len(patterns), _BLOCK):
        similarity = patterns[start : start + _BLOCK] @ patterns.T
        similarity[np.arange(len(similarity)), start + np.arange(len(similarity))] = -1
        nearest = similarity.argsort(axis=1, kind="stable")[:, -NEIGHBOURS:]
        near = similarity >= ALIKE
        np.put_along_axis(near, nearest, True, axis=1)
        near &= similarity >= PERHAPS
        for row, column in np.argwhere(near):
            first, second = sorted((start + int(row), int(column)))
            found.add((first, second))
    return sorted(found)


def _likeness(picture_of: PictureOf, pair: Pair) -> float:
    from ictmri.builders.similarity import likeness

    return likeness(picture_of(pair[0]), picture_of(pair[1]))
