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
    from ictmri.scans.fingerprint import Fingerprint

SAME: Final = 0.85
"""Likeness (:func:`ictmri.scans.fingerprint.likeness`) from which two heads are taken for the same one."""
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
OUTLINES_ALIKE: Final = 0.97
"""Similarity of outlines from which two scans may show one head; different ones reach 0.94 ..."""
OWN_ALIKE: Final = 0.75
"""... or similarity of what each has for itself: copies reach 0.78 and more, other heads 0.74."""
_CELLS: Final = 2**22
"""Similarities in memory at a time."""

Pair = tuple[str, str]
Vectors = npt.NDArray[np.float32]
FingerprintOf = Callable[[str], "Fingerprint"]


def exact_copies(digests: Mapping[str, str]) -> list[Finding]:
    """Return an error for each case whose voxels another case has too: neither can be trusted."""
    by_digest: dict[str, list[str]] = {}
    for case_id, digest in digests.items():
        by_digest.setdefault(digest, []).append(case_id)
    found = []
    for group in by_digest.values():
        for case_id in group if len(group) > 1 else ():
            others = ", ".join(other for other in group if other != case_id)
            found.append(finding(case_id, "duplicate", f"the same volume as {others}"))
    return found


def near_copies(
    case_ids: Sequence[str], fingerprint_of: FingerprintOf, jobs: int | None = None
) -> list[Pair]:
    """Return the pairs of cases that show the same head.

    Each case is compared closely with its nearest neighbours only, so that time grows with the cases and
    not with their pairs.

    Args:
        case_ids: n ids.
        fingerprint_of: picklable; returns a case's :func:`ictmri.scans.fingerprint.fingerprint`.
        jobs: worker processes.
    """
    if len(case_ids) < 2:
        return []
    slack = SLACK if len(case_ids) > EXACT else 0.0
    patterns = _patterns(case_ids, fingerprint_of, sketched=bool(slack))
    places = _pairs(
        len(patterns),
        lambda part: patterns[part] @ patterns.T,
        always=ALIKE - slack,
        least=PERHAPS - slack,
        neighbours=NEIGHBOURS,
    )
    return same_heads([(case_ids[a], case_ids[b]) for a, b in places], fingerprint_of, jobs)


def same_heads(
    pairs: Sequence[Pair], fingerprint_of: FingerprintOf, jobs: int | None = None
) -> list[Pair]:
    """Return those of the pairs that show the same head; arguments as of :func:`near_copies`."""
    found = run_all(
        partial(_likeness, fingerprint_of), pairs, total=len(pairs), title="near copies", jobs=jobs
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
            code, text = "near-duplicate", f"looks like {other}: the same patient twice?"
            if folds[case_id] != folds[other]:
                code = "near-duplicate-across-folds"
                text += f" They are in folds {folds[case_id]} and {folds[other]}"
            found.append(finding(case_id, code, text))
    return found


def _patterns(case_ids: Sequence[str], fingerprint_of: FingerprintOf, *, sketched: bool) -> Vectors:
    """Return (n, voxels) patterns, or (n, SKETCH) projections whose products are about the same."""
    from ictmri.scans.fingerprint import pattern

    patterns = (pattern(fingerprint_of(case_id)) for case_id in case_ids)
    if not sketched:
        return np.stack(list(patterns))
    length = len(pattern(fingerprint_of(case_ids[0])))
    axes = np.random.default_rng(0).standard_normal((length, SKETCH), np.float32)
    axes /= np.float32(np.sqrt(SKETCH))
    return np.stack([found @ axes for found in patterns])


def outline_pairs(outlines: Vectors) -> list[tuple[int, int]]:
    """Return the pairs (a < b) of (n, voxels) outlines that are worth a closer look, at most n.

    What all heads of a cohort have in common is its mean.
    """
    common = outlines.mean(axis=0)
    common /= np.linalg.norm(common)
    own = outlines - np.outer(outlines @ common, common)
    # Where two copies are all there is, nothing is left of either.
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 0.05)

    def similarity(part: slice) -> Vectors:
        whole = outlines[part] @ outlines.T / OUTLINES_ALIKE
        return np.asarray(np.maximum(whole, own[part] @ own.T / OWN_ALIKE))

    return _pairs(len(outlines), similarity, always=np.inf, least=1.0, neighbours=1)


def _pairs(
    n: int, similarity: Callable[[slice], Vectors], *, always: float, least: float, neighbours: int
) -> list[tuple[int, int]]:
    """Return the pairs (a < b) whose similarity is ``always`` enough, or enough for nearest neighbours.

    Args:
        n: how many there are.
        similarity: returns (rows, n): of some of them to all.
        always: similarity from which a pair is one, and
        least: from which it is where one of both is among the other's nearest.
        neighbours: how many of these count.
    """
    found: set[tuple[int, int]] = set()
    block = max(1, _CELLS // max(n, 1))
    for start in range(0, n, block):
        values = similarity(slice(start, start + block))
        rows = np.arange(len(values))
        values[rows, start + rows] = -1
        near = values >= always
        nearest = values.argpartition(-neighbours, axis=1)[:, -neighbours:]
        np.put_along_axis(near, nearest, True, axis=1)
        near &= values >= least
        for row, column in np.argwhere(near):
            first, second = sorted((start + int(row), int(column)))
            found.add((first, second))
    return sorted(found)


def _likeness(fingerprint_of: FingerprintOf, pair: Pair) -> float:
    from ictmri.scans.fingerprint import likeness

    return likeness(fingerprint_of(pair[0]), fingerprint_of(pair[1]))
