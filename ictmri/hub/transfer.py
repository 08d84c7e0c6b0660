"""Files from the Hub, byte after byte, however often the connection is cut or the process is killed.

``huggingface_hub.snapshot_download`` (2.4, measured) gives up on a connection that is reset, throws away
what it holds of a file when it gives up, leaves it behind unused when its process is killed, and takes a
file that was damaged on the disk for whole. Here a part stays where it is, and the next attempt asks for
the rest alone. The bytes come over plain HTTP, which the Hub offers for files in Xet storage too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ictmri.hub.errors import is_connection_error

TIMEOUT: Final = 10.0
"""Seconds without a byte after which a connection counts as cut."""
FRUITLESS: Final = 5
"""Attempts in a row that bring nothing before giving up."""
_WORKERS: Final = 4


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def fetch_all(parts: Mapping[Path, tuple[str, int]], title: str, token: str | None) -> None:
    """Bring files to their whole size, starting from the bytes that they have.

    Where the Hub has no more bytes than it gave, a file stays short; what it holds is not checked.

    Args:
        parts: address and size of each file, by where its bytes are kept; those stay, whatever happens.
        title: of the progress bar.
        token: Hugging Face token.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
        OSError: the disk refuses.
        Exception: the HTTP client's own, when the network stays away; ``is_connection_error`` is true.
    """
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    from tqdm import tqdm

    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    total, had = sum(size for _, size in parts.values()), sum(map(size_of, parts))
    with (
        tqdm(desc=title, total=total, initial=had, unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(_WORKERS) as pool,
    ):
        transfer = _Transfer(headers, bar)
        jobs = [pool.submit(transfer.fetch, part, *parts[part]) for part in parts]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            transfer.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Transfer:
    headers: Mapping[str, str]
    bar: Any
    stopped: threading.Event = field(default_factory=threading.Event)

    def fetch(self, part: Path, url: str, size: int) -> None:
        part.touch()
        fruitless = 0
        while (had := size_of(part)) < size:
            lost = None
            try:
                self._append(part, url, had)
            except Exception as error:
                if not is_connection_error(error):
                    raise
                lost = error
            fruitless = 0 if size_of(part) > had else fruitless + 1
            if fruitless > FRUITLESS:
                if lost:
                    raise lost
                return
            if lost:
                self.stopped.wait(0.5 * 2**fruitless)

    def _append(self, part: Path, url: str, had: int) -> None:
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            hf_raise_for_status,
            http_stream_backoff,
        )

        asked = {**self.headers, "Range": f"bytes={had}-"} if had else self.headers
        with http_stream_backoff(
            "GET", url, headers=asked, timeout=TIMEOUT, retry_on_exceptions=()
        ) as response:
            hf_raise_for_status(response)
            resumed = response.status_code == 206
            if had and not resumed:
                self._advance(-had)
            with part.open("ab" if resumed else "wb") as stream:
                for piece in response.iter_raw():
                    stream.write(piece)
                    stream.flush()
                    self._advance(len(piece))

    def _advance(self, count: int) -> None:
        if self.stopped.is_set():
            raise InterruptedError
        with self.bar.get_lock():
            self.bar.update(count)
