"""A Hugging Face Hub on the loopback interface, for tests that must not leave the machine.

``LoopbackHub`` speaks the Hub's HTTP protocol for datasets and models as ``huggingface_hub`` 2.4 and
``datasets`` 5.2 use it: creating and configuring repositories, commits with LFS uploads, listings, tags,
downloads through a redirect to a CDN, gating by token, checks of dataset cards. Repositories live in
memory; a commit never changes. Whoever connects must do so from a process of its own, because both
libraries read their settings when they are imported (and tests/conftest.py puts this one offline)::

    with LoopbackHub() as hub:
        owner = hub.add_user("ada", orgs=["clinic"])   # a token that may write clinic/...
        guest = hub.add_user("guest")                  # a token that may read what it is granted
        hub.seed("clinic/cohort", folder, gated="manual")     # or by upload_folder, as a client would
        hub.set_access("clinic/cohort", "guest", "accepted")  # "pending", "rejected", "limited token",
                                                              # "" (never asked), or the server's words
        hub.faults.cut("fold0.parquet", after=100_000)        # see loopback_faults.py
        subprocess.run([sys.executable, "-c", code], env=hub.env(tmp_path, guest))
        hub.received("GET", "fold0.parquet")   # what was asked for, and how many bytes were sent
        hub.files("clinic/cohort", "v1.0.0")   # what stands there now

As on the real Hub, a gated public repository shows its information and its list of files to everybody;
what is gated is content and ``auth-check``. A private one does not exist for strangers. The content of
LFS files comes from another origin, which refuses requests that carry a token. Xet is not spoken.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from support.loopback_api import answer
from support.loopback_faults import Fault, Faults
from support.loopback_store import (
    GITATTRIBUTES,
    Blob,
    Gated,
    Reply,
    Repository,
    User,
    is_lfs,
    key_of,
)


@dataclass
class Exchange:
    """A request as the server saw it, and how many bytes of body it sent in answer."""

    method: str
    path: str
    user: str
    range: str
    status: int = 0
    sent: int = 0


class LoopbackHub:
    """The server; a context manager.

    Attributes:
        endpoint: what ``HF_ENDPOINT`` must be.
        requests: every request so far, in order.
        faults: what is to go wrong.
        tree_page: entries per page of a list of files.
        claimed_sizes: sizes that lists of files claim, by path, where they are not to be true.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.users: dict[str, User] = {}
        self.requests: list[Exchange] = []
        self.faults = Faults()
        self.tree_page = 1000
        self.claimed_sizes: dict[str, int] = {}
        self.lock = threading.RLock()
        self.connections: set[socket.socket] = set()
        self.bugs: list[Exception] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self.cdn = f"http://localhost:{port}/cdn"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._stopped = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if self.bugs and kind is None:
            raise self.bugs[0]

    def stop(self) -> None:
        """Stop answering: connections are closed, new ones are refused."""
        if self._stopped:
            return
        self._stopped = True
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def add_user(self, name: str, *, orgs: Iterable[str] = (), role: str = "write") -> str:
        """Add a user and return a token; ``role`` is that of the token, ``read`` or ``write``."""
        token = f"hf_{name}_{role}"
        self.users[token] = User(name, tuple(orgs), role)
        return token

    def create(self, repo_id: str, kind: str = "dataset") -> Repository:
        """Make a repository as the Hub does: with a first commit that says what goes to LFS."""
        repository = Repository(repo_id, kind)
        self.repositories[repository.key] = repository
        first = {".gitattributes": Blob(GITATTRIBUTES.encode(), lfs=False)}
        repository.add("main", first, "initial commit")
        return repository

    def seed(
        self,
        repo_id: str,
        content: Path | Mapping[str, bytes],
        *,
        private: bool = False,
        gated: Gated = False,
        kind: str = "dataset",
    ) -> str:
        """Commit a folder, or content by path, making the repository where needed; return the id."""
        if isinstance(content, Path):
            found = [path for path in content.rglob("*") if path.is_file()]
            content = {path.relative_to(content).as_posix(): path.read_bytes() for path in found}
        with self.lock:
            there = self.repositories.get(key_of(repo_id, kind))
            repository = there or self.create(repo_id, kind)
            repository.private, repository.gated = private, gated
            blobs = {
                path: Blob(data, lfs=is_lfs(path, len(data), data[:512]))
                for path, data in content.items()
            }
            return repository.add("main", blobs, "Seed").sha

    def set_access(self, repo_id: str, user: str, state: str) -> None:
        """Set where a user's request for access stands; any other text is what the server says."""
        self.repositories[repo_id].access[user] = state

    def env(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """Return the environment of a client process whose caches are under ``home``."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "ICTMRI_")) and "PROXY" not in name.upper()
        }
        ours = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "ICTMRI_CACHE": str(home / "ictmri"),
            "NO_PROXY": "127.0.0.1,localhost",
        }
        return {**kept, **ours, **({"HF_TOKEN": token} if token else {}), **more}

    def received(self, method: str = "", part: str = "") -> list[Exchange]:
        """Return the requests with this method whose path contains ``part``."""
        return [r for r in self.requests if method in {"", r.method} and part in r.path]

    def files(
        self, repo_id: str, revision: str = "main", kind: str = "dataset"
    ) -> dict[str, bytes]:
        """Return the content of every file of a revision."""
        commit = self.repositories[key_of(repo_id, kind)].at(revision)
        return {path: blob.content for path, blob in commit.files.items()}


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:  # the client, or a fault, has closed it already
            return

    def log_message(self, *_: object) -> None:
        return

    def _serve(self) -> None:
        body = self._body()
        user = self.hub.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        path, asked = unquote(urlsplit(self.path).path), self.headers.get("Range", "")
        exchange = Exchange(self.command, path, user.name if user else "", asked)
        self.hub.requests.append(exchange)
        try:
            reply = answer(self.hub, self.command, self.path, self.headers, body)
        except Exception as bug:  # noqa: BLE001 - of this server: raised where the test ends
            self.hub.bugs.append(bug)
            reply = Reply(500)
        reply = _ranged(reply, asked) if reply.file else reply
        exchange.status = reply.status
        try:
            self._send(reply, exchange)
        except OSError:  # the client is gone
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, reply: Reply, exchange: Exchange) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self.hub.faults.break_off(reply.file, len(reply.body))
        body = reply.body[: fault.after] if fault else reply.body
        self.wfile.write(body)
        self.wfile.flush()
        exchange.sent = len(body)
        if fault:
            self._hang_up(fault)

    def _hang_up(self, fault: Fault) -> None:
        # A reset throws away what the client has not read yet, so it gets a moment.
        time.sleep(fault.seconds or 0.05)
        self.close_connection = True
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


def _ranged(reply: Reply, asked: str) -> Reply:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    size = len(reply.body)
    reply = reply.also({"Accept-Ranges": "bytes"})
    if match is None or not (match[1] or match[2]):
        return reply
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    stop = min(size, int(match[2]) + 1) if match[1] and match[2] else size
    if start >= size:
        return Reply(416, b"", {"Content-Range": f"bytes */{size}"}, reply.file)
    span = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return Reply(206, reply.body[start:stop], {**reply.headers, **span}, reply.file)
