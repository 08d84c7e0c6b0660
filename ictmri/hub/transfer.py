"""One file from the Hub, byte after byte, however often the connection is cut.

``huggingface_hub`` 2.4 gives up on a connection that is reset, goes on from whole steps of 10 MiB only,
and throws away what it holds of a file when it gives up or its process ends. Here a part stays where it
is, and any later attempt asks for the rest alone. The bytes come over plain HTTP, which the Hub offers
for files in Xet storage too, so that ``HF_HUB_DISABLE_XET`` makes no difference.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ictmri.hub.errors import is_connection_error
from ictmri.io.files import sha256_file

TIMEOUT: Final = 10.0
"""Seconds without a byte after which a connection counts as cut."""
FRUITLESS: Final = 5
"""Attempts in a row that bring nothing before giving up."""


def fetch(
    url: str,
    part: Path,
    *,
    size: int,
    headers: dict[str, str],
    advance: Callable[[int], None],
) -> None:
    """Bring a part to ``size`` bytes, starting from those that it has.

    Where the Hub has no more bytes than it gave, the part stays short; what it holds is not checked.

    Args:
        url: address of the file.
        part: where its bytes are kept; stays there, whatever happens.
        size: bytes of the whole file.
        headers: HTTP headers, with the token.
        advance: told of every number of bytes added, or, negative, thrown away.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
        OSError: the disk refuses.
        Exception: the HTTP client's own, when the network stays away; ``is_connection_error`` is true.
    """
    part.touch()
    fruitless = 0
    while (had := part.stat().st_size) < size:
        try:
            _append(url, part, had, headers, advance)
            lost: Exception | None = None
        except Exception as error:
            if not is_connection_error(error):
                raise
            lost = error
        fruitless = 0 if part.stat().st_size > had else fruitless + 1
        if fruitless > FRUITLESS:
            if lost:
                raise lost
            return
        if lost:
            time.sleep(0.5 * 2**fruitless)


def _append(
    url: str, part: Path, had: int, headers: dict[str, str], advance: Callable[[int], None]
) -> None:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        hf_raise_for_status,
        http_stream_backoff,
    )

    asked = {**headers, "Accept-Encoding": "identity"}
    if had:
        asked["Range"] = f"bytes={had}-"
    with http_stream_backoff(
        "GET", url, headers=asked, timeout=TIMEOUT, retry_on_exceptions=()
    ) as response:
        hf_raise_for_status(response)
        resumed = response.status_code == 206
        if had and not resumed:
            advance(-had)
        with part.open("ab" if resumed else "wb") as stream:
            for piece in response.iter_raw():
                stream.write(piece)
                stream.flush()
                advance(len(piece))


def matches(path: Path, *, size: int, sha256: str | None, git_sha1: str) -> bool:
    """Return whether a file is the one that the Hub lists.

    Args:
        path: the file.
        size: its size in bytes.
        sha256: its SHA-256, which the Hub knows of LFS files.
        git_sha1: its git object id, which the Hub knows of all other files.
    """
    if not path.is_file() or path.stat().st_size != size:
        return False
    return sha256_file(path) == sha256 if sha256 else git_object_id(path) == git_sha1


def git_object_id(path: Path) -> str:
    """Return the id that git gives to the content of a file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
