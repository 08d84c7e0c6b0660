"""HTTP whose answers are whole, in time and of a sane size, or an error.

A client's own timeouts are between two bytes: a server that sends one now and then holds it for ever.
"""

from __future__ import annotations

import threading
import urllib.request
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

MAX_BYTES: Final = 4 * 1024 * 1024
"""An answer of 8,192 tokens has some 100 kB."""


class UnusableError(Exception):
    """An answer that is not read: too long, or packed."""


class BoundedTransport(httpx2.BaseTransport):
    """Sends each request on a connection of its own, which is closed when its time is up."""

    def __init__(self, address: str, seconds: float) -> None:
        """Take the limits.

        Args:
            address: of the server; it decides which proxy of the environment is used.
            seconds: from the first byte that is sent to the last one that is received.
        """
        self._seconds = seconds
        self._context = httpx2.create_ssl_context()
        self._proxy = _proxy_for(address)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the whole answer.

        Raises:
            httpx2.ReadTimeout: it did not come in time.
            UnusableError: it is longer than is read, or packed.
        """
        request.headers["Accept-Encoding"] = "identity"
        inner = httpx2.HTTPTransport(verify=self._context, proxy=self._proxy)
        outcome: SimpleQueue[httpx2.Response | Exception] = SimpleQueue()
        threading.Thread(target=_read, args=(inner, request, outcome), daemon=True).start()
        try:
            found = outcome.get(timeout=self._seconds)
        except Empty:
            raise httpx2.ReadTimeout("the answer is not complete", request=request) from None
        finally:
            inner.close()  # Whoever still reads there gets an error with the next byte.
        if isinstance(found, Exception):
            raise found
        return found


def _read(inner: httpx2.HTTPTransport, request: httpx2.Request, outcome: SimpleQueue[Any]) -> None:
    try:
        outcome.put(_whole(inner.handle_request(request)))
    except Exception as error:  # noqa: BLE001 (raised again in the thread that waits)
        outcome.put(error)


def _whole(answer: httpx2.Response) -> httpx2.Response:
    packed = answer.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise UnusableError("the answer is packed, which was not asked for")
    body = bytearray()
    for part in answer.iter_raw():
        body += part
        if len(body) > MAX_BYTES:
            raise UnusableError(f"the answer has more than {MAX_BYTES} bytes")
    headers = [
        (name, value)
        for name, value in answer.headers.multi_items()
        if name.lower() not in {"content-length", "transfer-encoding"}
    ]
    return httpx2.Response(answer.status_code, headers=headers, content=bytes(body))


def _proxy_for(address: str) -> str | None:
    parts = urlsplit(address)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    known = urllib.request.getproxies()
    return known.get(parts.scheme) or known.get("all")
