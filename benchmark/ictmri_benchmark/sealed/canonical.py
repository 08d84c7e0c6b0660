"""JSON with one byte form (RFC 8785; the documents hold no floats), read strictly."""

from __future__ import annotations

import json
from typing import Any, Final

from ictmri.io.files import sha256_bytes

_MAX_DEPTH: Final = 20
_MAX_INNER: Final = 1000


def compact(value: Any) -> bytes:
    """Return the one byte form of ``value``: what is signed and hashed."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 of the byte form of ``value``."""
    return sha256_bytes(compact(value))


def parse(content: bytes) -> Any:
    """Parse JSON that can be read in one way only.

    Raises:
        ValueError: not UTF-8, not JSON, a key twice, NaN or infinity, nested too deep, a number too long,
            or more lists and objects than any document has.
    """
    if content.count(b"[") + content.count(b"{") > _MAX_INNER:
        raise ValueError(f"more than {_MAX_INNER} lists and objects")
    try:
        value = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _depth(value) > _MAX_DEPTH:
        raise ValueError("nested too deep")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
