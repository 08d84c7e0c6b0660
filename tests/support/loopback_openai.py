"""An OpenAI-compatible server on loopback: it looks at the picture, and fails in any way asked for."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Say = Callable[[np.ndarray, int], Any]
"""Gets the picture (rows, columns) and how often it was asked before; returns words or a fault."""


@dataclass
class Fault:
    """A reply that is none: a status, or a cut connection where it is 0."""

    status: int
    message: str = "broken"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Said:
    """Words, and how the model stopped."""

    content: str | None
    finish: str = "stop"
    refusal: str | None = None


@dataclass
class Raw:
    """Bytes as they are behind a status line; one at a time where there is a pause."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    endless: bool = False
    in_headers: bool = False


@dataclass
class LoopbackOpenAI:
    """What it serves and what it was sent."""

    say: Say
    models: list[str] | None = field(default_factory=lambda: ["tiny"])
    key: str | None = None
    takes_schema: bool = True
    roots: dict[str, str] = field(default_factory=dict)
    reply_with: dict[str, Any] = field(default_factory=dict)
    list_with: Raw | None = None
    pause_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[bytes, int] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    @property
    def asked(self) -> int:
        return len(self.requests)


@contextmanager
def running(server: LoopbackOpenAI) -> Iterator[LoopbackOpenAI]:
    class Handler(_Handler):
        owner = server

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: LoopbackOpenAI
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not self._let_in():
            return
        models = self.owner.models
        if self.path != "/v1/models" or models is None:
            self._fault(Fault(404, "no such page"))
        else:
            if self.owner.list_with is not None:
                self._raw(self.owner.list_with)
                return
            roots = self.owner.roots
            data = [{"id": name, "object": "model", "root": roots.get(name)} for name in models]
            self._send(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        owner = self.owner
        with owner.lock:
            owner.requests.append(body)
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            time.sleep(owner.pause_s)
            self._answer(body)
        finally:
            with owner.lock:
                owner.at_once -= 1

    def _let_in(self) -> bool:
        if self.owner.key in {None, self.headers["Authorization"].removeprefix("Bearer ")}:
            return True
        self._fault(Fault(401, "Incorrect API key provided"))
        return False

    def _answer(self, body: dict[str, Any]) -> None:
        if self.path != "/v1/chat/completions" or body["model"] not in (
            self.owner.models or ["tiny"]
        ):
            self._fault(Fault(404, f"The model `{body['model']}` does not exist."))
            return
        if "response_format" in body and not self.owner.takes_schema:
            self._fault(Fault(400, "response_format is not supported"))
            return
        picture = picture_of(body)
        with self.owner.lock:
            before = self.owner.seen.get(picture.tobytes(), 0)
            self.owner.seen[picture.tobytes()] = before + 1
        said = self.owner.say(picture, before)
        if isinstance(said, Fault):
            self._fault(said)
            return
        if isinstance(said, Raw):
            self._raw(said)
            return
        said = Said(said) if isinstance(said, str) else said
        message = {"role": "assistant", "content": said.content, "refusal": said.refusal}
        choice = {"index": 0, "message": message, "finish_reason": said.finish}
        tokens = {"prompt_tokens": 400, "completion_tokens": 20, "total_tokens": 420}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        self._send(200, reply | {"choices": [choice], "usage": tokens} | self.owner.reply_with)

    def _raw(self, raw: Raw) -> None:
        self.close_connection = True
        self.send_response(raw.status)
        for name, value in {"Content-Type": "application/json", **raw.headers}.items():
            self.send_header(name, value)
        if not raw.endless:
            self.send_header("Content-Length", str(len(raw.body)))
        if not raw.in_headers:
            self.end_headers()
        else:
            self.flush_headers()
            self.wfile.write(b"X-Slow: ")
        try:
            while True:
                for byte in raw.body if raw.pause_s else [raw.body]:
                    self.wfile.write(bytes([byte]) if raw.pause_s else byte)
                    self.wfile.flush()
                    time.sleep(raw.pause_s)
                if not raw.endless:
                    return
        except OSError:
            return

    def _fault(self, fault: Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            self.connection.close()
            return
        self._send(fault.status, {"error": {"message": fault.message}}, fault.headers)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def picture_of(body: dict[str, Any]) -> np.ndarray:
    """Return the grey picture of a question; it must be a PNG of three equal channels."""
    part = next(p for p in body["messages"][-1]["content"] if p["type"] == "image_url")
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    voxels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert voxels.ndim == 3
    assert voxels.shape[2] == 3
    assert (voxels == voxels[:, :, :1]).all()
    return voxels[:, :, 0]
