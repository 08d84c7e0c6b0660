"""Heads that are there twice, under two patients: the commonest way labels leak across folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ictmri.io.parallel import run_all
from ictmri.scans.findings import Finding, finding

if TYPE_CHECKING:
    from ictmri.scans.similarity import Picture

SAME: Final = 0.85
"""Likeness from which two heads are taken for the same one; see :func:`similarity.likeness`."""
ALIKE: Final = 0.8
"""Similarity of patterns from which every pair is looked at closely."""
PERHAPS: Final = 0.3
"""Below this not even a case's nearest neighbours are."""
NEIGHBOURS: Final = 2
EXACT: Final = 4000
"""Cases up to which patterns are kept whole, 100 kB each; of more, random projections are."""
SKETCH: Final = 1024
"""Projections of a pattern; they keep similarities within 0.03 (Johnson and Lindenstrauss 1984)."""
SLACK: Final = 0.1
"""By how much the limits are lowered then."""
_CELLS: Final = 2**22
"""Similarities in memory at a time."""

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
    if len(case_ids) < 2:
        return []
    slack = SLACK if len(case_ids) > EXACT else 0.0
    patterns = _patterns(case_ids, picture_of, sketched=bool(slack))
    pairs = [(case_ids[a], case_ids[b]) for a, b in _candidates(patterns, slack)]
    return same_heads(pairs, picture_of, jobs)


def same_heads(pairs: Sequence[Pair], picture_of: PictureOf, jobs: int | None = None) -> list[Pair]:
    """Return those of the pairs that show the same head; arguments as of :func:`near_copies`."""
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


def _patterns(
    case_ids: Sequence[str], picture_of: PictureOf, *, sketched: bool
) -> npt.NDArray[np.float32]:
    """Return (n, voxels) patterns, or (n, SKETCH) projections whose products are about the same."""
    from ictmri.scans.similarity import pattern

    if not sketched:
        return np.stack([pattern(picture_of(case_id)) for case_id in case_ids])
    length = len(pattern(picture_of(case_ids[0])))
    axes = np.random.default_rng(0).standard_normal((length, SKETCH), np.float32)
    axes /= np.float32(np.sqrt(SKETCH))
    return np.stack([pattern(picture_of(case_id)) @ axes for case_id in case_ids])


def _candidates(patterns: npt.NDArray[np.float32], slack: float = 0.0) -> list[tuple[int, int]]:
    """Return the pairs (a < b) that are worth a closer look."""
    found: set[tuple[int, int]] = set()
    block = max(1, _CELLS // len(patterns))
    for start in range(0, len(patterns), block):
        similarity = patterns[start : start + block] @ patterns.T
        similarity[np.arange(len(similarity)), start + np.arange(len(similarity))] = -1
        nearest = similarity.argsort(axis=1, kind="stable")[:, -NEIGHBOURS:]
        near = similarity >= ALIKE - slack
        np.put_along_axis(near, nearest, True, axis=1)
        near &= similarity >= PERHAPS - slack
        for row, column in np.argwhere(near):
            first, second = sorted((start + int(row), int(column)))
            found.add((first, second))
    return sorted(found)


def _likeness(picture_of: PictureOf, pair: Pair) -> float:
    from ictmri.scans.similarity import likeness

    return likeness(picture_of(pair[0]), picture_of(pair[1]))
