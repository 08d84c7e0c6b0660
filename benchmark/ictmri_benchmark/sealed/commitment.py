"""The commitment to the labels: binding through SHA-256, hiding through a secret salt.

Per case ``key = HMAC-SHA256(salt, case_id)`` and ``leaf = HMAC-SHA256(key, row)``; the root is the SHA-256
of all leaves in the order of the case ids. Without the salt a guessed label cannot be tried out, although
there are only four; a digest without salt would be opened by trying four labels a case.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from ictmri.folds import FoldRow
from ictmri_benchmark.sealed.canonical import compact
from ictmri_benchmark.sealed.documents import Commitment

SALT_BYTES: Final = 32


def new_salt() -> bytes:
    """Return 32 random bytes of the operating system."""
    return secrets.token_bytes(SALT_BYTES)


def leaf(row: FoldRow, salt: bytes) -> bytes:
    """Return the commitment to one case, 32 bytes.

    The key is the case's own, so that one case can be opened without the salt of the others.

    Raises:
        ValueError: the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    key = hmac.digest(salt, row.case_id.encode(), "sha256")
    content = compact([row.case_id, row.patient_id, row.label, row.fold])
    return hmac.digest(key, content, "sha256")


def commit(rows: Sequence[FoldRow], salt: bytes) -> Commitment:
    """Return the commitment to the labels (and folds) of all cases, whatever their order."""
    leaves = [leaf(row, salt) for row in sorted(rows, key=lambda row: row.case_id)]
    root = hashlib.sha256(b"".join(leaves)).hexdigest()
    return Commitment(scheme="hmac-sha256/1", root=root)
